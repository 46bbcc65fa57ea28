"""The process of a scheduler, as its keeper watches it."""

import asyncio
import logging
import sys

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.keeper.child import Child
from luigi_ha.ha.keeper.options import KeeperOptions
from tests.support.patience import patient


def test_a_scheduler_that_is_slow_to_die_is_killed_once(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Child):
        """SIGKILL has been sent; a process with much memory, or in the middle of a disk's answer, is still there."""

        def kill(self) -> None:
            pass

    def killed() -> int:
        return sum("scheduler_killed" in record.getMessage() for record in caplog.records)

    async def scenario() -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        options = KeeperOptions("n1", command, {}, stall_after=0.1, kill_frozen_after=0.2)
        child = Slow(options, lambda: None)
        child._cells.beat(monotonic())  # its last sign of life
        try:
            async with asyncio.timeout(patient(10)):
                while not killed():  # noqa: ASYNC110 - it is another's process
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.6)  # six more looks
        finally:
            Child.kill(child)
            async with asyncio.timeout(patient(10)):
                while child.alive:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.02)

    with caplog.at_level(logging.INFO, "luigi_ha"):
        asyncio.run(scenario())
    assert killed() == 1
