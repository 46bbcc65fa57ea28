"""What a worker must not forget, on its disk: which runs it began, how they ended, and what was acknowledged."""

from worker.spool.home import Home, HomeError
from worker.spool.records import Finished, Run, Started
from worker.spool.spool import Entry, Leftover, Spool

__all__ = ["Entry", "Finished", "Home", "HomeError", "Leftover", "Run", "Spool", "Started"]
