"""Several endpoints, one budget; and never backwards.

A call goes to the endpoint that answered last. If that has not answered after half of `attempt_timeout`, the next one
is asked as well, and the first answer counts; one that fails is left for the next at once, and so on round and round
until the budget is used up. So a dead member costs half an attempt, once (a black-holed one hung other clients for 15
minutes: etcd#7321, vip-manager#194), and while etcd elects a leader somebody alive is always being asked.

Replies to reads and transactions from an older state than one already seen are refused: a member that was cut off
and answers from the past must not depose the present leader (patroni#3314, patroni#3359).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from typing import NamedTuple, Protocol, TypeVar

from luigi_ha.ha.errors import Fatal, HaError, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.failures import TokenRefused
from luigi_ha.ha.etcd.transport import Header
from luigi_ha.ha.log import Events

FIRST_PAUSE = 0.02  # s, after all endpoints have failed; doubles with each round, up to
LONGEST_PAUSE = 0.2

_log = Events("etcd")
_Value = TypeVar("_Value")


class Opening(Protocol):
    """A stream that is not open yet."""

    async def open(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


_Stream = TypeVar("_Stream", bound=Opening)


class Seen(NamedTuple):
    """The newest state that anybody has shown us."""

    revision: int = 0
    term: int = 0
    cluster: int = 0


class Endpoints:
    """Which endpoint to ask, and what the newest state is that any of them has shown."""

    def __init__(self, config: EtcdConfig) -> None:
        self.urls = config.endpoints
        self.current = 0
        self.seen = Seen()
        self._attempt = config.attempt_timeout
        self._healthy = True

    async def ask(self, question: Callable[[str, float], Awaitable[_Value]], budget: float) -> _Value:
        """The first answer to `question(endpoint, seconds)`; Unknown or Fatal if there is none within the budget. Two
        endpoints may be asked at the same time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        failures: list[tuple[str, HaError]] = []
        asked: dict[asyncio.Future[_Value], str] = {}
        turns, pause = self._turns(), FIRST_PAUSE
        try:
            while (left := deadline - loop.time()) > 0:
                if len(asked) < min(2, len(self.urls)):
                    endpoint = next(url for url in turns if url not in asked.values())
                    asked[asyncio.ensure_future(question(endpoint, min(left, self._attempt)))] = endpoint
                done, _ = await asyncio.wait(
                    asked, timeout=min(left, self._attempt / 2), return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    endpoint = asked.pop(each)
                    try:
                        value = each.result()
                    except (Unknown, Fatal) as error:
                        failures.append((endpoint, error))
                        self.leave(endpoint, error)
                    else:
                        self._answered(endpoint)
                        return value
                if done and not asked and len(failures) >= len(self.urls):
                    if all(isinstance(error, Fatal) for _, error in failures[-len(self.urls) :]):
                        break
                    await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise _given_up(failures + [(endpoint, Unknown("no answer yet")) for endpoint in asked.values()])

    async def open(self, make: Callable[[str], _Stream], budget: float) -> _Stream:
        """A stream from the first endpoint that confirms it; each is tried once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget
        failures: list[tuple[str, HaError]] = []
        renewed = False
        while len(failures) < len(self.urls) and (left := deadline - loop.time()) > 0:
            endpoint = self.urls[self.current]
            stream = make(endpoint)
            try:
                await stream.open(min(left, self._attempt))
            except (Unknown, Fatal) as error:
                await stream.close()
                if isinstance(error, TokenRefused) and not renewed:
                    renewed = True  # it has been forgotten: once more, with a new one
                    continue
                failures.append((endpoint, error))
                self.leave(endpoint, error)
            except BaseException:
                await stream.close()
                raise
            else:
                return stream
        raise _given_up(failures)

    def leave(self, endpoint: str, error: HaError) -> None:
        """The next call goes to the next endpoint, unless somebody else has left this one already."""
        if self.urls[self.current] == endpoint:
            self.current = (self.current + 1) % len(self.urls)
            if self._healthy:  # once until somebody answers again, or a long outage fills the log
                _log.warning("endpoint_left", endpoint=endpoint, error=str(error))
            self._healthy = False

    def _turns(self) -> Iterator[str]:
        """The endpoints, beginning with the present one, for ever."""
        return cycle(self.urls[self.current :] + self.urls[: self.current])

    def _answered(self, endpoint: str) -> None:
        self._healthy = True
        if self.urls[self.current] != endpoint:
            _log.info("endpoint_chosen", endpoint=endpoint)
            self.current = self.urls.index(endpoint)

    def accept(self, header: Header, before: Seen | None = None) -> None:
        """Take note of the state behind a linearizable reply; Unknown if it is older than what was seen `before`."""
        floor = self.seen if before is None else before
        if floor.cluster and header.cluster != floor.cluster:
            raise Fatal(f"member {header.member:x} is of cluster {header.cluster:x}, expected {floor.cluster:x}")
        if header.revision < floor.revision or header.term < floor.term:
            raise Unknown(
                f"member {header.member:x} answers from the past: revision {header.revision} term {header.term}, "
                f"seen before: revision {floor.revision} term {floor.term}"
            )
        self.seen = Seen(max(header.revision, self.seen.revision), max(header.term, self.seen.term), header.cluster)


def _given_up(failures: Sequence[tuple[str, HaError]]) -> HaError:
    last = dict(failures)
    said = "; ".join(f"{endpoint}: {error}" for endpoint, error in last.items()) or "no time left to ask"
    # Fatal only if everybody says so: one member with a bad certificate is that member's trouble.
    kind = Fatal if last and all(isinstance(error, Fatal) for error in last.values()) else Unknown
    return kind(said)
