"""A keeper with a real scheduler process: deaths, freezes, exit codes, restarts. The election is in memory."""

import asyncio
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.keeper.board import Board
from luigi_ha.ha.keeper.cells import Cells
from luigi_ha.ha.keeper.child import Child
from luigi_ha.ha.keeper.nurse import Nurse
from tests.keeper.cluster import LONG, MemoryCluster, options, play, running
from tests.support.patience import allowed


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_scheduler_that_is_able_leads_with_the_address_before_it_is_told(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"above": 41})
        await cluster.until(lambda: n1.leads)
        order = cluster.story.lines("lead")[0]
        assert order["cause"] == "nobody led"
        assert order["previous"] is None
        assert order["epoch"] > 41
        assert cluster.network.taken[0][0] < order["at"]
        assert n1.address.calls[0] == "start"

    play(tmp_path, body)


def test_a_killed_scheduler_loses_everything_at_once_and_another_node_leads(tmp_path: Path) -> None:
    """kill -9: deadline 0 and address gone before the process is started again; the other leads long before a ttl."""

    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        old = n1.keeper.board.scheduler
        assert isinstance(old, Child)
        page = Cells(os.dup(old._cells.fd))  # what a process that it has left behind would see
        killed = monotonic()
        n1.signal(signal.SIGKILL)
        await cluster.until(lambda: not old.alive)
        assert page.read()[0] == 0.0
        assert n1.keeper.board.scheduler is old  # not started again yet
        page.close()
        os.close(page.fd)
        await cluster.until(lambda: n2.leads)
        took = monotonic() - killed
        assert took < allowed(1.5, killed), f"{took:.3f} s: less than the lease, or nothing was released"
        order = cluster.story.lines("lead", node="n2")[0]
        assert order["cause"] == "the scheduler of n1 died (SIGKILL)"
        assert order["previous"] == "n1"
        await cluster.until(lambda: n1.keeper.board.scheduler is not old)  # started again,
        await cluster.until(lambda: cluster.story.lines("follow", node="n1", leader="n2", pid=n1.pid))  # as a standby
        assert cluster.network.conflicts == []
        assert cluster.network.holders() == ["n2"]
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_a_frozen_scheduler_is_deposed_and_becomes_a_standby_by_itself_when_it_wakes(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two(stall_after=0.5)
        pid = n1.pid
        n1.signal(signal.SIGSTOP)
        await cluster.until(lambda: n2.leads)
        assert cluster.story.lines("lead", node="n2")[0]["cause"] == "the scheduler of n1 makes no progress"
        effects = len(cluster.story.lines("effect", node="n1"))
        n1.signal(signal.SIGCONT)
        await cluster.until(lambda: cluster.story.lines("over", node="n1"))
        await cluster.until(lambda: n1.keeper.board.scheduler and n1.keeper.board.scheduler.said.fit is not None)
        assert n1.pid == pid
        assert len(cluster.story.lines("effect", node="n1")) == effects  # the check at the point of effect held
        assert cluster.network.conflicts == []
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_a_scheduler_that_stays_frozen_is_killed_and_started_again(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", stall_after=0.4, kill_frozen_after=1.0)
        await cluster.until(lambda: len(cluster.story.lines("effect")) > 4)
        old = n1.keeper.board.scheduler
        n1.signal(signal.SIGSTOP)
        await cluster.until(lambda: n1.keeper.board.scheduler is not old)
        await cluster.until(lambda: n1.leads)
        assert cluster.story.led() == ["n1", "n1"]
        await cluster.until(lambda: cluster.story.lines("effect", pid=n1.pid))
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


@pytest.mark.parametrize("stuck", ["stuck_after", "journal_stuck_after"])
def test_an_event_loop_or_a_journal_that_is_stuck_loses_the_leadership(tmp_path: Path, stuck: str) -> None:
    """The renewal is not delayed by it, it is withheld because of it ("Loop time exceeded", the other way round)."""

    async def body(cluster: MemoryCluster) -> None:
        await cluster.two({stuck: 0.3}, stall_after=0.6)
        await cluster.until(lambda: cluster.story.led()[-1] == "n2")
        assert cluster.story.lines("lead", node="n2")[0]["cause"] == "the scheduler of n1 makes no progress"
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_a_failover_that_fails_is_tried_again_by_whoever_can(tmp_path: Path) -> None:
    """dolphinscheduler#13355: crashed in the middle of a failover, never failed over again."""

    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"dies_when_told_to_lead": 2})
        await cluster.until(lambda: n1.leads)
        assert cluster.story.led() == ["n1", "n1", "n1"]
        assert cluster.story.lines("lead")[-1]["cause"] == "the scheduler of n1 died (SIGKILL)"

    play(tmp_path, body)


def test_a_scheduler_that_gives_up_leaves_the_leadership_to_another(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        cluster.node("n1", {"gives_up": True}, timing=LONG)
        await cluster.until(cluster.story.led)
        n2 = cluster.node("n2", timing=LONG)
        await cluster.until(lambda: n2.leads)
        assert cluster.story.lines("lead", node="n2")[0]["cause"] == "n1 cannot lead: fenced"
        assert len(cluster.story.lines("lead", node="n1")) <= 2  # it does not try again and again

    play(tmp_path, body)


def test_a_scheduler_that_never_becomes_able_never_leads_and_says_why(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"unable": "the schema is too old"})
        await cluster.until(lambda: "schema" in n1.keeper._news._status())
        await asyncio.sleep(0.5)
        members = await n1.elector.members()
        assert [(member.about["able"], member.about["why"]) for member in members] == [("no", "the schema is too old")]
        assert n1.elector.epoch is None
        assert cluster.story.led() == []

    play(tmp_path, body)


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 2), (3, 3), (5, 5)])
def test_an_exit_code_that_is_an_answer_ends_the_keeper_with_it(tmp_path: Path, code: int, expected: int) -> None:
    async def body(cluster: MemoryCluster) -> None:
        assert await cluster.node("n1", {"exit_at_start": code}).task == expected

    play(tmp_path, body)


def test_a_crash_is_no_answer_the_scheduler_is_started_again_slower_each_time(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"exit_at_start": 1}, restart_after=0.1)
        seen: list[float] = []
        for _ in range(4):
            before = n1.keeper.board.scheduler
            await cluster.until(lambda before=before: n1.keeper.board.scheduler is not before)  # type: ignore[misc]
            seen.append(n1.keeper.board.scheduler.started)  # type: ignore[union-attr]
        gaps = [later - earlier for earlier, later in itertools.pairwise(seen)]
        assert gaps[0] > 0.1
        assert gaps[-1] > 0.4
        assert not n1.task.done()

    play(tmp_path, body)


def test_a_command_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        node = cluster.node("n1")
        node.task.cancel()
        await asyncio.gather(node.task, return_exceptions=True)

        board = Board()
        wrong = options("n1", cluster.story.journal, {}, restart_after=0.05)
        object.__setattr__(wrong, "command", ["/nowhere/luigi-ha"])
        nurse = asyncio.create_task(Nurse(wrong, board).run())
        before = _open_files()
        await asyncio.sleep(0.5)
        assert not nurse.done()
        assert _open_files() == before
        board.stops = 1
        board.tell()
        await nurse
        assert board.exit_code == 0

    play(tmp_path, body)


def test_stopping_the_only_node_drains_it_and_resigns(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        await cluster.until(lambda: n1.leads)
        n1.keeper.stop("SIGTERM")
        assert await n1.task == 0
        assert cluster.story.lines("stop")
        assert cluster.network.holders() == []
        assert not [key for key in cluster.store.items if key.endswith("leader")]
        assert n1.address.calls[-1] == "close"

    play(tmp_path, body)


def test_an_address_that_cannot_be_closed_does_not_keep_the_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", timing=LONG)
        await cluster.until(lambda: n1.leads)

        async def broken() -> None:
            raise Unusable("a defect of ours")

        monkeypatch.setattr(n1.address, "close", broken)
        n1.task.cancel()
        with pytest.raises(Unusable):
            await n1.task
        assert cluster.store.leases == {}
        assert cluster.store.items.keys() == {"/luigi-ha/default/served"}  # under no lease
        cluster.nodes.remove(n1)

    play(tmp_path, body)


def test_stopping_a_leader_hands_over_first_if_another_node_can_lead(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        n1.keeper.stop("SIGTERM")
        assert await n1.task == 0
        assert n2.leads
        assert cluster.story.lines("lead", node="n2")[0]["cause"] == "n1 was stopped"
        assert cluster.story.lines("quiet", node="n1")
        assert cluster.network.conflicts == []
        cluster.story.assert_one_at_a_time()

    play(tmp_path, body)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"stops": False}, drain_timeout=60.0)
        await cluster.until(lambda: n1.leads)
        pid = n1.pid
        n1.keeper.stop("SIGTERM")
        await cluster.until(lambda: cluster.story.lines("stop"))
        assert not n1.task.done()
        n1.keeper.stop("SIGTERM")
        assert await n1.task == 1
        assert not running(pid)
        assert cluster.network.holders() == []
        assert not [key for key in cluster.store.items if key.endswith("leader")]

    play(tmp_path, body)


def test_a_scheduler_that_does_not_drain_is_killed_after_its_time(tmp_path: Path) -> None:
    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1", {"stops": False}, drain_timeout=0.5)
        await cluster.until(lambda: n1.leads)
        pid = n1.pid
        n1.keeper.stop("SIGTERM")
        assert await n1.task == 1
        assert not running(pid)

    play(tmp_path, body)


def test_a_standby_whose_watch_was_lost_still_hears_that_nobody_leads(tmp_path: Path) -> None:
    """vip-manager#394, #431: the watch was taken up again once, and never again."""

    async def body(cluster: MemoryCluster) -> None:
        n1, n2 = await cluster.two()
        for _ in range(5):
            cluster.store.break_streams()
            await asyncio.sleep(0.1)
        n1.signal(signal.SIGKILL)
        await cluster.until(lambda: n2.leads)

    play(tmp_path, body)


@pytest.mark.parametrize("where", ["store", "address"])
def test_an_error_that_nobody_expected_ends_the_keeper_not_the_need_for_a_lease(tmp_path: Path, where: str) -> None:
    """redbeat#208, #127: an exception in the lock path meant "run without lock"."""

    async def body(cluster: MemoryCluster) -> None:
        n1 = cluster.node("n1")
        await cluster.until(lambda: n1.leads)
        pid = n1.pid

        def broken(*_: object) -> Any:
            raise ZeroDivisionError

        if where == "store":
            n1.link.delays = broken
        else:
            n1.address.network.add = broken  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            await asyncio.shield(n1.task)
        assert not running(pid)
        assert cluster.network.holders() == []
        cluster.nodes.clear()

    play(tmp_path, body)
