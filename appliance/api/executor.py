"""The engine a node has, and where its changes go: into the journal of who leads; nowhere, if it mirrors the leader.

Invariant: whatever the engine has changed is handed to the journal before anything else is executed on it. An engine
that failed half-way is neither asked nor written any more.
"""

from collections.abc import Callable, Mapping
from typing import Any

from luigi_ha.appliance import log
from luigi_ha.appliance.api import removals
from luigi_ha.appliance.api.calls import Call, Mirror
from luigi_ha.appliance.api.errors import Failed, Reply
from luigi_ha.appliance.api.execute import EngineBroken, execute
from luigi_ha.appliance.api.gate import Gate
from luigi_ha.appliance.api.metrics import Metrics
from luigi_ha.appliance.api.ports import Engine, Journal
from luigi_ha.appliance.clock import SchedulerClock
from luigi_ha.appliance.engine import REST_METHODS, RPC_METHODS
from luigi_ha.appliance.engine.changes import Changes, Mail, TaskRemoved, WorkerRemoved

OWN_METHODS = frozenset({"rest_log", "rest_put_log"})  # called like the engine's, and not the engine's
REMOVED = frozenset({TaskRemoved, WorkerRemoved})
INTERNAL = REST_METHODS | OWN_METHODS  # reached by the REST API's paths, and by other nodes that pass its calls on
_log = log.get("api")


class Executor:
    """Executes on the engine it was given last, if any."""

    def __init__(self, gate: Gate, metrics: Metrics, scheduler_clock: SchedulerClock) -> None:
        self.engine: Engine | None = None
        self.journal: Journal | None = None
        self.mirror: Mirror | None = None  # the engine mirrors the leader's log: nothing is executed on it
        self.on_mail: Callable[[int, list[Mail]], None] = lambda _position, _mails: None
        self.on_broken: Callable[[str], None] = lambda _reason: None  # the engine can no longer be trusted
        self.own: Mapping[str, Callable[..., Any]] = {}  # OWN_METHODS
        self._gate = gate
        self._metrics = metrics
        self._clock = scheduler_clock
        self._methods: Mapping[str, Callable[..., Any]] = {}

    def install(self, engine: Engine, journal: Journal) -> None:
        """Execute on this engine from now on, and write to this journal. The gate decides when."""
        self.engine, self.journal, self.mirror = engine, journal, None
        self._methods = {name: getattr(engine, name) for name in RPC_METHODS | REST_METHODS} | {**self.own}

    def reflect(self, engine: Engine, mirror: Mirror) -> None:
        """Have this engine, which mirrors the leader's log. Nothing is executed on it."""
        self.engine, self.journal, self.mirror = engine, None, mirror
        self._methods = {}

    def forget(self) -> None:
        """Execute on nothing any more."""
        self.engine = self.journal = self.mirror = None
        self._methods = {}

    @property
    def ready(self) -> bool:
        """Whether a call can be executed now."""
        journal = self.journal
        return journal is not None and self._gate.reason is None and not journal.full

    @property
    def stand(self) -> int | None:
        """The number of the last change that shows here; None: there is nothing to show."""
        if self.mirror is not None:
            return self.mirror.seq
        return None if self.journal is None else self.journal.appended

    def execute(self, call: Call, arguments: dict[str, Any] | None) -> tuple[Reply, int]:
        """Its reply, and the position that has to be durable before that leaves. Only when `ready`; `arguments` as for
        `Dispatcher.submit`."""
        engine, journal = self.engine, self.journal
        assert engine is not None  # noqa: S101 - it is ready
        assert journal is not None  # noqa: S101
        try:
            reply, changes, worker, repeated = execute(engine, self._methods, call, arguments)
        except EngineBroken as error:
            return self.broken(call.method, error.cause).reply(), 0
        if repeated:
            self._metrics.repeated += 1
        if changes.records or changes.transitions or changes.mails:
            return reply, self._append(journal, changes, call.method, call.terms.actor or worker)
        return reply, 0 if call.method == "ping" else journal.appended

    def execute_now(self, method: str, **arguments: Any) -> bool:
        """Run a call of the node itself (prune, retry_failed) if the gate is open; whether it was done."""
        if self.engine is None or self.journal is None or not self._methods or not self._gate.is_open:
            return False
        try:
            getattr(self.engine, method)(**arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine's state is in doubt
            self.broken(method, error)
            return False
        self.record(method)
        return True

    def record(self, method: str, actor: str | None = None) -> int:
        """Hand over what the engine changed; the position after which its present state may be revealed."""
        engine, journal = self.engine, self.journal
        if engine is None or journal is None or not self._methods:
            return 0
        changes = engine.take_changes()
        if changes.records or changes.transitions or changes.mails:
            return self._append(journal, changes, method, actor)
        return journal.appended

    def broken(self, method: str, error: BaseException) -> Failed:
        """The engine failed half-way: nothing it holds may be written any more."""
        _log.exception("engine_failed", method=method, error=type(error).__name__)
        self._gate.close("the scheduler is reloading its state from the database")
        self._methods = {}
        refusal = Failed(
            f"{method} failed inside the scheduler ({type(error).__name__}); its state is being reloaded",
            where=method,
            expected="to be asked again; please report the traceback in the scheduler's log",
        )
        self.on_broken(f"{method}: {type(error).__name__}: {error}")
        return refusal

    def _append(self, journal: Journal, changes: Changes, method: str, actor: str | None) -> int:
        if changes.transitions:
            self._metrics.transitions(changes.transitions)
        if not changes.records:
            position = journal.appended
        else:
            position = journal.append(changes.records, at=self._clock.last, method=method, actor=actor)
            if any(type(record) in REMOVED for record in changes.records):
                removals.tell(changes.records)
        if changes.mails:
            self.on_mail(position, changes.mails)
        return position
