"""What judges the fleet's drills is shown what is damaged, and must say so."""

import subprocess
import sys
from pathlib import Path

import pytest

from drills.compat.packages import NEEDS
from drills.fleet import work
from drills.fleet.evidence import Word, read_effects, read_words
from drills.fleet.selftest import check
from tests.support.patience import patient

TOLD = check()
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("what", "right", "said"), TOLD, ids=[what for what, *_ in TOLD])
def test_the_judge_of_the_fleet_names_what_is_wrong(what: str, right: bool, said: str) -> None:
    assert right, said


def test_each_task_of_a_wave_needs_tasks_of_the_layer_before() -> None:
    needs = work.needs(work.wave("lot", 3, 250, 0.1))
    assert len(needs) == 250
    assert all(bool(needed) is not name.startswith("lot_3_0_") for name, needed in needs.items())
    assert {name for needed in needs.values() for name in needed} <= set(needs)


@pytest.mark.parametrize(
    "line",
    ["[1, 2]", '["begin", 1.0, "a", 0, "r", "w", 7]', '["begins", 1.0, "a", 1, "r", "w", 7]', '["end", 1.0, "a"'],
)
def test_a_line_that_no_task_writes_is_refused(line: str) -> None:
    good = '["begin", 1.0, "a", 1, "r", "w", 7]'
    assert len(read_effects(good)) == 1
    with pytest.raises(ValueError, match=r"no line of a task|delimiter"):
        read_effects(f"{good}\n{line}\n")


def test_only_what_a_worker_says_of_runs_is_read() -> None:
    said = '{"time": "x", "event": "result_refused", "worker_id": "w", "task_id": "a", "run_id": "r", "attempt": 1, '
    said += '"status": "DONE", "reason": "attempt 2 has replaced it"}'
    found = read_words(["Traceback", '{"event": "worker_started", "worker_id": "w"}', said])
    assert found == [Word("result_refused", "w", "a", "r", 1, "DONE", "attempt 2 has replaced it")]


def test_a_pipeline_of_the_other_packages_is_closed() -> None:
    assert {name for needed in NEEDS.values() for name in needed} == set(NEEDS) - {"whole"}


@pytest.mark.parametrize("module", ["drills.fleet", "drills.compat"])
def test_what_cannot_be_drilled_is_refused(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "nothing"], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=patient(120),
    )
    assert done.returncode == 2
    assert "expected some of" in done.stderr
