"""How a process of ours ends: the numbers that supervisors and scripts see."""

import enum


class ExitCode(enum.IntEnum):
    """Documented in `luigi-ha --help`; never renumbered."""

    OK = 0
    FAILED = 1
    CONFIG = 2
    UNREACHABLE = 3
    FENCED = 4
    SCHEMA = 5
    INCONCLUSIVE = 6
