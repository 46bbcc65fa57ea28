"""One worker from its first line to its exit code: puts the parts together, and takes it through its states.

    starting -> working -> draining -> over            SIGTERM, SIGINT, SIGUSR1, a command, --max-tasks
     \\-> drained -^     \\-> stopping -> over            the second SIGTERM, or --drain-timeout

Draining takes no new work, finishes and reports what runs: exit code 0. Stopping ends what runs and reports it as
FAILED, as far as a scheduler answers within seconds: exit code 1. Whatever could not be reported is in the spool and is
reported by the next worker with this state directory.

A worker whose id the scheduler has drained already when it starts waits, drained, until it is undrained: whoever has
drained it means the host, and supervisors start again what has ended.

The main thread runs luigi's loop, and is the only one that forks.
"""

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from luigi.task_status import FAILED
from luigi.worker import fork_lock

from luigi_ha.worker import log
from luigi_ha.worker.client import CallError, Credentials, GaveUp, Patience, PatientScheduler, Refused, Tls
from luigi_ha.worker.client.resolving import Resolver
from luigi_ha.worker.client.waker import Waker
from luigi_ha.worker.daemon import process, remains
from luigi_ha.worker.daemon.ending import Ending, Stop
from luigi_ha.worker.daemon.fenced import FencedScheduler
from luigi_ha.worker.daemon.heartbeat import HEARTBEAT, Heartbeat, Orders, beat
from luigi_ha.worker.daemon.loading import Loader
from luigi_ha.worker.daemon.luigi_worker import LuigiWorker
from luigi_ha.worker.daemon.monitor import Monitor
from luigi_ha.worker.daemon.options import OptionError, Options
from luigi_ha.worker.daemon.output import Output
from luigi_ha.worker.daemon.results import Results
from luigi_ha.worker.daemon.status import State, Status
from luigi_ha.worker.daemon.systemd import Notifier
from luigi_ha.worker.daemon.tails import Tails
from luigi_ha.worker.daemon.watch import Watch
from luigi_ha.worker.spool import Home, Leftover, Run, Spool

ADVISORY = 10.0  # s that a task waits until a scheduler has heard of its progress; then it goes on without
ACTIVE = "active"  # to the scheduler
LAST_WORDS = 5.0  # s in which a worker that stops tries to report, after its tasks have ended
_log = log.get()


class Daemon:
    """A worker. `run` returns its exit code."""

    def __init__(self, options: Options, home: Home) -> None:
        """Nothing is asked of a scheduler yet. OptionError, OSError, spool errors."""
        self._options = options
        worker_id = home.worker_id(options.worker_id)
        log.configure(options.log_format, options.log_level, {"worker_id": worker_id})
        self._status = Status(worker_id, metadata.version("luigi-ha"))
        self._status.slots = options.workers
        self._notifier = Notifier()
        self._waker = Waker()
        self._ending = Ending(self._waker, self._status, self._notifier, options.drain_timeout)
        self._stage = ACTIVE
        self._held = False  # its id was drained before it started
        self._pid = os.getpid()
        process.use_fork()
        loader = Loader(options)
        loader.import_named()
        gc.collect()
        gc.freeze()  # what is there now stays: a collection in a task's process need not copy its pages
        self._client = self._connection(Patience(denied_for=None), self._rest)
        self._spool = Spool(home.spool)
        self._scheduler = FencedScheduler(
            self._client, self._connection(Patience(give_up_after=ADVISORY), None), self._spool,
            loader.offer, self._status,
        )  # fmt: skip
        self._scheduler.on_lost = self._lost
        self._scheduler.on_message = self._message
        self._monitor = self._listen()
        self._output = Output(home.logs, options.output_limit, options.keep_logs, tell=options.log_output)
        self._watch = Watch(options.memory_limit, options.kill_grace, self._status)
        self._results = Results(self._waker, self._watch, self._spool, self._check)
        self._scheduler.needing = lambda: self._results.last
        self._worker = LuigiWorker(
            self._scheduler, loader, self._status, self._waker, self._watch, self._results, self._output,
            [self._monitor.fileno()] if self._monitor is not None else [],
        )  # fmt: skip
        self._worker.on_drain = self._ending.draining

    def run(self) -> int:
        """Work until drained or stopped; the exit code. OptionError if no scheduler of ours will have this worker."""
        threading.excepthook = self._thread_died
        with self._ending.signals(), contextlib.ExitStack() as parts:
            parts.callback(self._close)
            _log.info(
                "worker_started", version=self._status.version, slots=self._status.slots, schedulers=self._client.shown,
                leftovers=len(self._spool.leftovers), modules=self._options.modules,
            )  # fmt: skip
            self._notifier.tell("READY=1", "STATUS=Waiting for a scheduler")
            try:
                self._find_fence()
                self._worker.introduce()
                self._held = self._stage != ACTIVE
                if not self._held:
                    self._now_working()
                heartbeat = Heartbeat(
                    self._connection(Patience(), None, fork_lock), self._options.ping_interval, self._status,
                    self._notifier, self._runs, Orders(self._message, self._lost, self._returned, self._staged),
                )  # fmt: skip
                parts.callback(heartbeat.close)
                if self._status.fenced:
                    tails = Tails(self._connection(Patience(), None, fork_lock), self._output.path, self._runs)
                    parts.callback(tails.close)
                    self._output.on_end = tails.ended
                self._work()
            except Stop:
                return self._end("stopped", 1)
            except GaveUp as error:
                if not self._worker.draining:
                    raise
                _log.warning("drained_without_scheduler", error=str(error))
            return self._end("drained", 1 if self._spool.outstanding else 0)

    # -- the course of it --------------------------------------------------------------------------------------

    def _connection(self, patience: Patience, rest: Any, guard: Any = None) -> PatientScheduler:
        options = self._options
        return PatientScheduler(
            options.addresses, patience,
            Credentials(options.token, options.token_file),
            Tls(options.tls_ca, options.tls_certificate, options.tls_key),
            Resolver(guard), rest,
        )  # fmt: skip

    def _listen(self) -> Monitor | None:
        if self._options.metrics_port is None:
            return None
        try:
            return Monitor(self._options.metrics_host, self._options.metrics_port, self._status)
        except OSError as error:
            raise OptionError(f"metrics-port {self._options.metrics_port}: {error.strerror}") from None

    def _find_fence(self) -> None:
        """Ask a scheduler whether it knows runs; waits for one."""
        asking = self._connection(Patience(), self._rest)  # one that takes 401 for an answer, after a while
        try:
            self._stage = asking.post(HEARTBEAT, beat(self._status, []))["state"]
        except Refused as refused:
            if refused.status not in (404, 405):
                raise
            if not self._options.unfenced:
                raise OptionError(
                    f"the scheduler at {self._client.shown} has no fence: it does not number attempts, so the late "
                    "result of a task that was given to another worker meanwhile would count. Use luigi-ha's "
                    "scheduler of this version, or accept that with --unfenced"
                ) from None
            self._status.fenced = False
            _log.warning("scheduler_without_fence", scheduler=self._client.shown)
        else:
            self._status.fenced = True
        finally:
            asking.close()
        self._status.heard_at = time.monotonic()

    def _work(self) -> None:
        with self._worker:
            try:
                for leftover in self._spool.leftovers:
                    self._resume(leftover)
                self._await_undrained()
                self._worker.run()
            except Stop:
                self._end_tasks()
                raise

    def _await_undrained(self) -> None:
        """Ended by a signal, too. Stop."""
        if not self._held:
            return
        _log.warning("drained", stage=self._stage, until="POST /api/worker/undrain")
        self._status.state = State.DRAINED
        self._notifier.tell("STATUS=Drained: waits until it is undrained")
        while self._stage != ACTIVE:
            self._check()
            if self._worker.draining:
                return
            self._waker.wait(self._options.ping_interval)
        self._held = False
        _log.info("undrained")
        self._now_working()

    def _now_working(self) -> None:
        self._status.state = State.WORKING
        self._notifier.tell("STATUS=Working")

    def _resume(self, leftover: Leftover) -> None:
        remains.clear(leftover)
        finished = leftover.finished
        status = FAILED if finished is None else finished.status
        _log.info("result_of_earlier_worker", status=status, finished=finished is not None, **leftover.run.fields)
        self._worker.resume(leftover, status, remains.INTERRUPTED if finished is None else finished.explanation)

    def _end_tasks(self) -> None:
        """Nothing goes on without us; report it if somebody listens."""
        runs = self._runs()
        for run in runs:
            self._watch.end(run, "stopped", f"Task {run.task_id} was ended because its worker was stopped.")
        self._ending.stopping(self._options.kill_grace + LAST_WORDS)
        with contextlib.suppress(CallError, Stop):
            while self._worker.busy and not self._ending.over:
                self._worker.report_next()

    def _end(self, how: str, code: int) -> int:
        _log.info("worker_ended", how=how, exit_code=code, unacknowledged=self._spool.outstanding)
        return code

    def _close(self) -> None:
        self._notifier.tell("STOPPING=1")
        self._watch.close()
        self._output.close()
        if self._monitor is not None:
            self._monitor.close()
        self._client.close()
        self._waker.close()

    # -- waits -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Called wherever the main thread waits. Stop."""
        if self._ending.asked and not self._worker.draining:
            self._worker.drain_because("a signal asks for it")
        self._ending.check()

    def _rest(self, seconds: float, doubtful: bool) -> None:
        """Wait before a call is repeated. GaveUp, Stop."""
        if os.getpid() != self._pid:  # a task's process: what wakes the worker is not for it
            time.sleep(seconds)
            return
        self._account()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            if self._worker.draining and not self._scheduler.entries and (not doubtful or self._ending.doubted_enough):
                raise GaveUp("draining, and no scheduler answers", doubtful=doubtful)
            self._waker.wait(left)
        self._check()

    # -- from other threads ------------------------------------------------------------------------------------

    def _runs(self) -> list[Run]:
        self._account()
        return [entry.run for entry in list(self._scheduler.entries.values())]

    def _account(self) -> None:
        self._status.calls, self._status.failed_attempts = self._client.calls, self._client.failed_attempts
        self._status.scheduler = self._client.shown

    def _staged(self, stage: str) -> None:
        if stage != self._stage:
            self._stage = stage
            self._waker.wake()

    def _message(self, message: dict[str, Any]) -> None:
        if self._held and message["name"] == "drain":
            return  # it is drained
        try:
            self._worker.take_message(message)
        except CallError as error:
            _log.warning("message_not_answered", command=message["name"], error=str(error))

    def _lost(self, run: Run, reason: str) -> None:
        self._worker.lost(run, reason)

    def _returned(self) -> None:
        with contextlib.suppress(CallError):
            self._worker.remind()

    def _thread_died(self, args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "?"
        _log.error("thread_died", thread=name, error=f"{args.exc_type.__name__}: {args.exc_value}")
        self._ending.at_once()


def run(options: Options, announce: Callable[[Daemon], None] = lambda _daemon: None) -> int:
    """`luigi-ha worker`. OptionError, HomeError, OSError, CallError."""
    home = Home(options.state_dir)
    try:
        daemon = Daemon(options, home)
        announce(daemon)
        return daemon.run()
    finally:
        home.close()
