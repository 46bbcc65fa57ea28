"""The election on virtual time: every interleaving of a few delays and losses, and the failures it must survive."""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from luigi_ha.ha.elector import Leader
from luigi_ha.ha.errors import Fatal, HaError, LeaseLost, Refused, Unknown
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.transport import Put
from luigi_ha.ha.etcd.watch import follow
from luigi_ha.ha.hold import hold
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.memory import Delay, Link, MemoryStore, memory_elector
from tests.ha.virtual import virtually
from tests.ha.worlds import candidate

TIMING = Timing(ttl=3.0, renew_every=0.75, request_timeout=1.5, margin=0.5)
LOST_REQUEST, LOST_REPLY = Delay(request=math.inf), Delay(reply=math.inf)
PREFIX = "/luigi-ha/default/"

Delays = Callable[[str, int], Delay]


def by_number(*delays: Delay, then: Delay = Delay()) -> Delays:  # noqa: B008 - it is immutable
    """The first calls get these delays, in order; all later ones the last."""
    return lambda _call, number: delays[number] if number < len(delays) else then


def during(call: str, delay: Delay, switch: list[bool]) -> Delays:
    """While the switch is on, calls of this kind get this delay."""
    return lambda made, _number: delay if switch[0] and made == call else Delay()


def elector(store: MemoryStore, name: str, delays: Delays | None = None, timing: Timing = TIMING) -> EtcdElector:
    return memory_elector(Link(store, delays) if delays else Link(store), candidate(name), timing)


def now() -> float:
    return asyncio.get_running_loop().time()


async def listen(source: AsyncIterator[Any], note: Callable[[Any], None]) -> None:
    async for each in source:
        note(each)


class Referee:
    """Looks every tenth of a second who believes to lead, and what the store says."""

    def __init__(self, store: MemoryStore, *electors: EtcdElector) -> None:
        self.store = store
        self.electors = electors
        self.seen: Counter[str] = Counter()
        self.epochs: dict[int, str] = {}

    def look(self) -> None:
        leading = [each for each in self.electors if each.lease.valid(now())]
        assert len(leading) <= 1, [each.candidate.name for each in leading]
        for each in leading:
            key = self.store.read(PREFIX).items.get(PREFIX + "leader")
            assert each.epoch is not None
            assert self.epochs.setdefault(each.epoch, each.candidate.name) == each.candidate.name
            assert max(self.epochs) == each.epoch, "an older epoch leads"
            assert key is not None, "leads by its own clock, but the store has given the key up"
            assert key.create_revision == each.epoch
            self.seen[each.candidate.name] += 1

    async def watch_over(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.look()
            await asyncio.sleep(0.1)
        self.look()


async def strive(elector: EtcdElector, start: float = 0.0) -> None:
    """What a node does: campaign, lead while it can, begin again."""
    await asyncio.sleep(start)
    while True:
        try:
            await elector.campaign()
            await hold(elector, now)
        except HaError:
            await asyncio.sleep(0.2)


async def contest(store: MemoryStore, seconds: float, *electors: EtcdElector, ahead: float) -> Referee:
    """The first begins `ahead` of the others."""
    referee = Referee(store, *electors)
    starts = [0.0, *[ahead] * (len(electors) - 1)]
    striving = [asyncio.create_task(strive(each, start)) for each, start in zip(electors, starts, strict=True)]
    await referee.watch_over(seconds)
    assert not any(task.done() for task in striving)
    for task in striving:
        task.cancel()
    await asyncio.wait(striving)
    return referee


def test_two_candidates_never_lead_at_once_whatever_the_network_does() -> None:
    """Exhaustive: three calls in a row of one candidate are each passed, slow, slow on the way back, or lost.

    While it campaigns, before the other and beside it, or while it leads; afterwards the network is well, or loses
    everything, so that no later call covers up what an earlier one made wrong.
    """
    fates = (Delay(), Delay(request=1.0, reply=0.4), Delay(reply=1.4), LOST_REPLY, LOST_REQUEST)
    scenes = ((1, LOST_REQUEST, 2.0), (4, LOST_REQUEST, 0.0), (1, Delay(), 0.0))
    led: Counter[str] = Counter()
    for (passed, then, ahead), *fate in itertools.product(scenes, fates, fates, fates):
        delays = by_number(*[Delay()] * passed, *fate, then=then)

        async def play(delays: Delays = delays, ahead: float = ahead) -> Referee:
            store = MemoryStore()
            return await contest(store, 5.5, elector(store, "a", delays), elector(store, "bb"), ahead=ahead)

        led += virtually(play).seen
    assert led["a"] > 1000
    assert led["bb"] > 1000


@pytest.mark.parametrize("late", [Delay(request=2.0), Delay(request=4.0), Delay(reply=2.9), LOST_REPLY])
@pytest.mark.parametrize("call", ["read", "grant", "txn", "keep_alive", "revoke"])
def test_a_slow_kind_of_call_costs_leadership_never_safety(call: str, late: Delay) -> None:
    async def play() -> None:
        store = MemoryStore()
        switch = [True]
        contestants = elector(store, "a", during(call, late, switch)), elector(store, "bb", during(call, late, switch))
        referee = Referee(store, *contestants)
        striving = [asyncio.create_task(strive(each)) for each in contestants]
        await referee.watch_over(12)
        switch[0] = False
        await referee.watch_over(12)
        referee.seen.clear()
        await referee.watch_over(3)
        assert referee.seen.total() >= 30, "the network is well again, and nobody leads"
        for task in striving:
            task.cancel()
        await asyncio.wait(striving)

    virtually(play)


def interrupted(number: int, fate: Delay) -> Callable[[], Coroutine[Any, Any, str]]:
    async def play() -> str:
        store = MemoryStore()
        a, b = elector(store, "a", by_number(*[Delay()] * number, fate)), elector(store, "bb")
        try:
            await a.campaign()
        except HaError as error:
            ended = type(error).__name__
            assert a.epoch is None
            assert not a.lease.valid(now())
            await asyncio.sleep(0.01)
            await b.campaign()  # nothing was left behind, without waiting for a ttl
            await asyncio.sleep(10)  # and nothing late arrives
            assert not any(key.value.startswith('{"address": "10.0.0.1') for key in store.items.values())
        else:
            ended = "won"
            assert a.lease.valid(now())
            with pytest.raises(Refused):
                await b.campaign()
        return ended

    return play


@pytest.mark.parametrize("fate", [LOST_REQUEST, LOST_REPLY, Delay(request=1.6), Delay(request=2.5)])
@pytest.mark.parametrize("number", range(4))
def test_a_campaign_interrupted_at_any_call_wins_or_leaves_nothing_behind(number: int, fate: Delay) -> None:
    """etcd#21128: a key left behind when campaigning fails half-way; a late request may still win."""
    ended = virtually(interrupted(number, fate))
    assert (ended == "won") == (number == 2 and fate is LOST_REPLY), ended


def test_a_campaign_cancelled_at_any_call_leaves_nothing_behind() -> None:
    async def play(number: int) -> int:
        store = MemoryStore()
        slow = Delay(0.1, 0.1)
        a, b = elector(store, "a", lambda _call, _number: slow), elector(store, "bb")
        campaign = asyncio.create_task(a.campaign())
        await asyncio.sleep(0.05 + 0.1 * number)
        campaign.cancel()
        with pytest.raises(asyncio.CancelledError):
            await campaign
        assert not store.leases
        await b.campaign()
        return len(set(store.leases))

    for number in range(8):
        assert virtually(lambda number=number: play(number)) == 1


def test_a_cancellation_during_the_cleaning_up_is_delivered_after_it() -> None:
    async def play() -> None:
        store = MemoryStore()
        fates = {"txn": LOST_REQUEST, "revoke": Delay(0.5, 0.5)}
        a = elector(store, "a", lambda call, _number: fates.get(call, Delay()))
        campaign = asyncio.create_task(a.campaign())
        await asyncio.sleep(TIMING.request_timeout + 0.2)
        assert store.leases
        for _ in range(3):
            campaign.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await campaign
        assert not store.leases

    virtually(play)


def test_winning_with_a_lease_that_has_run_out_is_not_leadership() -> None:
    """etcd#11051, etcd#11007: campaign succeeded without leadership, a 12 h outage."""

    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a", by_number(Delay(), Delay(), Delay(reply=1.4), Delay(reply=1.2)))
        with pytest.raises(LeaseLost, match="run out"):
            await a.campaign()
        assert not a.lease.valid(now())
        await elector(store, "bb").campaign()

    virtually(play)


def test_a_keepalive_without_the_key_does_not_count() -> None:
    """A leader of etcd that was cut off may still answer keepalives."""

    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a")
        await a.campaign()
        del store.items[PREFIX + "leader"]  # the majority has moved on; the lease is still answered for
        with pytest.raises(LeaseLost, match="nobody leads"):
            await a.renew()
        assert not a.lease.valid(now())

    virtually(play)


def test_a_keepalive_that_finds_no_lease_is_unknown_while_the_key_is_there() -> None:
    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a")
        await a.campaign()
        before = a.lease.deadline
        store.leases.clear()
        with pytest.raises(Unknown):
            await a.renew()
        assert a.lease.valid(now())
        assert a.lease.deadline == before

    virtually(play)


def test_the_granted_ttl_is_used_and_renewals_are_not_slowed_by_it() -> None:
    """etcd raises 2 s to its floor and says so: 7 to 8 s in installations with slow elections."""

    async def play() -> None:
        store = MemoryStore(least_ttl=8.0)
        a = elector(store, "a")
        await a.campaign()
        assert a.lease.remaining(now()) == 7.5

    virtually(play)


def test_a_granted_ttl_that_fits_no_other_time_is_fatal_and_leaves_nothing_behind() -> None:
    async def play() -> None:
        store = MemoryStore(least_ttl=1000.0)
        with pytest.raises(Fatal, match="two nodes could lead"):
            await elector(store, "a").campaign()
        assert not store.leases

    virtually(play)


def test_an_unknown_renewal_is_no_loss_and_the_deadline_holds_to_the_instant() -> None:
    """A hiccup of etcd demoted healthy leaders (etcd#21671, patroni#3407); none must lead on for ever either."""

    async def play() -> None:
        store = MemoryStore()
        switch = [False]
        a = elector(store, "a", during("keep_alive", LOST_REQUEST, switch))
        await a.campaign()
        holding = asyncio.create_task(hold(a, now))
        await asyncio.sleep(5.0)
        switch[0] = True
        await asyncio.sleep(1.7)
        assert a.lease.valid(now())
        switch[0] = False  # in time
        await asyncio.sleep(5.0)
        assert a.lease.valid(now())
        switch[0] = True
        await asyncio.sleep(0.8)
        deadline = a.lease.deadline
        lost = await holding
        assert now() == pytest.approx(deadline)
        assert not a.lease.valid(now())
        assert isinstance(lost, LeaseLost)

    virtually(play)


def test_a_lease_revoked_by_a_stuck_etcd_leader_is_survived_with_a_new_epoch() -> None:
    """etcd#12528, etcd#15247: every lease was revoked although clients renewed."""

    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a")
        striving = asyncio.create_task(strive(a))
        await asyncio.sleep(1.0)
        first = a.epoch
        for lease in list(store.leases):
            store.revoke(lease)
        await asyncio.sleep(2.0)
        assert a.lease.valid(now())
        assert first is not None
        assert a.epoch is not None
        assert a.epoch > first
        striving.cancel()
        await asyncio.wait([striving])

    virtually(play)


def test_a_fatal_error_during_a_renewal_ends_at_the_deadline_not_before_and_not_after() -> None:
    async def play() -> None:
        store = MemoryStore()
        link = Link(store)
        a = memory_elector(link, candidate("a"), TIMING)
        await a.campaign()

        async def denied(lease: int, budget: float) -> float:
            raise Fatal("permission denied")

        link.keep_alive = denied  # type: ignore[method-assign]
        deadline = a.lease.deadline
        await hold(a, now)
        assert now() == pytest.approx(deadline)

    virtually(play)


@pytest.mark.parametrize("fate", [LOST_REQUEST, LOST_REPLY])
def test_a_resignation_that_is_not_answered_stops_leading_all_the_same(fate: Delay) -> None:
    async def play() -> None:
        store = MemoryStore()
        switch = [False]
        a, b = elector(store, "a", during("txn", fate, switch)), elector(store, "bb")
        await a.campaign()
        switch[0] = True
        resigning = asyncio.create_task(a.resign())
        await asyncio.sleep(0)
        assert not a.lease.valid(now())
        await resigning  # the lease was revoked, and the key with it
        await b.campaign()

    virtually(play)


def test_a_handover_that_cannot_be_prepared_leaves_the_leadership_as_it_is() -> None:
    async def play() -> None:
        store = MemoryStore()
        switch = [False]
        a = elector(store, "a", during("grant", LOST_REQUEST, switch))
        await a.campaign()
        switch[0] = True
        with pytest.raises(Unknown):
            await a.resign("bb")
        assert a.lease.valid(now())
        await a.renew()

    virtually(play)


def test_a_handover_of_unknown_outcome_reserves_nothing() -> None:
    async def play() -> None:
        store = MemoryStore()
        switch = [False]
        a, c = elector(store, "a", during("txn", Delay(request=2.0), switch)), elector(store, "ccc")
        await a.campaign()
        switch[0] = True
        with pytest.raises(Unknown):
            await a.resign("bb", 5.0)
        assert not a.lease.valid(now())
        await asyncio.sleep(1.0)  # the late transaction arrives, and puts nothing
        await c.campaign()

    virtually(play)


def test_whatever_is_in_the_key_somebody_leads() -> None:
    """Fail closed: a key that cannot be read is a leader that cannot be read."""

    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a")
        for value in ("", "{", "[]", '{"name": 1}', "null", '{"name":"x","address":"y","meta":3}'):
            store.txn([], [Put(PREFIX + "leader", value)])
            with pytest.raises(Refused, match=r"\(unreadable\) leads"):
                await a.campaign()

    virtually(play)


def test_a_watch_resumes_where_it_was_and_lists_anew_after_compaction() -> None:
    async def play() -> None:
        store = MemoryStore()
        a = elector(store, "a")
        views: list[Leader | None] = []
        task = asyncio.create_task(listen(elector(store, "bb").watch(), lambda view: views.append(view.leader)))
        await asyncio.sleep(1.0)
        epochs = [await a.campaign()]
        store.break_streams()  # what comes now is told by the next stream
        await a.resign()
        epochs.append(await a.campaign())
        await asyncio.sleep(1.0)
        assert [view.epoch for view in views if view] == epochs
        store.break_streams()
        await a.resign()
        await a.campaign()
        await a.resign()
        store.compact()  # what comes before now is not told any more
        await asyncio.sleep(1.0)
        assert views[-1] is None
        epochs.append(await a.campaign())
        await asyncio.sleep(1.0)
        assert [view.epoch for view in views if view] == epochs
        task.cancel()
        await asyncio.wait([task])

    virtually(play)


def test_a_silent_watch_is_found_out_by_asking() -> None:
    """Watches that had died silently left an address on two nodes for a week (vip-manager#394)."""

    async def play() -> None:
        store = MemoryStore()
        seen: list[str] = []

        steps = follow(Link(store), "/x/", 1.0, 1.0)
        task = asyncio.create_task(listen(steps, lambda step: seen.append(",".join(step.items))))
        await asyncio.sleep(0.1)
        for stream in store._streams:
            stream.silent = True
        store.txn([], [Put("/x/a", "1")])
        await asyncio.sleep(0.1)
        assert seen == [""]
        await asyncio.sleep(1.5)
        assert seen == ["", "/x/a"]
        task.cancel()
        await asyncio.wait([task])

    virtually(play)
