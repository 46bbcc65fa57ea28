"""What every implementation of the elector port promises to the keeper and to the commands of people."""

import asyncio
from contextlib import aclosing

import pytest

from luigi_ha.ha.elector import Asked, Elector, Epoch, Farewell, Member, Reason, View
from luigi_ha.ha.errors import LeaseLost, Refused
from tests.ha.worlds import FileWorld, Play, World, electors
from tests.support.patience import patient


def test_an_epoch_is_greater_than_any_that_the_database_has_seen(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            first = await a.campaign(above=10**6)
            assert first > 10**6
            for _ in range(2):
                await a.renew()
            assert (await leader(b)) == ("a", first)
            await a.resign()
            second = await b.campaign()  # what was raised stays
            assert second > first
            await b.resign()
            third = await a.campaign(above=second + 5)
            assert third > second + 5
            await a.resign()
            fourth = await b.campaign(above=7)
            assert fourth > third
            assert await b.campaign(above=third) == fourth  # leads already
            assert await b.campaign(above=fourth + 3) > fourth + 3  # and leads anew, if that is not enough
            await b.renew()

    play(test)


async def leader(elector: Elector) -> tuple[str, Epoch] | None:
    found = (await elector.observe()).leader
    return (found.name, found.epoch) if found else None


def test_who_resigns_says_why_until_the_next_one_wins(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b], aclosing(b.watch()) as views:
            assert await anext(views) == View()
            epoch = await a.campaign()
            assert (await anext(views)).farewell is None
            await a.resign(reason="the scheduler of a died")
            assert await anext(views) == View(farewell=Farewell("a", epoch, "the scheduler of a died"))
            await b.campaign()
            assert (await b.observe()).farewell is None
            await b.resign()
            assert await a.observe() == View()

    play(test)


def test_the_address_stays_behind_until_it_is_released(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.release_address()  # of nobody
            epoch = await a.campaign()
            await a.resign("bb", 4.0, reason="switchover", keep_address=True)
            view = await b.observe()
            assert view == View(None, None, "bb", Farewell("a", epoch, "switchover"), "a")
            await b.campaign()
            assert (await b.observe()).address_holder == "a"
            await b.release_address()  # not its own
            assert (await b.observe()).address_holder == "a"
            await a.release_address()
            assert (await b.observe()).address_holder is None
            await b.renew()

    play(test)


def test_an_address_that_is_never_released_lapses(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            await a.resign(None, 0.8, keep_address=True)
            assert (await b.observe()).address_holder == "a"
            await b.campaign()  # nothing is reserved
            async with asyncio.timeout(patient(5)), aclosing(b.watch()) as views:
                async for view in views:
                    if view.address_holder is None:
                        return

    play(test)


def test_a_reservation_that_comes_too_late_keeps_no_address(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            await a.campaign()
            await world.take_away(a)
            with pytest.raises(LeaseLost):
                await a.resign("bb", keep_address=True)
            assert (await b.observe()).address_holder is None

    play(test)


def test_a_switchover_is_asked_for_and_answered(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb", "ccc") as [a, b, c]:
            with pytest.raises(Refused) as nobody:
                await c.ask_switchover("bb")
            assert nobody.value.reason == Reason.VACANT
            await a.campaign()
            async with aclosing(a.watch()) as views:
                await anext(views)
                asked = await c.ask_switchover("bb")
                assert (await anext(views)).asked == asked == Asked("bb", asked.id)
                with pytest.raises(Refused) as twice:
                    await c.ask_switchover("a")
                assert twice.value.reason == Reason.ASKED
                await a.answer_switchover(Asked("bb", "another"), "not this one")
                await a.answer_switchover(asked, "bb cannot lead")
                assert (await anext(views)).asked == Asked("bb", asked.id, "bb cannot lead")
            again = await c.ask_switchover("bb")  # a refusal is no request
            assert again.id != asked.id
            await a.answer_switchover(again, None)
            assert (await b.observe()).asked is None
            await a.answer_switchover(again, "too late")
            assert (await b.observe()).asked is None

    play(test)


def test_a_request_is_done_when_who_was_asked_for_leads(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb", "ccc") as [a, b, c]:
            await a.campaign()
            asked = await c.ask_switchover("bb")
            await a.resign()
            await c.campaign()
            assert (await a.observe()).asked == asked  # another leads: still to be done
            await c.resign("bb")
            await b.campaign()
            assert (await a.observe()).asked is None

    play(test)


def test_members_are_seen_with_their_last_words_until_they_close(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb/:ü", "ccc") as [a, b, c]:
            assert await c.members() == []
            await b.register({"able": "yes"})
            await a.register({"able": "yes", "why": ""})
            await a.register({"able": "no"})
            assert await c.members() == [Member("a", {"able": "no"}), Member("bb/:ü", {"able": "yes"})]
            assert await c.observe() == View()  # presence is not leadership
            await a.close()
            assert [each.name for each in await c.members()] == ["bb/:ü"]

    play(test)


def test_the_stop_hook_ends_what_a_process_has_left(play: Play) -> None:
    async def test(world: World) -> None:
        if isinstance(world, FileWorld):
            async with electors(world, "a", "bb") as [a, b]:
                await a.campaign()
                assert not await b.release("a")  # the kernel does it
                await a.renew()
            return
        async with electors(world, "a", "bb", "ccc") as [a, b, hook]:
            assert not await hook.release("a")
            epoch = await a.campaign()
            await a.register({"x": "y"})
            await a.resign("a", keep_address=True)
            epoch = await a.campaign()
            assert not await hook.release("bb")
            await a.renew()
            assert await hook.release("a", "the scheduler of a was stopped")
            assert await b.observe() == View(farewell=Farewell("a", epoch, "the scheduler of a was stopped"))
            assert await b.members() == []
            with pytest.raises(LeaseLost):
                await a.renew()
            await b.campaign()
            assert not await hook.release("a")
            await b.renew()

    play(test)


def test_the_epoch_that_has_served_is_remembered_until_it_is_forgotten(play: Play) -> None:
    async def test(world: World) -> None:
        async with electors(world, "a", "bb") as [a, b]:
            assert (await b.observe()).served == 0
            epoch = await a.campaign()
            await a.remember(epoch)
            assert (await b.observe()).served == epoch
            await a.resign()
            later = await b.campaign()
            assert (await a.observe()).served == epoch
            await b.remember(later)
            assert (await a.observe()).served == later
            await b.resign()
            await a.remember(0)
            assert await b.observe() == View()

    play(test)
