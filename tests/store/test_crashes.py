"""kill -9 of the writing process at any moment: what was acknowledged is there, once, and whole."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest

from luigi_ha.appliance.store import Store, open_store
from tests.store.crash_child import die_before_statement, write_until_killed
from tests.store.samples import loaded, replayed
from tests.support.patience import patient

KILLS = 12
# Children are forked from a process that has imported everything and has no threads.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.store.crash_child"])


def killed(url: str, first: int, after: float) -> list[int]:
    """Let a child write, kill it `after` seconds from its first acknowledgement; what it was acknowledged."""
    ours, theirs = FORKS.Pipe(duplex=False)
    child = FORKS.Process(target=write_until_killed, args=(url, first, theirs))
    child.start()
    theirs.close()
    acknowledged = [ours.recv()]
    time.sleep(after)
    child.kill()
    try:
        while True:
            acknowledged.append(ours.recv())
    except EOFError:
        ours.close()
    child.join(patient(10))
    return acknowledged


def check(store: Store, acknowledged: list[int]) -> None:
    model = loaded(store)
    lost = [num for num in acknowledged if num not in model.tasks]
    assert lost == []
    counts: dict[int, int] = {}
    for entry in store.log(0, 1_000_000):
        counts[entry.change.num] = counts.get(entry.change.num, 0) + 1
    # A call's changes share a transaction: all three, or none.
    assert set(counts.values()) <= {3}
    assert {task[2].status for task in model.tasks.values()} <= {"DONE"}
    assert replayed(store) == model


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgresql)])
def test_a_writer_killed_at_random_moments(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    store = open_store(url)
    store.upgrade()
    chance = random.Random(20240101)
    acknowledged: list[int] = []
    for attempt in range(KILLS):
        acknowledged += killed(url, attempt * 1_000_000, chance.uniform(0, 0.1))
    check(store, acknowledged)
    assert len(acknowledged) > 10 * KILLS
    assert store.position().epoch == KILLS


def test_a_writer_killed_between_any_two_statements(tmp_path: Path) -> None:
    """Every prefix of a transaction's statements leaves the state before it; only the last leaves the state after."""
    deaths = 0
    for step in range(40):
        url = f"sqlite:///{tmp_path}/{step}.db"
        store = open_store(url)
        store.upgrade()
        child = FORKS.Process(target=die_before_statement, args=(url, step))
        child.start()
        child.join(patient(30))
        model = loaded(store)
        assert replayed(store) == model
        if child.exitcode == 0:
            assert sorted(model.tasks) == [1, 2, 3]
            assert model.tasks[1][2].status == "DONE"
            break
        assert child.exitcode == -signal.SIGKILL
        assert sorted(model.tasks) == [1, 2]
        assert model.tasks[1][2].status == "PENDING"
        deaths += 1
    assert child.exitcode == 0
    assert deaths > 5
