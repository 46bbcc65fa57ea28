"""Processes that run one task each. One of them is forked ahead, while another task runs, and waits for the next task.

A process forked ahead is given its task in writing (pickled). It is used only if it knows every module the worker
knows; and a task that cannot be put in writing, or that has a queue of messages, gets a process forked for it. Either
way the process leads a session of its own, has its own output from its first line, and dies with the worker.
"""

import contextlib
import multiprocessing
import os
import pickle
import struct
import sys
from collections.abc import Callable

from luigi_ha.worker.daemon import kernel

HEADER = struct.Struct("!I")
Job = Callable[[int], None]  # what a process does; it is told where to write its result


class Carrier(multiprocessing.Process):
    """One process. `output` and `result` are the ends of its pipes that the worker reads."""

    def __init__(self, job: Job | None, ready: Callable[[], None], close: list[int]) -> None:
        """`job` None: wait for one, once `ready` has been called. OSError."""
        super().__init__()
        self._job = job
        self._ready = ready
        self._close = close
        self._parent = os.getpid()
        self.modules = len(sys.modules)
        self.output, self._output_sink = os.pipe2(os.O_CLOEXEC)
        self.result, self._result_sink = os.pipe2(os.O_CLOEXEC)
        self._order_source, self._order = os.pipe2(os.O_CLOEXEC)
        try:
            self.start()
        except OSError:
            for descriptor in (self.output, self.result, self._order):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (self._output_sink, self._result_sink, self._order_source):
                os.close(descriptor)

    def give(self, job: Job) -> bool:
        """Let it do this; False if that cannot be put in writing, or nobody reads it."""
        try:
            text = pickle.dumps(job)
        except Exception:  # noqa: BLE001 - whatever a user's task has inside
            return False
        left = memoryview(HEADER.pack(len(text)) + text)
        try:
            while left:
                left = left[os.write(self._order, left) :]
        except BrokenPipeError:
            return False
        os.close(self._order)
        return True

    def discard(self) -> None:
        """It was not needed."""
        self.kill()
        self.join()
        for descriptor in (self.output, self.result, self._order):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- in the process ----------------------------------------------------------------------------------------

    def run(self) -> None:
        kernel.lead_session_and_die_with(self._parent)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(self._output_sink, 1)
        os.dup2(self._output_sink, 2)
        inherited = {nothing, self.output, self.result, self._order, self._output_sink, *self._close}
        for descriptor in inherited - {0, 1, 2}:
            os.close(descriptor)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        self._ready()
        job = self._job if self._job is not None else self._awaited()
        os.close(self._order_source)
        if job is not None:
            job(self._result_sink)

    def _awaited(self) -> Job | None:
        head = self._read(HEADER.size)
        if len(head) < HEADER.size:
            return None
        found: Job = pickle.loads(self._read(*HEADER.unpack(head)))  # noqa: S301 - our own worker wrote it
        return found

    def _read(self, size: int) -> bytes:
        text = b""
        while len(text) < size:
            piece = os.read(self._order_source, size - len(text))
            if not piece:
                break
            text += piece
        return text


class Carriers:
    """Makes them; keeps one ahead."""

    def __init__(self, close: list[int], ready: Callable[[], None]) -> None:
        """`close`: descriptors that are the worker's alone; `ready`: what each process does first."""
        self._close = close
        self._ready = ready
        self._ahead: Carrier | None = None

    def start(self, job: Job, *, in_writing: bool) -> Carrier:
        """A process that does the job. OSError."""
        ahead = self._ahead
        if ahead is not None and ahead.modules != len(sys.modules):
            self.discard()
        elif ahead is not None and in_writing and ahead.is_alive() and ahead.give(job):
            self._ahead = None
            return ahead
        made = Carrier(job, self._ready, self._close)
        os.close(made._order)  # noqa: SLF001 - it has its job
        return made

    def prepare(self) -> None:
        """Fork one ahead. Whatever stands against it is told when a process is needed."""
        if self._ahead is None:
            with contextlib.suppress(OSError):
                self._ahead = Carrier(None, self._ready, self._close)

    def discard(self) -> None:
        """Keep none ahead."""
        if self._ahead is not None:
            self._ahead.discard()
            self._ahead = None
