"""What all connections of a node hold together: their number, and the bytes on their way in and out.

    share = traffic.open(kind)      one per connection
    share.hold(n, known)            it holds n bytes now; False: too much is on its way already
    share.close()

One connection may hold what an ordinary call takes (FREE bytes) without being counted; every byte beyond that, of
requests that have not been answered and of replies that have not been read, comes out of one budget. Callers who have
not shown a token may use a quarter of it, so that strangers cannot use up what the others need.

Invariant: a share is never counted twice, and nothing of it is left once it is closed.
"""

from collections.abc import Callable

from luigi_ha.appliance import log
from luigi_ha.appliance.api.errors import Unavailable

FREE = 1 << 16  # bytes of one connection that are not counted
EACH = 1 << 15  # bytes that a connection takes, about
BURST = 4 << 20  # bytes that came and went
STRANGERS = 4  # callers nobody knows share one part in so many
OPEN_FILES_KEPT = 256  # descriptors left for the database, other nodes and files
_log = log.get("traffic")


def full() -> Unavailable:
    """Return the refusal of what does not fit into the budget."""
    what = "too many bytes of requests and replies are on their way"
    return Unavailable(what, where="server", expected="the same call again later")


FULL = full().reply()


class Traffic:
    """The budget of one node. Event-loop thread only."""

    def __init__(self, max_connections: int, max_in_flight: int, everybody_known: bool) -> None:
        """`everybody_known`: nobody needs a token here, so nobody is a stranger."""
        self.max_connections = max_connections
        self._budget = max_in_flight
        self._strangers_budget = max_in_flight if everybody_known else max_in_flight // STRANGERS
        self._held = 0
        self._held_by_strangers = 0
        self._limited_by = "max_connections"
        self._burst = 0  # the most bytes held, those of connections too, since the last look
        self._log = log.Seldom(_log)

    @property
    def held(self) -> int:
        """Bytes counted now."""
        return self._held

    def fit(self, open_files: int) -> None:
        """Take on no more connections than the process may open files."""
        possible = max(16, open_files - OPEN_FILES_KEPT)
        if possible < self.max_connections:
            self.max_connections, self._limited_by = possible, "open_files"

    def has_room(self, connections: int, make_room: Callable[[], bool]) -> bool:
        """Whether one more connection may come besides so many. `make_room` closes one that does nothing, if any."""
        if connections < self.max_connections:
            return True
        made = make_room()
        self._log.warning(
            "connections_full", self._limited_by, limit=self.max_connections,
            done="an idle one was closed" if made else "a new one was closed",
        )  # fmt: skip
        return made

    def was_burst(self, connections: int) -> bool:
        """Whether much more was held, or connected, since the last look than is now: memory may be given back."""
        now = self._held + connections * EACH
        before, self._burst = self._burst, now
        return before > now + BURST

    def opened(self, connections: int) -> None:
        """There are so many connections now."""
        self._burst = max(self._burst, self._held + connections * EACH)

    def share(self) -> "Share":
        """What one connection holds."""
        return Share(self)

    def slow_reader(self, unread: int, seconds: float) -> None:
        """Say that a connection was closed because its client does not read."""
        self._log.warning("slow_reader_closed", "not read", unread=unread, seconds=seconds)

    def _move(self, before: int, after: int, known: bool) -> bool:
        """Count `after` bytes instead of `before`; False, and nothing changes, if that is too much."""
        more = after - before
        if more > 0:
            strangers = self._held_by_strangers + more > self._strangers_budget and not known
            if strangers or self._held + more > self._budget:
                self._log.warning(
                    "bytes_in_flight_full", "callers without a token" if strangers else "all",
                    held=self._held, wanted=more, limit=self._strangers_budget if strangers else self._budget,
                )  # fmt: skip
                return False
        self._held += more
        self._burst = max(self._burst, self._held)
        if not known:
            self._held_by_strangers += more
        return True


class Share:
    """The bytes one connection holds, as far as they are counted."""

    __slots__ = ("_counted", "_known", "_traffic")

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._counted = 0
        self._known = False

    def hold(self, size: int, known: bool) -> bool:
        """Hold `size` bytes now, for a caller who is `known` or not; False: there is no room, and nothing changes."""
        wanted = size - FREE if size > FREE else 0
        if wanted == self._counted and known is self._known:
            return True
        if known is not self._known:
            self._traffic._move(self._counted, 0, self._known)  # noqa: SLF001 - two halves of one thing
            self._counted, self._known = 0, known
        if not self._traffic._move(self._counted, wanted, known):  # noqa: SLF001
            return False
        self._counted = wanted
        return True

    def close(self) -> None:
        """Hold nothing any more."""
        if self._counted:
            self.hold(0, self._known)
