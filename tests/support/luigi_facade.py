"""Our engine behind the in-process interface of `luigi.scheduler.Scheduler`, for running Luigi's own tests against it.

It translates and never decides: Luigi's configuration becomes `Settings`; `time.time`, the notifier and the
metrics collector are looked up where Luigi looks them up, so that tests which replace them do so here too.
"""

import dataclasses
import inspect
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import luigi.configuration
import luigi.metrics
import luigi.scheduler

from luigi_ha.appliance.engine import RPC_METHODS, Settings
from luigi_ha.appliance.engine import Scheduler as Engine
from luigi_ha.appliance.engine.changes import Changes, TaskPut

_OPTIONS = {field.name for field in dataclasses.fields(Settings)}


class LuigiFacade:
    """Luigi's Scheduler class, answered by our engine."""

    def __init__(
        self,
        config: Any = None,
        resources: Mapping[str, int] | None = None,
        task_history_impl: Any = None,
        **kwargs: Any,
    ) -> None:
        self._config = config or luigi.scheduler.scheduler(**kwargs)
        options = {name: getattr(self._config, name) for name in _OPTIONS if hasattr(self._config, name)}
        notifier = luigi.scheduler.BatchNotifier() if self._config.batch_emails else None
        self._notifier = notifier
        self._engine = Engine(
            Settings(**options),
            resources=resources or luigi.configuration.get_config().getintdict("resources"),
            clock=lambda: time.time(),  # noqa: PLW0108 - tests replace time.time while this object lives
            random=random.Random(uuid.uuid4().int),
            mailbox=notifier,
        )
        collector = luigi.metrics.MetricsCollectors.get(
            self._config.metrics_collector, self._config.metrics_custom_import
        )
        self._state = _StateView(self._engine, collector)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in RPC_METHODS or "_engine" not in self.__dict__:
            raise AttributeError(name)
        method = getattr(self._engine, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            reply = method(*args, **kwargs)
            if name == "get_work" and reply["task_id"] is not None:
                self._state.started(reply["task_id"])
            self._settle(self._engine.take_changes())
            return reply

        call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
        return call

    def _settle(self, changes: Changes) -> None:
        for mail in changes.mails:
            luigi.scheduler.notifications.send_error_email(mail.subject, mail.body)
        for record in changes.records:
            if isinstance(record, TaskPut) and record.state is not None:
                self._state.has_status(record.task_id, record.state.status, self._config)

    def __reduce__(self) -> Any:
        """Luigi sends its scheduler along with messages to task processes; what arrives there is detached from it."""
        return LuigiFacade, (self._config,)

    def load(self) -> None:
        """Luigi reads its pickle here; ours is loaded before it is made."""

    def dump(self) -> None:
        """Luigi writes its pickle here, and sends what waits to be mailed."""
        if self._notifier is not None:
            self._notifier.send_email()

    def _upstream_status(self, task_id: str, known: dict[str, str]) -> str:
        return self._engine.upstream_status(self._engine.tasks[task_id], known)


class _StateView:
    """What Luigi's tests look at in `scheduler._state`."""

    def __init__(self, engine: Engine, collector: Any) -> None:
        self._engine = engine
        self._metrics_collector = collector
        self._views: dict[str, _TaskView] = {}
        self._statuses: dict[str, str] = {}

    def get_task(self, task_id: str) -> "_TaskView | None":
        task = self._engine.tasks.get(task_id)
        if task is None:
            return None
        view = self._views.get(task_id)
        if view is None or view.task is not task:
            view = self._views[task_id] = _TaskView(self._engine, task)
        return view

    def started(self, task_id: str) -> None:
        self._metrics_collector.handle_task_started(self.get_task(task_id))

    def has_status(self, task_id: str, status: str, config: Any) -> None:
        """Tell the collector of a change of status."""
        before = self._statuses.get(task_id, "")
        self._statuses[task_id] = status
        if before == status:
            return
        task = self.get_task(task_id)
        if status == "DISABLED":
            self._metrics_collector.handle_task_disabled(task, config)
        elif status == "DONE":
            self._metrics_collector.handle_task_done(task)
        elif status == "FAILED":
            self._metrics_collector.handle_task_failed(task)


class _TaskView:
    """One of our tasks, with the few names of Luigi's Task that its tests use."""

    def __init__(self, engine: Engine, task: Any) -> None:
        self._engine = engine
        self.task = task

    @property
    def id(self) -> str:
        return str(self.task.id)

    @property
    def family(self) -> str:
        return str(self.task.family)

    @property
    def first_failure_time(self) -> float | None:
        found: float | None = self.task.first_failure_at
        return found

    @first_failure_time.setter
    def first_failure_time(self, value: float) -> None:
        self.task.first_failure_at = value

    def add_failure(self) -> None:
        self._engine._add_failure(self.task)

    def has_excessive_failures(self) -> bool:
        return self._engine.has_excessive_failures(self.task)
