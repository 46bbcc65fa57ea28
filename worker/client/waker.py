"""Waiting that can be ended: by a signal handler, by another thread, or by the end of the time.

A pipe instead of a `threading` primitive: setting it takes no lock, so it can be done in a signal handler, and a
process that is forked meanwhile inherits nothing that is locked.
"""

import contextlib
import os
import select


class Waker:
    """`wait` returns early once `wake` was called, before or meanwhile."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Readable: somebody woke us."""
        return self._read

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake; closed: it is over
            os.write(self._write, b"!")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def wait(self, seconds: float) -> bool:
        """Whether it was woken; what had been asked for is then consumed."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        if ready:
            self.clear()
        return bool(ready)

    def close(self) -> None:
        for descriptor in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(descriptor)
