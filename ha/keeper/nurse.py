"""Keeps a scheduler process running: starts it again after it died, slower each time, or says why not."""

from luigi_ha.ha.clock import Clock, monotonic
from luigi_ha.ha.keeper.board import Board, Process, Start
from luigi_ha.ha.keeper.child import Child
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.log import Events

MEANT = 2  # exit codes from here on are answers, not accidents: configuration, no database, ...
SCHEMA = 5  # a person has to upgrade the database first, whenever that is noticed

_log = Events("keeper")


class Nurse:
    """Puts the running process on the board (`board.scheduler`), and the code with which to exit when it should not be
    started again (`board.exit_code`)."""

    def __init__(self, options: KeeperOptions, board: Board, clock: Clock = monotonic, start: Start = Child) -> None:
        self.child: Process | None = None
        self._options = options
        self._board = board
        self._clock = clock
        self._start_process = start
        self._ever_able = False
        self._over: Process | None = None  # the one whose end was dealt with

    async def run(self) -> None:
        """Until it should not run any more."""
        wait = self._options.restart_after
        while not self._board.stops:
            child = self._start()
            if child is not None:
                await self._dead(child)
                if self._board.exit_code is not None:
                    return
                if self._clock() - child.started > self._options.restart_reset:
                    wait = self._options.restart_after
            await self._board.until(lambda: self._board.stops, wait)
            wait = min(2 * wait, self._options.restart_at_most)
        if self._board.exit_code is None:
            self._board.exit_code = 0
            self._board.tell()

    async def _dead(self, child: Process) -> None:
        await self._board.until(lambda: not child.alive)

    def _start(self) -> Process | None:
        try:
            self.child = child = self._start_process(self._options, self._changed, self._clock)
        except OSError as error:
            _log.warning("scheduler_not_started", command=self._options.command[0], error=str(error))
            return None
        _log.info("scheduler_started", pid=child.pid)
        self._board.scheduler = child
        self._board.tell()
        return child

    def _changed(self) -> None:
        if self.child is not None and not self.child.alive and self._over is not self.child:
            self._over = self.child
            self._ended(self.child)  # the cause is in the log before what follows from it
        self._board.tell()

    def _ended(self, child: Process) -> None:
        code = child.code
        self._ever_able |= child.was_able
        lived = round(self._clock() - child.started, 3)
        if self._board.stops or code == 0:
            _log.info("scheduler_ended", pid=child.pid, end=child.end, lived=lived)
            self._board.exit_code = 1 if code is None or code < 0 else code
        else:
            _log.warning("scheduler_died", pid=child.pid, end=child.end, lived=lived)
            if code == SCHEMA or (code is not None and code >= MEANT and not self._ever_able):
                self._board.exit_code = code
