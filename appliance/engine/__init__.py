"""The scheduling rules, pure: no I/O, no wall clock, no threads, no randomness of its own."""

from appliance.engine.answers import Answer
from appliance.engine.errors import BadArgument, Conflict, EngineError, NoSuch, Refused
from appliance.engine.mailbox import BatchMailbox, Mailbox
from appliance.engine.scheduler import REST_METHODS, RPC_METHODS, Scheduler
from appliance.engine.settings import Settings
from appliance.engine.view_calls import SLICED_VIEWS

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
