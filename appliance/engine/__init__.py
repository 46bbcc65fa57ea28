"""The scheduling rules, pure: no I/O, no wall clock, no threads, no randomness of its own.

What a name stands for is loaded when the name is first used: commands, and the stop hook that callers wait for, need
the settings and the errors, and nothing of the rest.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luigi_ha.appliance.engine.answers import Answer
    from luigi_ha.appliance.engine.errors import BadArgument, Conflict, EngineError, NoSuch, Refused
    from luigi_ha.appliance.engine.mailbox import BatchMailbox, Mailbox
    from luigi_ha.appliance.engine.scheduler import REST_METHODS, RPC_METHODS, Scheduler
    from luigi_ha.appliance.engine.settings import Settings
    from luigi_ha.appliance.engine.view_calls import SLICED_VIEWS

_MODULES = {
    "answers": ("Answer",),
    "errors": ("BadArgument", "Conflict", "EngineError", "NoSuch", "Refused"),
    "mailbox": ("BatchMailbox", "Mailbox"),
    "scheduler": ("REST_METHODS", "RPC_METHODS", "Scheduler"),
    "settings": ("Settings",),
    "view_calls": ("SLICED_VIEWS",),
}

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


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            setattr(sys.modules[__name__], name, value)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
