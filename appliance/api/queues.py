"""Where calls wait: before they are executed (at the gate), and after (for their commit).

Both keep the order of arrival. What waits at the gate is bounded in number and in bytes. Nobody is answered here.
"""

from collections import deque
from collections.abc import Iterator

from luigi_ha.appliance.api.calls import Call, Limits, Waiting


class ParkedCalls:
    """Calls that were not executed yet."""

    __slots__ = ("_bytes", "_calls", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: deque[Call] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def megabytes(self) -> int:
        """What their arguments take."""
        return self._bytes >> 20

    def add(self, call: Call) -> bool:
        """Keep it; False: too much waits already."""
        limits = self._limits
        if len(self._calls) >= limits.max_waiting or self._bytes + len(call.data) > limits.max_waiting_bytes:
            return False
        self._calls.append(call)
        self._bytes += len(call.data)
        return True

    def pop(self) -> Call:
        """The one that has waited longest."""
        call = self._calls.popleft()
        self._bytes -= len(call.data)
        return call

    def take_all(self) -> deque[Call]:
        """All of them; none is left."""
        calls, self._calls, self._bytes = self._calls, deque(), 0
        return calls

    def take_late(self, arrived_before: float) -> list[Call]:
        """Those that have waited too long, and those whose client has gone. Calls that another node passed on count
        from their arrival there, so the order says nothing."""
        late: list[Call] = []
        keep: deque[Call] = deque()
        for call in self._calls:
            (late if call.caller.gone() or call.arrived <= arrived_before else keep).append(call)
        self._calls, self._bytes = keep, sum(len(call.data) for call in keep)
        return late

    @property
    def oldest(self) -> float | None:
        """When the first of them arrived."""
        return self._calls[0].arrived if self._calls else None


class WaitingCalls:
    """Calls that were executed, until what they revealed is durable."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, waiting: Waiting) -> None:
        self._calls.append(waiting)

    def take_done(self, committed: int) -> Iterator[Waiting]:
        """Those that waited for what is durable now, one after the other."""
        calls = self._calls
        while calls and calls[0].position <= committed:
            yield calls.popleft()

    def take_all(self) -> deque[Waiting]:
        """All of them; none is left."""
        calls, self._calls = self._calls, deque()
        return calls

    def take_late(self, arrived_before: float) -> list[Waiting]:
        """Those that have waited too long."""
        if not self._calls or self._calls[0].call.arrived > arrived_before:
            return []
        late = [waiting for waiting in self._calls if waiting.call.arrived <= arrived_before]
        self._calls = deque(waiting for waiting in self._calls if waiting.call.arrived > arrived_before)
        return late
