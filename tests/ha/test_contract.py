"""What every implementation of the elector port promises, one suite for all of them."""

import asyncio
from contextlib import aclosing

import pytest

from luigi_ha.ha.elector import Elector, Epoch, Reason, View
from luigi_ha.ha.errors import Definitive, LeaseLost, Refused
from luigi_ha.ha.hold import hold
from tests.ha.conftest import TIMING
from tests.ha.handover import HandoverFailed, hand_over
from tests.ha.worlds import Play, World, electors, refused


async def see(elector: Elector, wanted: str | None) -> View:
    """Watch until this one leads."""
    async with aclosing(elector.watch()) as views:
        async for view in views:
            if (view.leader.name if view.leader else None) == wanted:
                return view
    raise AssertionError("the watch ended")


def test_nobody_leads_until_somebody_has_won(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a") as [a]:
            assert await a.observe() == View()
            assert a.epoch is None
            assert not a.lease.valid(world.clock())
            with pytest.raises(LeaseLost):
                await a.renew()
            await a.resign()

    play(test)


def test_one_wins_and_everybody_sees_who(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            before = world.clock()
            epoch = await a.campaign()
            assert a.lease.valid(world.clock())
            assert a.lease.deadline <= world.clock() + TIMING.ttl - TIMING.margin
            assert a.lease.deadline >= before + TIMING.ttl - TIMING.margin
            assert await refused(b) == Reason.HELD
            assert not b.lease.valid(world.clock())
            leader = (await b.observe()).leader
            assert leader is not None
            assert (leader.name, leader.address, leader.epoch) == ("a", "10.0.0.1:8082", epoch)
            assert leader.meta == {"version": "1"}
            assert await a.campaign() == epoch

    play(test)


def test_of_many_candidates_at_once_one_wins(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, *"abcde") as all_of_them:
            results = await asyncio.gather(*(each.campaign() for each in all_of_them), return_exceptions=True)
            won = [each for each, result in zip(all_of_them, results, strict=True) if isinstance(result, int)]
            assert len(won) == 1
            assert all(isinstance(result, int | Refused) for result in results)
            assert [each for each in all_of_them if each.lease.valid(world.clock())] == won

    play(test)


def test_renewals_prolong_the_lease_and_keep_the_epoch(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a") as [a]:
            epoch = await a.campaign()
            for _ in range(3):
                before = a.lease.deadline
                await asyncio.sleep(0.05)
                await a.renew()
                assert a.lease.deadline > before
            assert a.epoch == epoch

    play(test)


def test_epochs_only_grow_through_resignations_losses_and_new_objects(play: Play) -> None:
    async def test(world: World) -> None:
        epochs: list[Epoch] = []
        async with electors(world, "a", "bb") as [a, b]:
            epochs.append(await a.campaign())
            await a.resign()
            epochs.append(await b.campaign())
            await world.take_away(b)
            with pytest.raises(LeaseLost):
                await b.renew()
            epochs.append(await b.campaign())
        async with electors(world, "a") as [a]:
            epochs.append(await a.campaign())
        assert epochs == sorted(set(epochs))

    play(test)


def test_who_resigns_stops_leading_at_once_and_another_may_win(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            first = await a.campaign()
            await a.resign()
            assert not a.lease.valid(world.clock())
            assert a.epoch is None
            assert (await b.observe()).leader is None
            assert await b.campaign() > first
            await a.resign()  # not ours any more
            await b.renew()
            leader = (await a.observe()).leader
            assert leader is not None
            assert leader.name == "bb"

    play(test)


def test_a_lease_taken_away_is_noticed_and_not_merely_unknown(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            await world.take_away(a)
            await b.campaign()
            with pytest.raises(Definitive):
                await a.renew()
            assert not a.lease.valid(world.clock())
            assert await refused(a) == Reason.HELD

    play(test)


def test_without_renewal_it_ends_by_itself_and_a_renewal_is_refused(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a") as [a]:
            first = await a.campaign()
            await asyncio.sleep(TIMING.ttl - TIMING.margin + 0.05)
            assert not a.lease.valid(world.clock())
            with pytest.raises(LeaseLost):
                await a.renew()
            assert a.epoch is None
            assert await a.campaign() > first  # what is left of the old leadership does not stand in the way

    play(test)


def test_holding_renews_until_it_is_lost(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a") as [a]:
            await a.campaign()
            holding = asyncio.create_task(hold(a, world.clock))
            await asyncio.sleep(TIMING.ttl - TIMING.margin + 0.1)
            assert a.lease.valid(world.clock())
            await world.take_away(a)
            lost = await asyncio.wait_for(holding, 2 * TIMING.renew_every)
            assert isinstance(lost, LeaseLost)

    play(test)


def test_a_watch_tells_the_present_then_every_change(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb", "ccc") as [a, b, c], aclosing(c.watch()) as views:
            assert await anext(views) == View()
            await a.campaign()
            first = (await anext(views)).leader
            await a.resign()
            assert (await anext(views)).leader is None
            await b.campaign()
            second = (await anext(views)).leader
            assert first is not None
            assert second is not None
            assert (first.name, second.name) == ("a", "bb")
            assert second.epoch > first.epoch
            await c.pause()
            assert (await anext(views)).keeps == "bb"

    play(test)


def test_a_watcher_sees_a_leader_vanish_that_never_said_goodbye(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            seeing = asyncio.create_task(see(b, None))
            await asyncio.sleep(0.1)
            await world.take_away(a)
            await asyncio.wait_for(seeing, 1.0)

    play(test)


def test_a_pause_keeps_the_leader_even_when_it_is_gone(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            with pytest.raises(Refused) as nobody:
                await b.pause()
            assert nobody.value.reason == Reason.VACANT
            await a.campaign()
            await b.pause()
            await a.renew()
            await a.resign()
            view = await b.observe()
            assert view.paused
            assert view.keeps == "a"
            assert await refused(b) == Reason.PAUSED
            await a.campaign()
            await a.resign()
            await a.resume()
            await b.campaign()
            assert not (await a.observe()).paused

    play(test)


def test_a_handover_makes_exactly_the_named_node_leader(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb", "ccc") as [a, b, c]:
            first = await a.campaign()

            async def eager(other: Elector) -> None:
                while True:
                    try:
                        await other.campaign()
                    except Refused:
                        await asyncio.sleep(0.01)
                    else:
                        return

            async with asyncio.timeout(3):
                others = [asyncio.create_task(eager(each)) for each in (c, b)]
                leader = await hand_over(a, "bb", 2.0)
                await others[1]
            assert (leader.name, leader.epoch) == ("bb", b.epoch)
            assert leader.epoch > first
            assert (await a.observe()).successor is None
            for each in others:
                each.cancel()
            await asyncio.wait(others)

    play(test)


def test_a_handover_to_a_node_that_does_not_come_fails_and_lapses(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            handing = asyncio.create_task(hand_over(a, "nobody", 0.7))
            await asyncio.sleep(0.3)
            assert await refused(b) == Reason.RESERVED
            assert await refused(a) == Reason.RESERVED
            with pytest.raises(HandoverFailed, match="nobody has not taken over"):
                await handing
            await a.campaign()

    play(test)


def test_a_handover_during_a_pause_moves_what_the_pause_keeps(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            await a.pause()
            await a.resign("bb", 2.0)
            await b.campaign()
            assert (await a.observe()).keeps == "bb"
            await b.resign()
            assert await refused(a) == Reason.PAUSED

    play(test)


def test_only_the_leader_can_hand_over(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            with pytest.raises(LeaseLost):
                await hand_over(b, "a", 1.0)
            await world.take_away(a)
            with pytest.raises(LeaseLost):
                await hand_over(a, "bb", 1.0)
            await b.campaign()  # nothing was reserved

    play(test)


def test_a_campaign_cancelled_at_any_moment_leaves_nothing_in_the_way(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            for after in (0.0, 0.001, 0.003, 0.006, 0.01):
                campaign = asyncio.create_task(a.campaign())
                await asyncio.sleep(after)
                campaign.cancel()
                done, _ = await asyncio.wait([campaign])
                if not any(each.cancelled() for each in done):
                    await a.resign()
                await b.campaign()
                await b.resign()

    play(test)


def test_closing_gives_up_the_leadership(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            await a.close()
            await b.campaign()

    play(test)
