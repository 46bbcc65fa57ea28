"""The scheduling rules, pure: no I/O, no wall clock, no threads, no randomness of its own."""

from luigi_ha.appliance.engine.answers import Answer
from luigi_ha.appliance.engine.errors import BadArgument, Conflict, EngineError, NoSuch, Refused
from luigi_ha.appliance.engine.mailbox import BatchMailbox, Mailbox
from luigi_ha.appliance.engine.scheduler import REST_METHODS, RPC_METHODS, Scheduler
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.engine.view_calls import SLICED_VIEWS

__all__ = [
    "REST_METHODS",
    "RPC_METHODS",
    "SLICED_VIEWS",
    "Answer",
    "BadArgument",
    "BatchMailbox",
    "Conflict",
    "EngineError",
    "Mailbox",
    "NoSuch",
    "Refused",
    "Scheduler",
    "Settings",
]
