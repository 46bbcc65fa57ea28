"""Finding the PostgreSQL server that accepts writes, among several that may be dead, frozen, cut off or deposed.

All hosts are asked at once, each by a thread of its own, so that one that does not answer delays nobody. Two servers
can accept writes at the same time (an old primary whose agent is frozen): the higher timeline wins, and a lower one
than was ever seen is refused.

Invariant: of the connections that `find` returns, the timeline never falls.

Not promised: that the server is the primary a moment later, or that an old primary is recognised by a process that has
never heard of the new one. What is written there is caught by the fence and the chain.
"""

import queue
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg2

from luigi_ha.appliance import clock, log
from luigi_ha.appliance.store import postgres_connection
from luigi_ha.appliance.store.errors import DatabaseAway, Unusable
from luigi_ha.appliance.store.postgres_connection import Connection, Lineage, shown
from luigi_ha.appliance.store.target import Target

GRACE = 0.3  # s that others have to answer after the first that will do
ASK_AGAIN = 0.2  # s after which hosts that are not the primary are asked again while others have not answered
SHORT_GRACE = 0.05  # the same, if that one was the primary the last time too
EXPECTED_FOR = 10.0  # s for which one is about to be the primary
SOON = 0.03  # s after which hosts are asked again while it is known who is about to be the primary
# The driver does not tell the SQLSTATE of a refused connection; a server that speaks another language is retried.
DEFINITE = ("does not exist", "authentication failed", "no password supplied", "no pg_hba.conf entry", "not permitted")

_log = log.get("primary")

Place = tuple[str, int]


@dataclass(slots=True)
class _Answer:
    place: Place
    connection: Connection | None
    problem: str = ""


@dataclass(slots=True)
class _Race:
    """One round of asking everybody."""

    answers: "queue.SimpleQueue[_Answer]" = field(default_factory=queue.SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False
    refused: set[Place] = field(default_factory=set)  # answered, and were not the primary: may be asked again

    def next(self, until: float) -> _Answer | None:
        """The next answer; None if there is none until then."""
        try:
            return self.answers.get(timeout=max(0.0, until - clock.monotonic()))
        except queue.Empty:
            return None


class Primary:
    """What one process knows of a cluster's primary. For any number of threads."""

    def __init__(self, target: Target, connect_timeout: float, call_timeout: float) -> None:
        self._target = target
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self._lock = threading.Lock()
        self._silent: set[Place] = set()  # did not answer the last time: nobody waits for them
        self._lineage: Lineage | None = None
        self._place: Place | None = None
        self._expected: tuple[Place, float] | None = None  # about to be the primary, says who made it that; until when

    @property
    def place(self) -> str | None:
        """ "host:port" of the primary found last."""
        with self._lock:
            return shown(self._place) if self._place is not None else None

    @property
    def system(self) -> int | None:
        """The system identifier of the cluster it is of."""
        with self._lock:
            return self._lineage.system if self._lineage is not None else None

    @property
    def timeline(self) -> int | None:
        """The highest timeline seen."""
        with self._lock:
            return self._lineage.timeline if self._lineage is not None else None

    def expect(self, place: Place) -> None:
        """This one is about to be promoted: nobody waits for others when it has been."""
        with self._lock:
            self._expected = (place, clock.monotonic() + EXPECTED_FOR)

    def deposed(self, connection: Connection) -> bool:
        """Whether a higher timeline has been seen since this connection was opened."""
        return self._lower(connection.lineage)

    def _lower(self, lineage: Lineage | None) -> bool:
        ours = self._lineage
        # A cluster made anew (an upgrade) counts from one again.
        return (
            lineage is not None
            and ours is not None
            and lineage.system == ours.system
            and lineage.timeline < ours.timeline
        )

    def find(self, name: str) -> Connection:
        """Open a session on the primary. `name` is shown in its list of sessions.

        Ends within the connect timeout. Raises DatabaseAway, or Unusable if every host refuses us for good.
        """
        race = _Race()
        places = self._target.hosts
        problems: dict[Place, str] = {}
        best: Connection | None = None
        try:
            if len(places) == 1:
                self._ask(race, places[0], name)
            else:
                self._start(race, places, name)
            best = self._judge(race, problems, name)
        finally:
            with race.lock:
                race.over = True
            self._close_others(race, best)
        if best is not None:
            return self._found(best)
        why = "; ".join(f"{shown(place)}: {problems[place]}" for place in places if place in problems)
        definite = all(any(words in problem for words in DEFINITE) for problem in problems.values())
        raise (Unusable if definite else DatabaseAway)(f"cannot connect to {self._target.shown}: {why}")

    def _start(self, race: _Race, places: Iterable[Place], name: str) -> None:
        for place in places:
            threading.Thread(target=self._ask, args=(race, place, name), name="primary", daemon=True).start()

    def _ask(self, race: _Race, place: Place, name: str) -> None:
        """One host's thread: leaves an answer, or closes the connection if nobody is waiting any more."""
        answer = _Answer(place, None)
        began = clock.monotonic()
        try:
            answer.connection = postgres_connection.connect(
                self._target,
                place,
                connect_timeout=self._connect_timeout,
                call_timeout=self._call_timeout,
                name=name,
            )
        except psycopg2.Error as error:
            answer.problem = " ".join(str(error).split()) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - the round must hear of every host
            answer.problem = f"{type(error).__name__}: {error}"
        silent = answer.connection is None and clock.monotonic() - began > GRACE
        with self._lock:
            (self._silent.add if silent else self._silent.discard)(place)
        with race.lock:
            if not race.over:
                race.answers.put(answer)
                return
        _close(answer.connection)

    def _judge(self, race: _Race, problems: dict[Place, str], name: str) -> Connection | None:
        """The best of the answers; why not, of the others."""
        undecided = set(self._target.hosts)
        with self._lock:
            silent = frozenset(self._silent)
        began = clock.monotonic()
        until = began + self._connect_timeout + 0.1
        best: Connection | None = None
        while undecided and not (best is not None and undecided <= silent):
            if best is None and undecided <= silent and len(self._target.hosts) > 1:
                # A dead host must not make each look at the others take as long as the first.
                until = min(until, began + GRACE)
            again = SOON if self._awaits() is not None else ASK_AGAIN
            answer = race.next(until if best is not None else min(until, clock.monotonic() + again))
            if answer is None:
                if clock.monotonic() >= until:
                    break
                # While we wait for one, another may have been promoted.
                self._start(race, race.refused, name)
                race.refused = set()
                continue
            undecided.discard(answer.place)
            problem = answer.problem or self._objection(answer.connection)
            if problem:
                problems[answer.place] = problem
                race.refused.add(answer.place)
            elif best is None or _beats(answer.connection, best):
                best, answer.connection = answer.connection, best
                until = min(until, clock.monotonic() + self._grace(best))
            _close(answer.connection)
        problems.update(dict.fromkeys(undecided, "no answer yet"))
        if best is not None:
            with self._lock:
                self._silent |= undecided
        return best

    def _objection(self, connection: Connection | None) -> str:
        """Why this server is not the primary although it accepts writes; empty if it may be."""
        lineage = connection.lineage if connection is not None else None
        if lineage is None or not self._lower(lineage):
            return ""
        return f"an old primary: it writes timeline {lineage.timeline}, and timeline {self.timeline} has been seen"

    def _grace(self, best: Connection | None) -> float:
        """How long others have to answer after this one."""
        if best is not None and best.place == self._awaits() and self._is_newer(best.lineage):
            return 0.0  # it has been promoted
        return SHORT_GRACE if self._known(best) else GRACE

    def _awaits(self) -> Place | None:
        """Who is about to be the primary."""
        expected = self._expected
        return expected[0] if expected is not None and clock.monotonic() < expected[1] else None

    def _is_newer(self, lineage: Lineage | None) -> bool:
        ours = self._lineage
        same = lineage is not None and ours is not None and lineage.system == ours.system
        return same and lineage is not None and ours is not None and lineage.timeline > ours.timeline

    def _known(self, connection: Connection | None) -> bool:
        return connection is not None and (connection.place, connection.lineage) == (self._place, self._lineage)

    def _found(self, connection: Connection) -> Connection:
        lineage = connection.lineage
        with self._lock:
            if self._lower(lineage):
                # Another thread was told of a newer primary meanwhile.
                _close(connection)
                raise DatabaseAway(f"cannot connect to {self._target.shown}: an old primary answered; asking again")
            moved = self._place is not None and self._place != connection.place
            before, self._place = self._place, connection.place
            if connection.place == self._awaits():
                self._expected = None
            if lineage is not None:
                self._lineage = lineage
        if moved:
            _log.info("primary_moved", before=before, now=connection.place, lineage=lineage)
        return connection

    @staticmethod
    def _close_others(race: _Race, best: Connection | None) -> None:
        while True:
            try:
                answer = race.answers.get_nowait()
            except queue.Empty:
                return
            if answer.connection is not best:
                _close(answer.connection)


def _beats(one: Connection | None, other: Connection) -> bool:
    if one is None or one.lineage is None or other.lineage is None or one.lineage.system != other.lineage.system:
        return False
    return one.lineage.timeline > other.lineage.timeline


def _close(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(psycopg2.Error):
            connection.close()
