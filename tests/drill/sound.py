"""The records of a round in which nothing is wrong, and a report of them; to be damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill import records, report
from luigi_ha.appliance.drill.pipeline_tasks import required
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import Position
from luigi_ha.appliance.store.batch import Unit, build
from luigi_ha.appliance.store.verification import Entry
from tests.store.samples import NOW, change, creation

BEGAN, STRUCK, ENDED = 100.0, 105.0, 112.0
LAYERS = "4,2,1"
Lines = list[list[Any]]


def calls() -> Lines:
    """One every 0.1 s, answered after 10 ms; a gap of 0.5 s at the fault."""
    made = []
    for number in range(120):
        began = BEGAN + number * 0.1
        took = max(0.01, STRUCK + 0.5 - began) if STRUCK <= began < STRUCK + 0.5 else 0.01
        made.append([f"d1_{number}", began, began + took, None])
    return made


def effects() -> str:
    """Two at a time, a second each; one pair is at work when the fault strikes."""
    at = {"0-0": 103.5, "0-1": 103.5, "0-2": 104.5, "0-3": 104.5, "1-0": 106, "1-1": 106, "2-0": 107.5}
    return "".join(f"start {one:.6f} {task} 7\nend {one + 1:.6f} {task} 7\n" for task, one in at.items())


def log() -> tuple[list[Entry], list[Any], list[Any]]:
    """Two leaders; the log's rows, and its positions before and after."""
    begun = [10, 0, "0" * 32, NOW]
    first = build([Unit([creation(number)], NOW + number, "add_task", "w") for number in range(1, 6)],
                  Position(Epoch(10), 0, "0" * 32))  # fmt: skip
    second = build(
        [
            Unit([change(1, status="RUNNING", run_id="r1", attempt=1)], NOW + 10, "get_work", "w"),
            Unit([change(1, status="DONE", run_id="r1", attempt=1)], NOW + 11, "add_task", "w"),
            Unit([creation(6, "late_2")], NOW + 11, "add_task", "late"),
        ],
        first.last._replace(epoch=Epoch(20)),
    )
    end = second.last
    return [Entry(*row) for row in (*first.events, *second.events)], begun, [20, end.seq, end.hash, NOW + 11]


def with_address(whole: dict[str, Any]) -> None:
    """As a lab has one: it was with `one` until 105.3, and then with `two`."""
    whole["address"] = [
        [100.0, ["one"]], [105.3, ["one"]], [105.35, []], [105.38, []], [105.4, ["two"]], [112.0, ["two"]],
    ]  # fmt: skip
    whole["wire"] = [[100.0, "one"], [105.42, "two"]]


def with_late(whole: dict[str, Any]) -> None:
    """Calls to what stood still: most refused, one passed on to the new leader, one never answered."""
    whole["about"]["late"] = True
    whole["late"] = [[f"other_{number}", 107.0, 110.0, "503"] for number in range(20)]
    whole["late"] += [
        [f"late_{number}", 107.0, 110.0, wrong] for number, wrong in ((1, "503"), (2, None), (3, "timeout"))
    ]


def write(directory: Path, damage: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    """All files of one round; `damage` may change any of them before."""
    entries, begun, ended = log()
    tasks = sorted(required(LAYERS))
    bite = {"nodes": ["one"], "at": STRUCK, "over": STRUCK + 0.01, "proof": "gone"}
    whole: dict[str, Any] = {
        "about": {
            "fault": {"name": "kill-node", "text": "SIGKILL", "moves": True, "fails": "in flight", "within": 10.0,
                      "gone_within": 3.0, "late": False},
            "place": "lab", "began": BEGAN, "healed": 108.0, "ended": ENDED, "bite": bite, "prefix": "d1", "blind": [],
            "leader_before": ["one", 10], "leader_after": ["two", 20],
            "log": {"begun": begun, "begun_at": BEGAN, "ended": ended, "ended_at": BEGAN + 11},
            "pipeline": {"lot": "l1", "layers": LAYERS, "tasks": 7, "exit_code": 0, "targets": tasks, "began": 103.0,
                         "ended": 109.0},
        },
        "calls": calls(),
        "effects": effects(),
        "words": [],
        "nodes": [
            [100.0, "one", "leading", 10, True], [100.0, "two", "standby", 10, False],
            [104.9, "one", "leading", 10, True], [105.0, "one", None, 0, False],
            [105.3, "two", "standby", 10, False], [105.4, "two", "leading", 20, True],
            [108.0, "one", None, 0, False], [108.0, "one", "standby", 20, False],
            [112.0, "one", "standby", 20, False], [112.0, "two", "leading", 20, True],
        ],
        "waiting": {"before": {"f": "FAILED", "d": "DISABLED"}, "after": {"f": "FAILED", "d": "DISABLED"}},
        "late": [], "address": [], "wire": [],
        "known": {"acknowledged": [call[0] for call in calls()], "statuses": {"DONE": 7}},
        "log": entries,
    }  # fmt: skip
    damage(whole)
    directory.mkdir(parents=True)
    records.write(directory / records.ROUND, whole["about"])
    for name, part in (
        (records.CALLS, "calls"),
        (records.WORDS, "words"),
        (records.NODES, "nodes"),
        (records.LOG, "log"),
        (records.LATE, "late"),
        (records.ADDRESS, "address"),
        (records.WIRE, "wire"),
    ):
        records.write_lines(directory / name, whole[part])
    (directory / records.EFFECTS).write_text(whole["effects"])
    records.write(directory / records.KNOWN, whole["known"])
    records.write(directory / records.WAITING, whole["waiting"])
    return directory


def made(reports: Path, name: str = "2026-01-01T00-00-00Z-pair", rounds: int = 2, **more: Any) -> Path:
    """A whole report; `more` is told in it."""
    directory = reports / name
    for number in range(1, rounds + 1):
        write(directory / report.ROUNDS / f"{number:03}-kill-node")
    report.write(directory, {"place": "pair", "seed": 7, "asked": ["kill-node"], **more})
    return directory


def rewrite(path: Path, change_it: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    value = json.loads(path.read_text())
    change_it(value)
    path.write_text(json.dumps(value))
