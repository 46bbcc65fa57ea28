"""Texts for people: why this node leads now, and what it is waiting for."""

from typing import Literal

from luigi_ha.ha.elector import Leader, View, refusal
from luigi_ha.ha.keeper.messages import Able, Unable

THEN = "; then "
SWITCHOVER = "switchover"  # somebody has asked for it
FIRST_START = "first start"
STOPPED = " was stopped"
SILENT = "no word from "


def cause(view: View, name: str, last: Leader | None, above: int, mode: Literal["file", "etcd"]) -> str:
    """Why `name` wins now, as `view` showed it before it campaigned. `above`: the greatest epoch in its database."""
    if view.farewell is not None and view.farewell.reason:
        return view.farewell.reason
    if view.successor == name:
        return SWITCHOVER
    if last is not None:
        silent = "its lease ended" if mode == "etcd" else "its process has ended"
        return f"{SILENT}{last.name}: {silent}"
    return "nobody led" if above else FIRST_START


def carried(cause: str, previous: str | None, reason: str) -> str:
    """What a leader that never served says when it goes: what it was to mend comes first, and stays the first."""
    first = cause.partition(THEN)[0]
    return reason if previous is None or reason == first else f"{first}{THEN}{reason}"


def is_planned(cause: str) -> bool:
    """Whether somebody wanted it: no failover, but a first start, a switchover, or a stop in order."""
    first = cause.partition(";")[0]
    return first in (SWITCHOVER, FIRST_START) or first.endswith(STOPPED)


def silent_one(cause: str) -> str | None:
    """The leader that was not heard of any more, if that is how it began."""
    return cause.removeprefix(SILENT).partition(THEN)[0].rpartition(": ")[0] if is_silent(cause) else None


def is_silent(cause: str) -> bool:
    """Whether it began with a leader that was not heard of any more."""
    return cause.startswith(SILENT)


def previous(view: View, last: Leader | None, served: Leader | None) -> str | None:
    """Who led before, as far as anybody knows; not who only tried, if it is known who `served` last."""
    if served is not None and 0 < view.served == served.epoch:
        return served.name
    if view.farewell is not None:
        return view.farewell.name
    return last.name if last is not None else None


def obstacle(view: View | None, name: str, fit: Able | Unable | None, stalled: bool) -> str | None:
    """Why `name` does not campaign; None: it may."""
    if isinstance(fit, Unable):
        return fit.reason
    if fit is None:
        return "the scheduler is not ready to lead yet"
    if stalled:
        return "the scheduler makes no progress"
    if view is None:
        return "it is not known yet who leads"
    refused = refusal(view, name)
    return None if refused is None else str(refused)
