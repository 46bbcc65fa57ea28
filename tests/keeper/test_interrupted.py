"""Every transition interrupted at every call to the store, by every fault of a machine; on virtual time.

After each: never two who act, never two who hold the address, and in the end somebody serves (dolphinscheduler#13355:
a failover that crashed was never tried again).
"""

import asyncio
from collections.abc import Callable

import pytest

from tests.ha.virtual import virtually
from tests.keeper.virtual_nodes import VirtualNode, VirtualWorld

CUT = 6.0  # s


def _cut(node: VirtualNode) -> None:
    def heal() -> None:
        node.cut = node.dead

    node.cut = True
    asyncio.get_running_loop().call_later(CUT, heal)


def _freeze(node: VirtualNode) -> None:
    node.scheduler.freeze(CUT)


def _slow_address(node: VirtualNode) -> None:
    node.address.delay = 1.2


def _slow_removal(node: VirtualNode) -> None:
    node.address.drop_delay = 1.2


FAULTS: dict[str, Callable[[VirtualNode], None]] = {
    "scheduler dies": lambda node: node.scheduler.kill(),
    "keeper dies": VirtualNode.die,
    "network cut": _cut,
    "scheduler freezes": _freeze,
    "address slow": _slow_address,
    "removal slow": _slow_removal,
}


async def _switch_over(world: VirtualWorld) -> None:
    await world.n2.elector.ask_switchover("n2")


async def _die(world: VirtualWorld) -> None:
    world.n1.scheduler.kill()


async def _stop(world: VirtualWorld) -> None:
    world.n1.keeper.stop("SIGTERM")


async def _lose_keeper(world: VirtualWorld) -> None:
    world.n1.die()


BEGINNINGS = {"switchover": _switch_over, "death": _die, "stop": _stop, "lost keeper": _lose_keeper}


async def _play(beginning: str, fault: str, victim: str, at: int) -> bool:
    """False: the transition was over before the fault."""
    world = VirtualWorld()
    await world.two()
    node = {"n1": world.n1, "n2": world.n2}[victim]
    world.arm(at, lambda: FAULTS[fault](node))
    began = world.clock()
    begin = asyncio.create_task(BEGINNINGS[beginning](world))
    await world.until(lambda: world.struck, 60.0)
    during = world.clock() - began < 4.0
    await asyncio.gather(begin, return_exceptions=True)
    await asyncio.sleep(2 * CUT)
    alive = [each for each in (world.n1, world.n2) if not each.dead and not each.task.done()]
    if alive:
        await world.until(lambda: [each for each in alive if each.serves])
        acted = len(world.effects)
        await asyncio.sleep(1.0)
        assert len(world.effects) > acted
    world.check()
    await world.close()
    return during


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("beginning", "victim"),
    [(each, victim) for each in BEGINNINGS for victim in ("n1", "n2") if (each, victim) != ("lost keeper", "n1")],
)
def test_a_transition_interrupted_at_any_call_ends_with_one_leader(beginning: str, fault: str, victim: str) -> None:
    at = 0
    while virtually(lambda: _play(beginning, fault, victim, at)) and at < 60:  # noqa: B023 - called at once
        at += 1 if at < 8 else 5
    assert at > 3, "the fault must hit the transition, not what follows it"


def test_a_scheduler_that_goes_on_after_a_hand_over_cannot_act() -> None:
    """The deadline is 0 before the leadership is resigned: what was said counts for nothing."""

    async def main() -> None:
        world = VirtualWorld()
        await world.two()
        world.n1.scheduler.disobedient = True
        world.n1.scheduler.quiet_after = 1.0  # it is the deadline that stops it, long before the end
        await world.n2.elector.ask_switchover("n2")
        await world.until(lambda: world.n2.serves)
        await asyncio.sleep(3.0)
        world.check()
        await world.close()

    virtually(main)


def test_the_checker_sees_a_leader_that_acts_too_long() -> None:
    """A page that does not end with the lease: the check above must notice it."""

    async def main() -> None:
        world = VirtualWorld()
        await world.two()
        page = world.n1.scheduler
        world.n1.die()
        page._page = (world.clock() + 20.0, page._page[1])
        await world.until(lambda: world.n2.serves)
        await asyncio.sleep(1.0)
        with pytest.raises(AssertionError):
            world.check()
        await world.close()

    virtually(main)
