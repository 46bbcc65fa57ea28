"""The process of one task.

It leads a session of its own, so that a limit ends everything the task has started; it dies with the worker (the kernel
sees to that), because a task that goes on alone could not be told from one that runs again elsewhere. That it began and
how it ended it writes to the spool itself: the worker may die in between.

It is luigi's ContextManagedTaskProcess: `[worker] task_process_context`, events, dynamic dependencies and all else are
luigi's.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

from luigi.task_status import FAILED
from luigi.worker import ContextManagedTaskProcess

from worker import log
from worker.spool import Entry, Finished

EXPLANATION = 256 * 1024  # bytes of an error that are reported: its beginning and its end
PR_SET_PDEATHSIG = 1
HEADER = struct.Struct("!I")

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before anybody forks


class Outcome:
    """Where luigi puts a task's result: to the spool first, then through a pipe to the worker."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.source, self.sink = os.pipe2(os.O_CLOEXEC)

    def put(self, result: tuple[str, str | None, Any, list[str], list[Any]]) -> None:
        _task_id, status, explanation, missing, new_deps = result
        required = [list(dep) for dep in new_deps or []]
        finished = Finished(self.entry.run, status or FAILED, _bounded(explanation), list(missing or []), required)
        try:
            self.entry.finished(finished)
        except OSError as error:
            print(f"the result could not be written to the spool: {error}", file=sys.stderr)  # noqa: T201 - its output
        self.send(finished)

    def send(self, finished: Finished) -> None:
        text = json.dumps(
            [finished.status, finished.explanation, finished.missing, finished.new_deps]
        ).encode()
        left = memoryview(HEADER.pack(len(text)) + text)
        while left:
            left = left[os.write(self.sink, left) :]
        os.close(self.sink)


class TaskProcess(ContextManagedTaskProcess):
    """luigi's, in a session of its own, with its output captured."""

    def __init__(self, *args: Any, outcome: Outcome, output: int, close: list[int], **kwargs: Any) -> None:
        super().__init__(*args, result_queue=outcome, use_multiprocessing=True, **kwargs)
        self.outcome = outcome
        self._output = output
        self._close = close
        self._parent = os.getpid()

    @property
    def limit(self) -> float:
        """Seconds it may run; 0: no limit."""
        return float(self.worker_timeout or 0)

    def start(self) -> None:
        """Fork, and keep only what is the worker's."""
        try:
            super().start()
        finally:
            os.close(self.outcome.sink)
            os.close(self._output)

    def run(self) -> None:
        run = self.outcome.entry.run
        _live_and_die_with(self._parent)
        _take_descriptors(self._output, self._close)
        log.configure_task_process()
        os.environ.update(LUIGI_HA_TASK_ID=run.task_id, LUIGI_HA_RUN_ID=run.run_id, LUIGI_HA_ATTEMPT=str(run.attempt))
        task = self.task
        try:
            session = os.getpid()
            self.outcome.entry.started(
                task.task_family, task.task_module, task.to_str_params(), session, born(session)
            )
        except OSError as error:
            reason = f"Not begun: that could not be written to the worker's spool: {error}"
            self.outcome.send(Finished(run, FAILED, reason))
            return
        super().run()

    def terminate(self) -> None:
        """Luigi calls this when the worker leaves with an exception: nothing of the task stays."""
        kill_session(self.pid, signal.SIGKILL)


def _live_and_die_with(parent: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before it was asked for
        os._exit(1)


def _take_descriptors(output: int, close: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in {nothing, output, *close} - {0, 1, 2}:
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def kill_session(leader: int | None, number: signal.Signals) -> None:
    """Signal every process of a session that a task's process leads, whatever group it moved to."""
    if leader is None:
        return
    members = sessions().get(leader, [leader])
    for pid in members:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:  # a program that changed its user
            continue


def sessions() -> dict[int, list[int]]:
    """The processes of each session."""
    found: dict[int, list[int]] = {}
    for pid, fields in processes():
        found.setdefault(int(fields[3]), []).append(pid)
    return found


def processes() -> list[tuple[int, list[str]]]:
    """All processes of this machine, with what the kernel says of them: the fields of proc(5) stat from `state` on."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, twice a second
        if name.isdecimal():
            try:
                text = Path(f"/proc/{name}/stat").read_text(errors="replace")
            except OSError:
                continue  # it has ended
            found.append((int(name), text.rpartition(")")[2].split()))
    return found


def born(pid: int) -> int:
    """When a process began, in ticks since boot; 0: there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except OSError:
        return 0


def _bounded(explanation: Any) -> Any:
    """Something JSON can hold, not too long."""
    try:
        text = explanation if isinstance(explanation, str) else json.dumps(explanation)
    except (TypeError, ValueError):
        explanation = text = repr(explanation)
    if len(text) <= EXPLANATION:
        return explanation
    half = EXPLANATION // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def use_fork() -> None:
    """Luigi's task processes inherit their task; newer Pythons would start them in another way."""
    multiprocessing.set_start_method("fork", force=True)
