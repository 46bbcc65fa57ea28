"""Where we read luigi's configuration otherwise than luigid, on purpose; nothing else may differ.

A difference says of one option whether it explains what was found: what luigid has (None: nothing), what we have,
whether luigid found it written, and the text of all files. `refusal` is for what luigid starts with and we refuse.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luigi_ha.appliance.config.luigi_kinds import LONGEST


@dataclass(frozen=True)
class Seen:
    """One option, as luigid and as we have it."""

    option: tuple[str, str]
    """Class and name in luigi."""
    theirs: Any
    ours: Any
    written: bool
    text: str
    toml: bool


@dataclass(frozen=True)
class Difference:
    """A difference, why it is wanted, and whether it explains what was seen."""

    name: str
    reason: str
    explains: Callable[[Seen], bool]


def _old_name(seen: Seen) -> bool:
    names = {
        "retry_count": ("disable_failures", "disable-failures", "disable-num-failures", "disable_num_failures"),
        "disable_window": ("disable-window-seconds", "disable_window_seconds"),
        "disable_persist": ("disable-persist-seconds", "disable_persist_seconds"),
    }
    section, name = seen.option
    return section == "scheduler" and not seen.written and any(old in seen.text for old in names.get(name, ()))


def _documented(seen: Seen) -> bool:
    section, _ = seen.option
    heads = ("[batch_notifier]", "[batch-notifier]")
    return section == "batch_email" and not seen.written and any(head in seen.text for head in heads)


def _clamped(seen: Seen) -> bool:
    number = isinstance(seen.theirs, (int, float)) and abs(seen.theirs) > LONGEST
    return number and seen.ours == math.copysign(LONGEST, seen.theirs)


def _truth_of_amount(seen: Seen) -> bool:
    return seen.option[0] == "resources" and seen.toml and str(seen.theirs).replace("_", "") == str(seen.ours)


DIFFERENCES = (
    Difference(
        "retry_delay_default",
        "a failed task is retried after 60 s, doubling, instead of after 900 s, unless retry_delay is written",
        lambda seen: seen.option == ("scheduler", "retry_delay") and not seen.written and seen.ours is None,
    ),
    Difference(
        "sender_default",
        "e-mails come from the scheduler, not from a client",
        lambda seen: seen.option == ("email", "sender") and not seen.written and seen.ours == "luigi-ha@localhost",
    ),
    Difference(
        "not_a_number",
        "luigid compares a time with nan, is told no, and waits for ever: infinity says that",
        lambda seen: isinstance(seen.theirs, float) and math.isnan(seen.theirs) and seen.ours == math.inf,
    ),
    Difference("clamped", "no clock and no database holds larger numbers; the effect is the same", _clamped),
    Difference("old_name", "earlier versions of luigi read it, and it was written to have an effect", _old_name),
    Difference("documented", "luigi's documentation says [batch_notifier], its code reads [batch_email]", _documented),
    Difference("amount_of_toml", "luigid keeps a text as it is, and fails when it first compares it", _truth_of_amount),
    Difference(
        "smtp_timeout",
        "no socket waits for ever or for a number that is none: luigid fails at the e-mail",
        lambda seen: (
            seen.option == ("smtp", "timeout")
            and isinstance(seen.theirs, float)
            and not math.isfinite(seen.theirs)
            and seen.ours == 10.0
        ),
    ),
)

# What luigid starts with and we refuse: part of our message -> why.
REFUSALS = {
    "expected a whole number": "a resource of luigi.toml that is no number: luigid fails at the first get_work",
}


def refusal(message: str, *, toml: bool) -> str | None:
    """Return why we refuse what luigid starts with; None if that is not on purpose."""
    return next((why for part, why in REFUSALS.items() if toml and "[resources]" in message and part in message), None)
