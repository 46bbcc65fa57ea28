"""The calls about workers, messages, resources and the pause."""

import json
from typing import Any

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.model import DETAIL, Worker, to_json
from luigi_ha.appliance.engine.state import State

MOST_BATCHERS = 50  # sets of parameters over which one family is batched: each costs all its tasks


class WorkerCalls(State):
    """RPCs that do not look at the graph of tasks."""

    def add_worker(self, worker: str, info: Any, **_kwargs: Any) -> None:
        """What a worker tells of itself: pairs, or an object."""
        worker_id = checks.worker(worker)
        try:
            checks.few("info", info, checks.MAX_NAMES)
            told = checks.mapping("info", dict(info))
        except (TypeError, ValueError) as error:
            raise BadArgument("info", f"is {info!r}"[:80], "an object, or a list of [name, value] pairs") from error
        self._note(self._worker(worker_id), told)

    def disable_worker(self, worker: str) -> None:
        """No new work for a worker; what it runs it may finish."""
        known = self._worker(checks.worker(worker))
        known.disabled = True
        if known.info.get("commands"):
            self._set_drained(known.id, True)  # its supervisor starts it again, by the same id
        self._teams.forget(known)
        self._dirty_workers[known] = None

    def ping(self, **kwargs: Any) -> dict[str, Any]:
        """A sign of life. Delivers the worker's messages, once."""
        worker = self._heard_of(checks.worker(kwargs.get("worker")))
        messages = self._delivered(worker)
        if worker.info.get("commands"):
            messages = [*messages, *self._commands(worker)]
        return {"rpc_messages": messages}

    def _delivered(self, worker: Worker) -> list[dict[str, Any]]:
        """A worker's messages; they are delivered once."""
        messages = worker.messages
        if messages:
            worker.messages = []
            self._dirty_workers[worker] = None
        return messages

    def _commands(self, worker: Worker) -> list[dict[str, Any]]:
        """What a worker is to do by the state as it is: said with every call until it is done."""
        commands = [
            {"name": "cancel_task", "kwargs": {"task_id": task.id, "attempt": task.attempt}}
            for task in self._running_on.get(worker.id, {}).values()
            if task.cancelled is not None
        ]
        if worker.draining:
            commands.append({"name": "drain", "kwargs": {}})
        return commands

    def set_worker_processes(self, worker: str, n: Any) -> None:
        """Ask a worker to run `n` processes; it hears of it with its next ping."""
        worker_id = checks.worker(worker)
        if isinstance(n, bool) or not isinstance(n, int):
            raise BadArgument("n", f"is {n!r}", "a whole number")
        self._tell(worker_id, "set_worker_processes", n=n)

    def send_scheduler_message(self, worker: str, task: str, content: Any) -> dict[str, Any]:
        """Send a message to a running task, by its worker."""
        worker_id, task_id = checks.worker(worker), checks.text("task", task)
        if not self.settings.send_messages:
            return {"message_id": None}
        raw = self._random_id()
        message_id = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        self._tell(worker_id, "dispatch_scheduler_message", task_id=task_id, message_id=message_id, content=content)
        return {"message_id": message_id}

    def _tell(self, worker_id: str, name: str, **kwargs: Any) -> None:
        worker = self._worker(worker_id)
        if len(worker.messages) >= checks.MAX_NAMES:
            what = f"{worker_id} has {len(worker.messages)} messages that it has not fetched"
            raise BadArgument("worker", what[:200], "a worker that pings")
        worker.messages.append({"name": name, "kwargs": kwargs})
        self._dirty_workers[worker] = None

    def add_scheduler_message_response(self, task_id: str, message_id: str, response: Any) -> None:
        """A task's answer to a message."""
        task = self.tasks.get(checks.text("task_id", task_id))
        message_id = checks.text("message_id", message_id)
        if task is not None:
            responses = json.loads(task.responses)
            if len(responses) >= checks.MAX_NAMES:
                raise BadArgument("task_id", f"has {len(responses)} answers that nobody fetched", "fewer")
            task.responses = to_json({**responses, message_id: response})
            self._touched(task, DETAIL)

    def get_scheduler_message_response(self, task_id: str, message_id: str) -> dict[str, Any]:
        """The answer to a message, once; None while there is none."""
        task = self.tasks.get(checks.text("task_id", task_id))
        message_id = checks.text("message_id", message_id)
        if task is None:
            return {"response": None}
        responses = json.loads(task.responses)
        if message_id not in responses:
            return {"response": None}
        response = responses.pop(message_id)
        task.responses = to_json(responses)
        self._touched(task, DETAIL)
        return {"response": response}

    def add_task_batcher(
        self, worker: str, task_family: str, batched_args: Any, max_batch_size: float = float("inf")
    ) -> None:
        """A worker can run tasks of a family together, over these parameters."""
        worker_id, family = checks.worker(worker), checks.text("task_family", task_family)
        arguments = checks.ids("batched_args", batched_args, what="parameter names", most=checks.MAX_NAMES) or ()
        batcher = (arguments, checks.number("max_batch_size", max_batch_size))
        if self._ready.batchers_of(family, arguments) >= MOST_BATCHERS:
            what = f"family {family} is batched over {MOST_BATCHERS} other sets of parameters"
            raise BadArgument("batched_args", what[:200], "one of these")
        known = self.batchers.setdefault(worker_id, {})
        if known.get(family) != batcher:
            known[family] = batcher
            self._dirty_batchers[worker_id, family] = None
        self._learn_batcher(family, arguments)

    def _learn_batcher(self, family: str, arguments: tuple[str, ...]) -> None:
        ready = (key[3] for group in self._ready.groups for key in group.tasks)
        self._ready.learn_batcher(family, arguments, (task for task in ready if task.family == family))

    # -- resources and pause --------------------------------------------------------------------------------

    def update_resources(self, **resources: Any) -> None:
        """Set totals."""
        self._set_totals(checked_resources("resources", resources))

    def update_resource(self, resource: str, amount: Any) -> bool:
        """Set one total; false if the amount is not a whole number, 0 or more."""
        name = checks.text("resource", resource)
        if not isinstance(amount, int) or amount < 0:
            return False
        self._set_totals({name: amount})
        return True

    def _set_totals(self, totals: dict[str, float]) -> None:
        for name, total in totals.items():
            checks.text("resource", name)
            self.resources[name] = total
            self._dirty_resources.add(name)

    def is_pause_enabled(self) -> dict[str, bool]:
        """Whether pausing is allowed by the configuration."""
        return {"enabled": self.settings.pause_enabled}

    def is_paused(self) -> dict[str, bool]:
        """Whether no work is handed out."""
        return {"paused": self.paused}

    def pause(self) -> None:
        """Hand out no work."""
        self._set_paused(True)

    def unpause(self) -> None:
        """Hand out work again."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        if self.settings.pause_enabled and self.paused != paused:
            self.paused = paused
            self._dirty_settings.add("paused")

    def has_task_history(self) -> bool:
        """Whether a history is recorded as Luigi means it. The visualiser that we serve has no link to it."""
        return self.settings.record_task_history
