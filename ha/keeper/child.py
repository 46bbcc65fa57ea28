"""One scheduler process: started, heard, watched, and ended.

Its death is known at once, however it dies (pidfd), and the first thing that happens then is that the deadline in the
shared memory becomes 0: whatever of it might be left cannot act any more. Each process has a page and a socket of its
own, so nothing of an earlier one reaches a later one.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.keeper.board import Said
from luigi_ha.ha.keeper.cells import Cells
from luigi_ha.ha.keeper.channel import Channel
from luigi_ha.ha.keeper.link import VARIABLE
from luigi_ha.ha.keeper.messages import Able, GiveUp, Handed, Leading, Message, Over, Quiet, ToScheduler, Unable
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.log import Events

LOOK_EVERY = 0.1  # s between two looks at its signs of life
CLOSED_FOR = 0.1  # s in which a process that has closed its connection is expected to end
DEAF_FOR = 2.0  # s that one may live on that does not
NOT_ITS_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

_log = Events("keeper")


class Child:
    """See `luigi_ha.ha.keeper.board.Scheduler`. `changed` is called after each change of what can be seen here."""

    def __init__(self, options: KeeperOptions, changed: Callable[[], None], clock: Clock = monotonic) -> None:
        """Start it. OSError if that fails. Call it on the running loop."""
        self.said = Said()
        self.stalled = False
        self.code: int | None = None
        """The exit code; -n: killed by signal n. None while it lives."""
        self.started = clock()
        self.was_able = False
        self._options = options
        self._changed = changed
        self._clock = clock
        self._frozen_for = 0.0
        self._killed = False
        self._last_chance: asyncio.TimerHandle | None = None
        self._looked = clock()
        self._cells = Cells.create()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = Channel(ours)
        try:
            passed = (theirs.fileno(), self._cells.fd)
            environment = {name: value for name, value in options.environment.items() if name not in NOT_ITS_OWN}
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                list(options.command),
                stdin=subprocess.DEVNULL,
                env={**environment, VARIABLE: f"{passed[0]},{passed[1]}"},
                pass_fds=passed,
                start_new_session=True,  # a terminal's Ctrl-C is for us: we tell it to drain
            )
        except OSError:
            self._channel.close()
            self._forget_memory()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._died)
        self._channel.start(self._hear, self._silent)
        self._looking = self._loop.call_later(LOOK_EVERY, self._look)

    @property
    def alive(self) -> bool:
        return self.code is None

    @property
    def end(self) -> str:
        if self.code is None:
            return "it lives"
        return f"code {self.code}" if self.code >= 0 else signal.Signals(-self.code).name

    # ------------------------------------------------------------------------------------------------- to the process

    def send(self, message: ToScheduler) -> None:
        if isinstance(message, Over):
            self.said = Said()
        self._channel.send(message)

    def lead(self, epoch: int, deadline: float) -> None:
        if self.alive:
            self._cells.lead(epoch, deadline)

    def not_ours(self) -> None:
        if self.alive:
            self._cells.end()

    def kill(self) -> None:
        """SIGKILL, also for what it has started. Harmless if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    # ----------------------------------------------------------------------------------------------- from the process

    def _hear(self, message: Message) -> None:
        said = self.said
        match message:
            case Able() | Unable():
                said.fit = message
                self.was_able |= isinstance(message, Able)
                if isinstance(message, Unable):
                    _log.info("scheduler_unable", reason=message.reason)
            case Leading(epoch):
                said.open_epoch, said.opened_at = epoch, self._clock()
            case Handed():
                said.handed, said.open_epoch, said.fit = True, None, None
            case Quiet():
                said.quiet = True
            case GiveUp(reason):
                said.gave_up, said.fit = reason, None
            case _:
                pass  # what keepers say to schedulers
        self._changed()

    def _silent(self) -> None:
        """It has closed its end: most likely it is dead, and we are about to hear how it died."""
        self.not_ours()
        self._last_chance = self._loop.call_later(CLOSED_FOR, self._deaf)

    def _deaf(self) -> None:
        """It lives, but cannot be led any more."""
        self.said = Said(gave_up="the scheduler closed its connection to the keeper")
        self._last_chance = self._loop.call_later(DEAF_FOR, self.kill)
        self._changed()

    def _died(self) -> None:
        if self._process.poll() is None:
            return
        self._cells.end()
        self.code = self._process.returncode
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._looking.cancel()
        if self._last_chance is not None:
            self._last_chance.cancel()
        self._channel.close()
        self._forget_memory()
        self._changed()

    def _forget_memory(self) -> None:
        fd = self._cells.fd
        self._cells.close()
        os.close(fd)

    def _look(self) -> None:
        """At its signs of life. Nothing is expected before the first one: it may upgrade a database first."""
        now = self._clock()
        passed, self._looked = min(now - self._looked, 1.0), now  # we may have been frozen ourselves
        silent = self._silent_for(now)
        stalled = silent > self._options.stall_after
        self._frozen_for = self._frozen_for + passed if stalled else 0.0
        if stalled != self.stalled:
            self.stalled = stalled
            if stalled:
                _log.warning("scheduler_stalled", pid=self.pid, seconds=round(silent, 3))
            else:
                _log.info("scheduler_goes_on", pid=self.pid)
            self._changed()
        too_long = self._options.kill_frozen_after - self._options.stall_after
        if self._frozen_for > too_long and not self._killed:
            self._killed = True  # SIGKILL cannot fail; a large process takes its time to die
            _log.warning("scheduler_killed", pid=self.pid, frozen_for=round(silent, 3))
            self.kill()
        self._looking = self._loop.call_later(LOOK_EVERY, self._look)

    def _silent_for(self, now: float) -> float:
        loop_beat = self._cells.loop_beat
        if not loop_beat:
            return 0.0
        silent = now - loop_beat
        if self.said.open_epoch is not None:  # only who leads has a journal that must go on
            silent = max(silent, now - max(self._cells.journal_beat, self.said.opened_at))
        return silent
