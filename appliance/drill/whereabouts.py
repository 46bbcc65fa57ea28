"""Where the cluster's address was, from what was seen of it: nobody had it, two had it, when it was gone from a host.

Looks are [when, who has it], the first and the last that saw the same. What two looks in a row saw lasted at least from
the first to the second; a single look may have fallen between one host's loss and another's gain.
"""

from collections.abc import Callable, Sequence
from typing import Any

Looks = Sequence[Sequence[Any]]


def two(looks: Looks) -> float:
    """The longest time in which more than one host certainly had it, s."""
    return _longest(looks, lambda names: len(names) > 1, float("-inf"))


def none(looks: Looks, since: float) -> float:
    """The longest time in which no host had it, from `since` on, s."""
    return _longest(looks, lambda names: not names, since)


def gone(looks: Looks, name: str, since: float) -> float | None:
    """When the host had it no more for the first time after `since`; None: it had it all the time."""
    return next((float(at) for at, names in looks if at > since and name not in names), None)


def moved(answers: Looks, since: float) -> float | None:
    """When another host than before `since` first answered for it on the wire; None: no other did. `answers`: [when,
    who], whenever that changed."""
    before = [name for at, name in answers if at <= since]
    return next((float(at) for at, name in answers if at > since and before and name != before[-1]), None)


def _longest(looks: Looks, true: Callable[[Sequence[str]], bool], since: float) -> float:
    longest, begun = 0.0, None
    for at, names in looks:
        if at < since or not true(names):
            begun = None
            continue
        begun = at if begun is None else begun
        longest = max(longest, at - begun)
    return longest
