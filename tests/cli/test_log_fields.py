"""A scheduler's log and a worker's are read together: the same fields, by the same names, in both forms."""

import ast
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from luigi_ha.appliance import log as ours
from luigi_ha.worker import log as workers

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("appliance", "ha", "worker")
# Each thing has one name. What it must not be called -> what it is called.
NAMES = {
    "ts": "time", "timestamp": "time", "lvl": "level", "msg": "event",
    "worker": "worker_id", "worker_name": "worker_id", "task": "task_id", "id": "task_id", "run": "run_id",
    "name": "node", "node_name": "node", "exception": "error", "err": "error", "problem": "error", "why_not": "reason",
    "file": "path", "filename": "path", "duration": "seconds", "took": "seconds", "after": "seconds",
    "silence": "seconds", "elapsed": "seconds", "exit": "exit_code", "code": "exit_code",
}  # fmt: skip
FRAME = {"time", "level", "part", "event", "traceback", "message"}  # every line's own
METHODS = {"debug", "info", "warning", "error", "exception", "exception_of"}


class Logged(NamedTuple):
    """One call that writes a line."""

    where: str
    event: str
    fields: dict[str, str]  # name -> the expression


def logged() -> list[Logged]:
    return [each for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) for each in _in(path)]


def _in(path: Path) -> Iterator[Logged]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        holder = ast.unparse(node.func.value)
        words = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if holder.endswith("_log") and words:
            fields = {each.arg: ast.unparse(each.value) for each in node.keywords if each.arg}
            yield Logged(f"{path.relative_to(ROOT)}:{node.lineno}", words[0], fields)


def test_the_lines_are_found() -> None:
    found = logged()
    assert len(found) > 120
    assert {each.where.partition("/")[0] for each in found} == set(PACKAGES)
    assert {"no_scheduler_answers", "report_refused", "keeper_started"} <= {each.event for each in found}


def test_one_thing_has_one_name_in_every_line() -> None:
    wrong = {
        f"{each.where} {each.event}: {field}": NAMES[field]
        for each in logged()
        for field in each.fields
        if field in NAMES and (each.event, field) != ("state_changed", "after")  # a state, not a time
    }
    assert wrong == {}


def test_no_field_hides_one_of_the_lines_own() -> None:
    assert [each for each in logged() if FRAME & set(each.fields)] == []


def test_what_an_exception_says_is_the_error_and_why_we_did_something_the_reason() -> None:
    for each in logged():
        said = each.fields.get("reason", "")
        assert said not in ("str(error)", "error", "repr(error)", "str(refused)", "str(again)"), each


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.raiseExceptions)
    names = (ours.ROOT, workers.ROOT, "luigi-interface", "alembic", "aiohttp")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in before[0]:
        root.addHandler(handler)
    root.setLevel(before[1])
    logging.raiseExceptions = before[2]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def of_scheduler(style: ours.LogFormat) -> list[str]:
    stream = io.StringIO()
    ours.configure(style, "info", stream)
    ours.get("api").warning("report_refused", task_id="Load_1", attempt=2, run_id="r", error="no luck", seconds=1.5)
    logging.getLogger("some.library").warning("careful: %s", 7)
    return stream.getvalue().splitlines()


def of_worker(style: str) -> list[str]:
    reading, writing = os.pipe()
    workers.configure(style, "info", {}, writing)
    workers.get().warning("report_refused", task_id="Load_1", attempt=2, run_id="r", error="no luck", seconds=1.5)
    logging.getLogger("some.library").warning("careful: %s", 7)
    os.close(writing)
    with os.fdopen(reading) as lines:
        return lines.read().splitlines()


@pytest.mark.usefixtures("restored")
def test_json_lines_have_the_same_fields_in_the_same_order() -> None:
    one, two = ([json.loads(each) for each in lines] for lines in (of_scheduler("json"), of_worker("json")))
    assert [list(each) for each in one] == [list(each) for each in two]
    assert list(one[0])[:4] == ["time", "level", "part", "event"]
    for left, right in zip(one, two, strict=True):
        assert left["time"].endswith("Z")
        assert len(left["time"]) == len(right["time"])
        for line, part in ((left, "api"), (right, "worker")):
            assert line["part"] == (part if line["event"] != "library" else "some.library")
        apart = {"time", "part"}
        assert {k: v for k, v in left.items() if k not in apart} == {k: v for k, v in right.items() if k not in apart}


@pytest.mark.usefixtures("restored")
def test_lines_for_people_have_the_same_shape() -> None:
    one, two = of_scheduler("keyvalue"), of_worker("keyvalue")
    assert two[0].split(" ", 1)[1] == (
        'warning worker report_refused task_id=Load_1 attempt=2 run_id=r error="no luck" seconds=1.5'
    )
    for left, right in zip(one, two, strict=True):
        assert left.split(" ", 1)[1] == right.split(" ", 1)[1].replace(" worker ", " api ")
