"""Planned hand-overs with real scheduler processes, done, refused, failed, lapsed; and the address in all of it."""

import asyncio
from pathlib import Path

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.elector import Asked, Candidate
from luigi_ha.ha.errors import Unknown
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.memory import Delay, Link
from tests.keeper.cluster import TIMING, MemoryCluster, Node, play


async def _refusal(cluster: MemoryCluster, node: Node, asked: Asked) -> str:
    """What the leader answers."""
    found: list[str] = []

    def answered() -> bool:
        view = node.keeper.board.view
        if view is not None and view.asked is not None and view.asked.id == asked.id and view.asked.refused:
            found.append(view.asked.refused)
        return bool(found)

    await cluster.until(answered)
    return found[0]


def test_a_switchover_moves_the_leadership_first_and_the_address_when_nothing_is_in_flight(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two({"quiet_after": 0.4})
        asked = await n2.elector.ask_switchover("n2")
        await cluster.until(lambda: n2.leads)
        led = monotonic()
        assert cluster.network.holders() == ["n1"]  # n1 passes calls on
        await cluster.until(lambda: cluster.network.holders() == ["n2"])
        assert monotonic() - led > 0.2
        quiet = cluster.story.lines("quiet", node="n1")[0]["at"]
        assert cluster.network.taken[-1][0] > quiet
        order = cluster.story.lines("lead", node="n2")[0]
        assert (order["cause"], order["previous"]) == ("switchover", "n1")
        handed, effects = cluster.story.lines("hand_over")[0]["at"], cluster.story.lines("effect", node="n1")
        assert effects[-1]["at"] <= handed
        await cluster.until(lambda: n1.keeper.board.view is not None and n1.keeper.board.view.asked is None)
        assert asked.refused is None
        await cluster.until(lambda: n1.keeper.board.scheduler and n1.keeper.board.scheduler.said.fit)  # able again
        assert cluster.network.conflicts == []
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_and_back_again_and_again(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        nodes = list(await cluster.two())
        for _ in range(4):
            nodes.reverse()
            target = nodes[0]
            await cluster.until(lambda: nodes[1].elector.epoch and cluster.network.holders() == [nodes[1].name])
            while True:  # it is present and able as soon as it has heard that it is a standby
                asked = await target.elector.ask_switchover(target.name)
                await cluster.until(
                    lambda target=target, asked=asked: target.leads or _refused(nodes[1], asked)  # type: ignore[misc]
                )
                if target.leads:
                    break
                await asyncio.sleep(0.1)
        assert cluster.story.led() == ["n1", "n2", "n1", "n2", "n1"]
        assert cluster.network.conflicts == []
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def _refused(node: Node, asked: Asked) -> bool:
    view = node.keeper.board.view
    return view is not None and view.asked is not None and view.asked.id == asked.id and view.asked.refused is not None


@pytest.mark.parametrize(
    ("to", "second", "why"),
    [
        ("n1", {}, "n1 leads already"),
        ("n9", {}, "no node n9 is present; there are: n1, n2"),
        ("n2", {"unable": "the schema is too old"}, "n2 cannot lead: the schema is too old"),
    ],
)
def test_a_switchover_to_who_cannot_lead_is_refused_and_nothing_is_interrupted(
    tmp_path: Path, to: str, second: dict[str, str], why: str
) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        n2 = cluster.node("n2", {**second, "able": False})
        await cluster.until(lambda: n1.leads)
        wanted = why.removeprefix("n2 cannot lead: ") if second else ""
        while wanted not in {member.about["why"] for member in await n1.elector.members() if member.name == "n2"}:
            if not second and len(await n1.elector.members()) == 2:
                break
            await asyncio.sleep(0.02)
        assert await _refusal(cluster, n1, await n2.elector.ask_switchover(to)) == why
        assert n1.leads
        assert not cluster.story.lines("hand_over")

    play(tmp_path, body)


def test_a_scheduler_that_does_not_finish_keeps_the_leadership(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two({"hands_over": False}, handed_within=0.5)
        why = await _refusal(cluster, n1, await n2.elector.ask_switchover("n2"))
        assert why == "n1 has not finished what it executes within 0.5 s"
        await cluster.until(lambda: cluster.story.lines("kept", node="n1"))
        await cluster.until(lambda: n1.leads)
        assert cluster.story.led() == ["n1"]

    play(tmp_path, body)


def test_a_store_that_does_not_answer_keeps_the_leadership_where_it_is(tmp_path: Path) -> None:
    """The hand-over fails before the lease ends: Kept, and it leads on under the same epoch."""

    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        epoch = n1.elector.epoch

        def slow(call: str, _number: int) -> Delay:
            busy = cluster.story.lines("hand_over") and not cluster.story.lines("kept")
            return Delay(reply=0.7) if busy and call == "keep_alive" else Delay()

        n1.link.delays = slow
        why = await _refusal(cluster, n1, await n2.elector.ask_switchover("n2"))
        assert "0.5 s" in why
        await cluster.until(lambda: cluster.story.lines("kept", node="n1"))
        await cluster.until(lambda: n1.leads)
        assert n1.elector.epoch == epoch
        last = len(cluster.story.lines("effect"))
        await cluster.until(lambda: len(cluster.story.lines("effect", node="n1")) > last)
        assert cluster.story.led() == ["n1"]

    play(tmp_path, body)


def test_a_reservation_that_cannot_be_made_keeps_the_leadership_where_it_is(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()

        class Refusing(Link):
            async def grant(self, lease: int, ttl: int, budget: float) -> float:
                raise Unknown("no leader")

        assert isinstance(n1.elector, EtcdElector)
        n1.elector._transport = Refusing(cluster.store)
        why = await _refusal(cluster, n1, await n2.elector.ask_switchover("n2"))
        assert why == "no leader"
        await cluster.until(lambda: n1.leads)
        assert cluster.story.lines("kept")[0]["reason"] == "no leader"

    play(tmp_path, body)


def test_a_successor_that_does_not_come_leaves_it_to_anybody_the_former_leader_too(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", reserve_for=1.0)
        await cluster.until(lambda: n1.leads)
        absent = EtcdElector(Link(cluster.store), Candidate("n2", ""), TIMING)
        await absent.register({"able": "yes"})  # present, and then nothing
        asked = await absent.ask_switchover("n2")
        await cluster.until(lambda: n1.elector.epoch is None)
        released = monotonic()
        drops = n1.address.calls.count("drop")
        await cluster.until(lambda: n1.address.calls.count("drop") > drops)
        assert monotonic() - released < TIMING.ttl  # the address is not kept for longer than the lease would have been
        await cluster.until(lambda: n1.leads)
        assert cluster.story.led() == ["n1", "n1"]
        assert cluster.network.holders() == ["n1"]
        view = n1.keeper.board.view
        assert view is not None
        assert view.asked is None or view.asked.id != asked.id or "has not taken over" in str(view.asked.refused)
        await absent.close()

    play(tmp_path, body)


def test_a_pause_keeps_the_leadership_when_the_node_stops(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        await n2.elector.pause()
        await cluster.until(lambda: n1.keeper.board.view is not None and n1.keeper.board.view.paused)
        n1.keeper.stop("SIGTERM")
        assert await n1.task == 0
        await asyncio.sleep(0.5)
        assert cluster.story.led() == ["n1"]
        assert cluster.story.lines("follow", node="n2", leader=None, paused=True)
        await n2.elector.resume()
        await cluster.until(lambda: n2.leads)

    play(tmp_path, body)


def test_a_preferred_node_comes_first(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        await cluster.until(lambda: n1.leads)
        nodes = [cluster.node(name, {"preferred": name == "n3"}, prefer_delay=0.5) for name in ("n2", "n3")]
        await cluster.until(
            lambda: all(node.keeper.board.scheduler and node.keeper.board.scheduler.said.fit for node in nodes)
        )
        n1.keeper.stop("x")
        n1.keeper.stop("x")
        await cluster.until(lambda: len(cluster.story.led()) > 1)
        assert cluster.story.led()[1] == "n3"

    play(tmp_path, body)


# ------------------------------------------------------------------------------------------------------- the address


def test_an_address_that_was_added_after_the_deadline_is_dropped_again(tmp_path: Path) -> None:
    """The lease ends while netlink is still at it, and the call adds the address all the same (keepalived#2066: code
    after an await may run after the lease died)."""

    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        await cluster.until(lambda: n1.leads)
        n1.address.delay = 3.0
        n1.link.delays = lambda _call, _number: Delay(request=float("inf"))
        await cluster.until(lambda: not n1.elector.lease.valid(monotonic()))
        for _ in range(200):
            assert cluster.network.holders() == []
            await asyncio.sleep(0.01)
        assert n1.address.calls[-1] == "drop"

    play(tmp_path, body)


def test_a_slow_network_configuration_delays_no_renewal(tmp_path: Path) -> None:
    """Each call takes longer than a lease: it is led on under one epoch all the same."""

    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        n1.address.delay = 1.5
        await cluster.until(lambda: n1.leads)
        epoch = n1.elector.epoch
        await asyncio.sleep(3.0)
        assert n1.leads
        assert n1.elector.epoch == epoch
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_an_unreachable_store_ends_address_and_effects_at_the_deadline_not_before_and_not_after(tmp_path: Path) -> None:
    """vip-manager#205, #354: kept; #411: dropped at the first failed read. Here: exactly as long as the lease."""

    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        await cluster.until(lambda: n1.leads)
        n1.link.delays = lambda _call, _number: Delay(request=float("inf"))
        await asyncio.sleep(TIMING.renew_every + 0.1)  # the first failure is on its way
        deadline = n1.elector.lease.deadline
        while monotonic() < deadline - 0.15:
            assert cluster.network.holders() == ["n1"]
            await asyncio.sleep(0.01)
        await cluster.until(lambda: cluster.story.lines("over"))
        assert cluster.network.holders() == []
        last = cluster.story.lines("effect")[-1]["at"]
        assert deadline - 0.3 < last < deadline
        n1.link.delays = lambda _call, _number: Delay()
        await cluster.until(lambda: n1.leads)  # and comes back by itself
        assert cluster.story.lines("lead")[-1]["cause"].startswith("no word from n1")

    play(tmp_path, body)


def test_the_key_is_released_only_when_the_address_is_gone(tmp_path: Path) -> None:
    """Stop acting, drop the address, release the key (pinniped PR 800)."""

    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        n1.address.drop_delay = 0.4
        n1.signal(9)
        await cluster.until(lambda: n2.leads)
        assert cluster.network.conflicts == []
        assert cluster.network.taken[-1][1] == "n2"

    play(tmp_path, body)


def end_the_lease(cluster: MemoryCluster) -> None:
    """That of the leadership, which is being renewed."""
    (lease,) = {item.lease for key, item in cluster.store.read("").items.items() if key.endswith("/leader")}
    cluster.store.revoke(lease)


def test_a_lease_that_the_store_ends_too_early_puts_the_address_on_two_hosts_for_no_moment(tmp_path: Path) -> None:
    """etcd before 3.4.31 may end a lease that is being renewed, when its frozen leader wakes (etcd#15247)."""

    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        n1.address.drop_delay = 0.4  # it lives, and learns of it a moment later
        end_the_lease(cluster)
        await cluster.until(lambda: n2.leads)
        assert cluster.network.conflicts == []
        assert cluster.network.taken[-1][1] == "n2"

    play(tmp_path, body)


def test_an_address_that_a_stranger_answers_for_is_taken_after_a_lease_at_the_latest(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        cluster.network.add("stranger", monotonic() + 3600)
        end_the_lease(cluster)
        began = monotonic()
        await cluster.until(lambda: n2.leads and "n2" in cluster.network.holders())
        assert monotonic() - began >= TIMING.ttl
        assert not n1.leads

    play(tmp_path, body)
