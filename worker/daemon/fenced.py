"""The scheduler as luigi's Worker sees it: its own RPCs, with the run that each report is of.

Luigi's Worker knows tasks; a scheduler with a fence knows runs. This stands between them: it asks for work with
`runs=True`, remembers which run a task was handed out for, names it in every report, and acknowledges in the spool what
the scheduler has taken. A report of a run that is no longer ours (409) is told in the log and forgotten: it changed
nothing.

Not promised: a fence, if the scheduler has none (luigid, or a node of an older version).
"""

import json
import uuid
from collections.abc import Callable
from typing import Any

from luigi.task_status import DONE, FAILED, PENDING, RUNNING

from luigi_ha.worker import log
from luigi_ha.worker.client import GaveUp, PatientScheduler, Refused, Stale
from luigi_ha.worker.daemon.heartbeat import HEARTBEAT, messages
from luigi_ha.worker.daemon.status import Status
from luigi_ha.worker.spool import Entry, Run, Spool

_log = log.get()
_OF_THIS_PROCESS: list["FencedScheduler"] = []


class FencedScheduler:
    """Has every method of luigi's scheduler. `entries`: the runs this worker has now, by task id."""

    def __init__(
        self, client: PatientScheduler, brief: PatientScheduler, spool: Spool, offer: Callable[[], dict[str, Any]],
        status: Status,
    ) -> None:  # fmt: skip
        """`brief` is less patient, for what a task says of its progress: no task waits for hours to say that. `offer`:
        what the worker is ready to take now."""
        self._client: Any = client
        self._brief: Any = brief
        self._spool = spool
        self._offer = offer
        self._status = status
        self._batch: Run | None = None  # handed out, its head not named yet
        self.entries: dict[str, Entry] = {}
        self.on_lost: Callable[[Run, str], None] = lambda _run, _reason: None
        self.needing: Callable[[], str] = lambda: ""  # the task whose result is being handled
        self.on_message: Callable[[dict[str, Any]], None] = lambda _message: None
        _OF_THIS_PROCESS[:] = [self]

    def __reduce__(self) -> Any:
        """Luigi sends its scheduler to a task's process with each message: there it is the one of that process."""
        return _of_this_process, ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._client, name)

    def get_work(self, **asked: Any) -> Any:
        """CallError."""
        # Empty lists are left out, but for the modules: to have loaded none says that no client's own tasks are wanted.
        offer = {name: told for name, told in self._offer().items() if told or name == "modules"}
        reply = self._client.get_work(**asked, runs=True, **offer)
        if reply.get("task_id") is not None:
            self._assigned(_run(reply["task_id"], reply))
        elif "batch_id" in reply:
            self._batch = _run("", reply)
        return reply

    def add_task(self, **report: Any) -> None:
        """CallError, but not because a run is no longer ours."""
        task_id, status = report["task_id"], report.get("status")
        if report.get("batch_id") is not None and self._batch is not None:
            batch, self._batch = self._batch, None
            self._assigned(Run(task_id, batch.run_id, batch.attempt, batch.key))
        entry = self.entries.get(task_id)
        ends = status in (DONE, FAILED) or (status == PENDING and bool(report.get("new_deps")))
        if entry is None:
            needing = self.needing()  # what luigi's worker describes itself, a task of its own has asked for
            required = {"required_by": needing} if needing in self.entries else {}
            self._client.add_task(**report, **required)
        elif not (ends or status == RUNNING):
            self._client.add_task(**report)
        else:
            self._report(entry, report, ends=ends)

    def set_task_status_message(self, task_id: str, status_message: str) -> None:
        self._tell("set_task_status_message", task_id, status_message)

    def set_task_progress_percentage(self, task_id: str, progress_percentage: Any) -> None:
        self._tell("set_task_progress_percentage", task_id, progress_percentage)

    def report_task_statistics(self, task_id: str, statistics: Any) -> None:
        self._tell("report_task_statistics", task_id, statistics)

    def _tell(self, method: str, *told: Any) -> None:
        try:
            getattr(self._brief, method)(*told)
        except GaveUp as error:
            _log.warning("progress_not_told", method=method, error=str(error))

    def adopt(self, entry: Entry) -> None:
        """Report on a run of an earlier worker."""
        self.entries[entry.run.task_id] = entry

    def give_back(self, task_ids: list[str], reason: str) -> bool:
        """Let others have a task, or the batch that was handed out last: it is not begun here. False: the scheduler
        knows no such thing. CallError."""
        entry = self.entries.get(task_ids[0])
        batch, self._batch = self._batch, None
        run = entry.run if entry is not None else batch
        if run is None or not run.run_id or not self._status.fenced:
            return False
        report = {"task_id": task_ids[0], "attempt": run.attempt, "run_id": run.run_id, "status": PENDING}
        try:
            told = {"worker": self._status.worker_id, "tasks": [{**report, "error": reason}]}
            reply = self._client.post(HEARTBEAT, told)
        except Stale:
            reply = {}  # it was no longer ours
        if entry is not None:
            self.over(entry)
        for message in messages(reply):  # delivered once, with whatever comes first
            self.on_message(message)
        return True

    # -- inside ------------------------------------------------------------------------------------------------

    def _assigned(self, run: Run) -> None:
        known = self.entries.get(run.task_id)
        if known is not None and known.run.run_id == run.run_id:
            return  # offered again, because a reply was lost
        if not run.run_id and self._status.fenced:
            _log.warning("assignment_without_run", **run.fields)
        self.entries[run.task_id] = self._spool.entry(run)
        self._status.spooled = self._spool.outstanding

    def _report(self, entry: Entry, report: dict[str, Any], *, ends: bool) -> None:
        run = entry.run
        fence = {"run_id": run.run_id, "attempt": run.attempt} if run.run_id else {}
        brief = not ends and report.get("batch_id") is None  # its tracking URL
        try:
            (self._brief if brief else self._client).add_task(**report, **fence)
        except GaveUp as error:
            if not brief:
                raise
            _log.warning("progress_not_told", method="add_task", error=str(error))
        except Stale as stale:
            claim = report.get("batch_id") is not None
            self._lost(run, str(report.get("status")), stale.reason, ends=ends, claim=claim)
        except Refused as refused:
            if not ends:
                raise
            _log.error("result_not_taken", status=report["status"], error=str(refused), **run.fields)
            self._say_that_it_was_refused(run, report, refused, fence)
        else:
            if ends:
                self._status.finished[report["status"]] += 1
        if ends:
            self.over(entry)

    def over(self, entry: Entry) -> None:
        """Nothing more will be reported of this run."""
        self.entries.pop(entry.run.task_id, None)
        self._spool.acknowledged(entry)
        self._status.spooled = self._spool.outstanding

    def _lost(self, run: Run, status: str, reason: str, *, ends: bool, claim: bool) -> None:
        if ends:
            self._status.refused += 1
            _log.warning("result_refused", status=status, reason=reason, **run.fields)
        elif claim:
            _log.warning("batch_lost", reason=reason, **run.fields)
            self.over(self.entries[run.task_id])
        else:
            self.on_lost(run, reason)

    def _say_that_it_was_refused(
        self, run: Run, report: dict[str, Any], refused: Refused, fence: dict[str, Any]
    ) -> None:
        """So that the task does not stay RUNNING for ever."""
        why = json.dumps(f"The scheduler did not take the result ({report['status']}): {refused}")
        try:
            self._client.add_task(
                worker=report["worker"], task_id=run.task_id, status=FAILED, expl=why, runnable=None, **fence
            )
        except Refused as again:
            _log.error("failure_not_taken", error=str(again), **run.fields)


def _of_this_process() -> FencedScheduler:
    return _OF_THIS_PROCESS[0]


def _run(task_id: str, reply: dict[str, Any]) -> Run:
    run_id, attempt = reply.get("run_id") or "", reply.get("attempt") or 0
    return Run(task_id, run_id, attempt, run_id or f"local-{uuid.uuid4().hex}")
