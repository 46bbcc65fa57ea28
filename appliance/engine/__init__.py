"""The scheduling rules, pure: no I/O, no wall clock, no threads, no randomness of its own."""

from appliance.engine.errors import BadArgument, EngineError
from appliance.engine.mailbox import BatchMailbox, Mailbox
from appliance.engine.scheduler import RPC_METHODS, Scheduler
from appliance.engine.settings import Settings
from appliance.engine.view_calls import SLICED_VIEWS

__all__ = [
    "RPC_METHODS",
    "SLICED_VIEWS",
    "BadArgument",
    "BatchMailbox",
    "EngineError",
    "Mailbox",
    "Scheduler",
    "Settings",
]
