"""Keepers and schedulers as processes, killed and frozen one by one and together: over a file lock, and over etcd."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.ha.clock import monotonic
from tests.keeper.cluster import PATIENCE, ROOT, TIMING, Story, running
from tests.support.etcd import etcd_cluster
from tests.support.patience import allowed, patient

NUMBERS = count(1)
GONE = 0.5  # s that a process may take to notice, on a busy machine


class Node:
    """A keeper process."""

    def __init__(self, name: str, pair: "Pair", behaviour: dict[str, Any], log: int | None = None) -> None:
        self.name = name
        self.pair = pair
        self.log = pair.directory / f"{name}.log"
        with self.log.open("a") as own:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.keeper.keeper_process", name, str(pair.story.journal)),
                    *(json.dumps(behaviour), pair.where, pair.prefix),
                ],
                cwd=ROOT,
                stderr=own if log is None else log,
            )

    @property
    def scheduler(self) -> int:
        """The process id of its last scheduler."""
        pid: int = self.pair.story.lines("started", node=self.name)[-1]["pid"]
        return pid

    @property
    def effects(self) -> int:
        return len(self.pair.story.lines("effect", node=self.name))


class Pair:
    """Two nodes, n1 leading. `etcd`: where it is kept."""

    def __init__(self, directory: Path, where: str) -> None:
        self.directory = directory
        self.where = where or str(directory / "leadership")
        self.etcd = bool(where)
        self.prefix = f"/keeper/{os.getpid()}/{next(NUMBERS)}/"
        self.story = Story(directory / "story")
        self.nodes: list[Node] = []

    def start(self, name: str, **behaviour: Any) -> Node:
        node = Node(name, self, behaviour)
        self.nodes.append(node)
        return node

    def both(self, **behaviour: Any) -> tuple[Node, Node]:
        n1 = self.start("n1", **behaviour)
        self.until(lambda: n1.effects > 5)
        n2 = self.start("n2", **behaviour)
        self.until(lambda: self.story.lines("follow", node="n2", leader="n1"))
        return n1, n2

    def until(self, true: Callable[[], object], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + patient(seconds)
        while not true():
            assert time.monotonic() < end, [(node.name, node.log.read_text()[-2000:]) for node in self.nodes]
            time.sleep(0.01)

    def close(self) -> None:
        for node in self.nodes:
            pids = [line["pid"] for line in self.story.lines("started", node=node.name)]
            for pid in [node.process.pid, *pids]:
                if pid != node.process.pid and not _is_ours(pid):
                    continue
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.process.wait()


def _is_ours(pid: int) -> bool:
    with suppress(OSError):
        return b"tests.keeper.scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.fixture(scope="module")
def endpoints() -> Iterator[str]:
    with etcd_cluster(1) as cluster:
        yield ",".join(cluster.endpoints)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def file(tmp_path: Path, stack: ExitStack) -> Pair:
    pair = Pair(tmp_path, "")
    stack.callback(pair.close)
    return pair


@pytest.fixture
def etcd(tmp_path: Path, stack: ExitStack, endpoints: str) -> Pair:
    pair = Pair(tmp_path, endpoints)
    stack.callback(pair.close)
    return pair


@pytest.fixture(params=["file", "etcd"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


def test_a_killed_scheduler_fails_over_at_once(pair: Pair) -> None:
    n1, n2 = pair.both()
    killed = monotonic()
    os.kill(n1.scheduler, signal.SIGKILL)
    pair.until(lambda: n2.effects)
    assert pair.story.lines("effect", node="n2")[0]["at"] - killed < allowed(1.5, killed)
    order = pair.story.lines("lead", node="n2")[0]
    assert (order["cause"], order["previous"]) == ("the scheduler of n1 died (SIGKILL)", "n1")
    pair.until(lambda: pair.story.lines("follow", node="n1", leader="n2", pid=n1.scheduler))
    pair.story.assert_one_at_a_time()


def test_a_killed_keeper_of_a_lock_stops_its_scheduler_at_once_and_another_leads(file: Pair) -> None:
    n1, n2 = file.both()
    scheduler = n1.scheduler
    killed = monotonic()
    os.kill(n1.process.pid, signal.SIGKILL)
    file.until(lambda: n2.effects)
    file.until(lambda: not running(scheduler))
    assert file.story.lines("exit", node="n1")[0]["at"] - killed < allowed(GONE, killed)
    assert file.story.lines("lead", node="n2")[0]["cause"] == "no word from n1: its process has ended"


def test_a_killed_keeper_on_etcd_ends_its_scheduler_at_the_deadline_and_another_leads_after_it(etcd: Pair) -> None:
    n1, n2 = etcd.both()
    scheduler = n1.scheduler
    killed = monotonic()
    os.kill(n1.process.pid, signal.SIGKILL)
    etcd.until(lambda: n2.effects)
    etcd.until(lambda: not running(scheduler))
    last = etcd.story.lines("effect", node="n1")[-1]["at"]
    assert killed < last <= killed + TIMING.ttl - TIMING.margin  # it went on, and not beyond
    assert etcd.story.lines("exit", node="n1")[0]["at"] <= killed + TIMING.ttl - TIMING.margin + allowed(GONE, killed)
    assert etcd.story.lines("lead", node="n2")[0]["cause"] == "no word from n1: its lease ended"
    etcd.story.assert_one_at_a_time()


def test_killing_both_processes_fails_over(pair: Pair) -> None:
    n1, n2 = pair.both()
    for pid in (n1.process.pid, n1.scheduler):
        os.kill(pid, signal.SIGKILL)
    pair.until(lambda: n2.effects)
    pair.story.assert_one_at_a_time()


def test_a_frozen_keeper_does_not_think_it_leads_when_it_wakes(etcd: Pair) -> None:
    """The scheduler sees the deadline pass without being told; nobody else is needed for that."""
    n1, n2 = etcd.both()
    frozen = monotonic()
    os.kill(n1.process.pid, signal.SIGSTOP)
    etcd.until(lambda: n2.effects)
    last = etcd.story.lines("effect", node="n1")[-1]["at"]
    assert last <= frozen + TIMING.ttl - TIMING.margin
    before = n1.effects
    os.kill(n1.process.pid, signal.SIGCONT)
    etcd.until(lambda: etcd.story.lines("over", node="n1"))
    etcd.until(lambda: etcd.story.lines("follow", node="n1", leader="n2"))
    time.sleep(0.3)
    assert n1.effects == before
    etcd.story.assert_one_at_a_time()


def test_a_frozen_keeper_of_a_lock_keeps_it_but_its_scheduler_stops_at_the_deadline(file: Pair) -> None:
    """One machine: nobody takes over (documented). When it wakes it has to win anew."""
    n1, n2 = file.both()
    frozen = monotonic()
    os.kill(n1.process.pid, signal.SIGSTOP)
    time.sleep(TIMING.ttl + 1)
    assert file.story.lines("effect", node="n1")[-1]["at"] <= frozen + TIMING.ttl - TIMING.margin
    assert n2.effects == 0
    os.kill(n1.process.pid, signal.SIGCONT)
    file.until(lambda: len(file.story.led()) > 1)
    file.until(lambda: file.story.lines("effect", epoch=file.story.lines("lead")[-1]["epoch"]))
    assert file.story.lines("over", node="n1")
    file.story.assert_one_at_a_time()


@pytest.mark.parametrize("first", ["keeper", "scheduler"])
def test_both_frozen_then_woken_become_a_standby_by_themselves(etcd: Pair, first: str) -> None:
    """Whichever of the two wakes first: the other's word is not needed to stop acting."""
    n1, n2 = etcd.both(keeper={"stall_after": 0.8})
    pids = {"keeper": n1.process.pid, "scheduler": n1.scheduler}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    etcd.until(lambda: n2.effects)
    before = n1.effects
    os.kill(pids.pop(first), signal.SIGCONT)
    time.sleep(0.5)
    os.kill(pids.popitem()[1], signal.SIGCONT)
    etcd.until(lambda: etcd.story.lines("over", node="n1"))
    etcd.until(lambda: etcd.story.lines("follow", node="n1", leader="n2"))
    time.sleep(0.3)
    assert n1.effects == before
    assert n1.process.poll() is None
    etcd.story.assert_one_at_a_time()


def test_stopping_a_unit_hands_over_and_exits_with_0(pair: Pair) -> None:
    n1, n2 = pair.both()
    time.sleep(0.5)  # n2 has said that it is able
    os.kill(n1.process.pid, signal.SIGTERM)
    assert n1.process.wait(PATIENCE) == 0
    pair.until(lambda: n2.effects)
    assert pair.story.lines("lead", node="n2")[0]["cause"] == "n1 was stopped"
    assert not running(n1.scheduler)
    pair.story.assert_one_at_a_time()


def test_the_signals_of_a_terminal_reach_the_scheduler_through_the_keeper_only(file: Pair) -> None:
    n1 = file.start("n1")
    file.until(lambda: n1.effects)
    assert os.getpgid(n1.scheduler) == n1.scheduler != os.getpgid(n1.process.pid)
    os.kill(n1.process.pid, signal.SIGINT)
    assert n1.process.wait(PATIENCE) == 0
    assert file.story.lines("stop")


def test_two_signals_end_it_at_once(file: Pair) -> None:
    n1 = file.start("n1", stops=False, keeper={"drain_timeout": 60.0})
    file.until(lambda: n1.effects)
    scheduler = n1.scheduler
    os.kill(n1.process.pid, signal.SIGTERM)
    file.until(lambda: file.story.lines("stop"))
    time.sleep(0.4)
    os.kill(n1.process.pid, signal.SIGTERM)
    assert n1.process.wait(PATIENCE) == 1
    assert not running(scheduler)


def test_one_signal_sent_to_process_and_group_is_one(file: Pair) -> None:
    n1 = file.start("n1")
    file.until(lambda: n1.effects)
    os.kill(n1.process.pid, signal.SIGTERM)
    time.sleep(0.005)
    os.kill(n1.process.pid, signal.SIGINT)
    assert n1.process.wait(PATIENCE) == 0
    assert file.story.lines("exit", code=0)


def test_the_scheduler_inherits_neither_the_lock_nor_the_priority_of_the_keeper(file: Pair) -> None:
    n1 = file.start("n1")
    file.until(lambda: n1.effects)
    open_files = [str(link.readlink()) for link in Path(f"/proc/{n1.scheduler}/fd").iterdir()]
    assert not [path for path in open_files if "leadership" in path]
    assert os.getpriority(os.PRIO_PROCESS, n1.scheduler) == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_log_that_nobody_reads_delays_neither_the_renewal_nor_the_end(file: Pair) -> None:
    """A pipe that is full: the first line would block for ever ("a log flush delays the renewal")."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    n1 = Node("n1", file, {}, writing)
    file.nodes.append(n1)
    file.until(lambda: n1.effects)
    led = file.story.lines("lead")[0]["at"]
    file.until(lambda: n1.effects and file.story.lines("effect")[-1]["at"] > led + TIMING.ttl)
    assert len(file.story.led()) == 1
    os.kill(n1.process.pid, signal.SIGTERM)
    assert n1.process.wait(PATIENCE) == 0
    os.close(reading)
    os.close(writing)


def test_the_log_of_one_node_tells_the_failover(etcd: Pair) -> None:
    n1, n2 = etcd.both()
    os.kill(n1.scheduler, signal.SIGKILL)
    etcd.until(lambda: n2.effects)
    wanted = [
        "keeper_started",
        "scheduler_started",
        "leading",
        "serving",
        "scheduler_died",
        "leadership_over",
        "following",
    ]
    etcd.until(lambda: all(word in n1.log.read_text() for word in wanted))
    positions = [n1.log.read_text().index(word) for word in wanted]
    assert positions == sorted(positions)
