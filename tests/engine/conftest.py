"""An engine with a clock that the test moves."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import Scheduler, Settings


class Clock:
    """Scheduler time, moved by hand (seconds)."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[..., Scheduler]:
    def make_scheduler(resources: dict[str, float] | None = None, **options: Any) -> Scheduler:
        return Scheduler(Settings(**options), resources=resources, clock=clock, random=random.Random(7))

    return make_scheduler
