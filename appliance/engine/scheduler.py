"""The scheduler: Luigi's rules, one method per RPC, no I/O.

Promised: the replies are Luigi's (differences on purpose are listed in the project's documentation); every
change a call made is handed over by the next `take_changes`; the same calls at the same times with the same
random source give the same state. A refused call (`Refused`, `TypeError`) changed nothing.
Not promised: thread safety. One caller at a time.
"""

import random as random_module
from collections.abc import Callable, Mapping
from typing import Final

from luigi_ha.appliance.engine.changes import Mail
from luigi_ha.appliance.engine.large import LargeCalls
from luigi_ha.appliance.engine.mailbox import BatchMailbox, Mailbox
from luigi_ha.appliance.engine.records import Records
from luigi_ha.appliance.engine.rest_people import RestPeople
from luigi_ha.appliance.engine.rest_work import RestWork
from luigi_ha.appliance.engine.running_calls import RunningCalls
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.engine.view_calls import ViewCalls
from luigi_ha.appliance.engine.why import Why

RPC_METHODS: Final = frozenset(
    {
        "add_scheduler_message_response",
        "add_task",
        "add_task_batcher",
        "add_worker",
        "announce_scheduling_failure",
        "count_pending",
        "decrease_running_task_resources",
        "dep_graph",
        "disable_worker",
        "fetch_error",
        "forgive_failures",
        "get_running_task_resources",
        "get_scheduler_message_response",
        "get_task_progress_percentage",
        "get_task_status_message",
        "get_work",
        "graph",
        "has_task_history",
        "inverse_dep_graph",
        "is_pause_enabled",
        "is_paused",
        "mark_as_done",
        "pause",
        "ping",
        "prune",
        "re_enable_task",
        "report_task_statistics",
        "resource_list",
        "send_scheduler_message",
        "set_task_progress_percentage",
        "set_task_status_message",
        "set_worker_processes",
        "task_list",
        "task_search",
        "unpause",
        "update_metrics_task_started",
        "update_resource",
        "update_resources",
        "worker_list",
    }
)

# The REST API's calls are run, stored and passed on like Luigi's, by these names. They raise Conflict and NoSuch, too.
REST_METHODS: Final = frozenset(
    {
        "rest_cancel",
        "rest_done",
        "rest_drain",
        "rest_drained",
        "rest_heartbeat",
        "rest_namespaces",
        "rest_priority",
        "rest_put_resource",
        "rest_put_scheduler",
        "rest_put_task",
        "rest_put_tasks",
        "rest_queue",
        "rest_resources",
        "rest_retry",
        "rest_scheduler",
        "rest_take",
        "rest_task",
        "rest_tasks",
        "rest_undrain",
        "rest_worker",
        "rest_workers",
    }
)


class Scheduler(RestPeople, RestWork, LargeCalls, Records, RunningCalls, ViewCalls, Why):
    """One scheduler's whole state.

    `clock` gives scheduler time (seconds since the epoch, never going back); `random` makes run ids, message ids
    and jitter; `resources` are the configured totals, over which totals set at run time win.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resources: Mapping[str, float] | None = None,
        clock: Callable[[], float],
        random: random_module.Random | None = None,
        mailbox: Mailbox | None = None,
    ) -> None:
        super().__init__(settings, resources=resources, clock=clock, random=random)
        if settings.batch_emails:
            self.mailbox = mailbox or BatchMailbox(settings, clock, self._send, self._setting_changed)

    def _send(self, mail: Mail) -> None:
        self._mails.append(mail)

    def _setting_changed(self, name: str) -> None:
        self._dirty_settings.add(name)

    def counts(self) -> Mapping[str, int]:
        """How many tasks there are in each status."""
        return {status: len(tasks) for status, tasks in self.by_status.items()}
