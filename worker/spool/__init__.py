"""What a worker must not forget, on its disk: which runs it began, how they ended, and what was acknowledged."""

from luigi_ha.worker.spool.home import Home, HomeError
from luigi_ha.worker.spool.records import Finished, Run, Started
from luigi_ha.worker.spool.spool import Entry, Leftover, Spool

__all__ = ["Entry", "Finished", "Home", "HomeError", "Leftover", "Run", "Spool", "Started"]
