"""Which processes of a host a fault means."""

import enum

from luigi_ha.appliance.lab.processes import Process, inside


class Target(enum.Enum):
    """What can be killed or frozen on a host."""

    SCHEDULER = "scheduler"
    KEEPER = "keeper"
    BOTH = "both"  # keeper and scheduler
    PATRONI = "patroni"
    POSTGRES = "postgres"  # all of its processes
    ETCD = "etcd"
    HOST = "host"


def found(init: Process, what: Target) -> list[Process]:
    """Its processes that live now; empty if there are none."""
    living = inside(init)
    if what is Target.HOST:
        return living
    if what is Target.POSTGRES:
        return [process for process in living if _postgres(process)]
    if what in (Target.PATRONI, Target.ETCD):
        return [process for process in living if process.service == what.value and not _postgres(process)]
    serve = [process for process in living if process.service == "serve"]
    schedulers = [process for process in serve if process.scheduler]
    keepers = [process for process in serve if not process.scheduler and process.parent == init.pid]
    match what:
        case Target.SCHEDULER:
            return schedulers
        case Target.KEEPER:
            return keepers
        case _:
            return keepers + schedulers


def _postgres(process: Process) -> bool:
    return process.program.rsplit("/", 1)[-1] == "postgres"
