"""Four numbers that the keeper and the scheduler share: one page of memory, no lock, no message that could be late.

    0  deadline      keeper     until when the lease is ours (s, `luigi_ha.ha.clock`); 0.0: it is not ours
    1  epoch         keeper     under which epoch
    2  loop beat     scheduler  when its event loop last turned
    3  journal beat  scheduler  when its journal last made progress, or had nothing to do, or waited for its database

Each is 64 bits, aligned and written whole. The keeper writes in this order: ending, the deadline first; winning, the
epoch first. A reader reads the deadline first. So nobody ever pairs a deadline with an epoch it was not given for.
(On x86-64 stores are seen in the order in which they were made; on other processors the interpreter's own locking
between two bytecodes makes it so in practice, and the fence in the database does not depend on it.)

Not promised: that whoever found the lease valid is not paused right afterwards.
"""

import mmap
import os

_DEADLINE, _EPOCH, _LOOP, _JOURNAL = range(4)
SIZE = mmap.PAGESIZE


class Cells:
    """The shared page. Both sides map it by its descriptor, which is `fd`; `close` leaves that open to its owner."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, SIZE)
        self._whole = memoryview(self._memory)
        self._times = self._whole.cast("d")
        self._counts = self._whole.cast("q")

    @classmethod
    def create(cls) -> "Cells":
        """A new page, all zero: no lease. Its descriptor is not inherited unless it is passed on by name."""
        fd = os.memfd_create("luigi-ha", os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return cls(fd)

    # ------------------------------------------------------------------------------------------------- the keeper's

    def lead(self, epoch: int, deadline: float) -> None:
        """The lease is ours under `epoch` until `deadline`."""
        if self._counts[_EPOCH] != epoch:
            self._times[_DEADLINE] = 0.0
            self._counts[_EPOCH] = epoch
        self._times[_DEADLINE] = deadline

    def end(self) -> None:
        """The lease is not ours any more."""
        self._times[_DEADLINE] = 0.0

    @property
    def loop_beat(self) -> float:
        return self._times[_LOOP]

    @property
    def journal_beat(self) -> float:
        return self._times[_JOURNAL]

    # ---------------------------------------------------------------------------------------------- the scheduler's

    def read(self) -> tuple[float, int]:
        """(deadline, epoch) as one belongs to the other."""
        return self._times[_DEADLINE], self._counts[_EPOCH]

    def beat(self, now: float) -> None:
        self._times[_LOOP] = now

    def journal_beats(self, when: float) -> None:
        self._times[_JOURNAL] = when

    def close(self) -> None:
        """Unmap; the descriptor stays as it is."""
        self._counts.release()
        self._times.release()
        self._whole.release()
        self._memory.close()
