"""What the API needs of its neighbours: the engine, the journal, and whoever made the call."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from appliance.api.errors import Reply
from appliance.engine.changes import Change, Changes


class Engine(Protocol):
    """The scheduler, besides one method per RPC name, which are looked up by name."""

    @property
    def paused(self) -> bool: ...
    def take_changes(self) -> Changes: ...
    @property
    def prune_pending(self) -> bool: ...
    def view(self, method: str, **arguments: Any) -> Iterator[tuple[str, Any] | None]: ...
    def why(self, task_id: str) -> dict[str, Any]: ...
    def counts(self) -> Mapping[str, int]: ...


class Journal(Protocol):
    """The durable log. Positions are sequence numbers; everything up to `committed` is safe."""

    @property
    def appended(self) -> int: ...
    @property
    def committed(self) -> int: ...
    @property
    def full(self) -> bool: ...
    def append(self, records: list[Change], *, at: float, method: str, actor: str | None) -> int: ...
    def add_listener(self, listener: Callable[[], None]) -> None: ...


class Caller(Protocol):
    """Who waits for a reply."""

    def gone(self) -> bool:
        """Whether the connection is closed or closing: then nothing needs to be done for it."""
        ...

    def answer(self, reply: Reply) -> None:
        """Send the reply. Called exactly once per call."""
        ...
