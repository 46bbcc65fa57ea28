"""A report can be checked by anybody, and whatever was changed in it afterwards is found."""

import base64
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luigi_ha.appliance.drill import page, records, report
from luigi_ha.appliance.drill.judging import FAILED, INCONCLUSIVE, PASSED
from tests.drill.sound import made, rewrite, write

FIRST = f"{report.ROUNDS}/001-kill-node"


def sign_again(directory: Path, key: Ed25519PrivateKey | None = None) -> None:
    """As somebody would who has the key, or one of their own."""
    key = key or Ed25519PrivateKey.from_private_bytes(base64.b64decode((directory.parent / report.KEY).read_bytes()))
    text = (directory / report.REPORT).read_bytes()
    (directory / report.SIGNATURE).write_text(base64.b64encode(key.sign(text)).decode())


def test_a_report_is_sound_and_says_passed(tmp_path: Path) -> None:
    directory = made(tmp_path)
    found, problems = report.check(directory)
    assert not problems.found, problems
    assert found["verdict"] == PASSED
    row = found["table"][0]
    assert (row["fault"], row["rounds"], row["passed"], row["lost"], row["done"]) == ("kill-node", 2, 2, 0, 14)
    assert row["gap"]["p50"] == row["gap"]["max"] > 0.4
    assert stat.S_IMODE((tmp_path / report.KEY).stat().st_mode) == 0o600


HISTORY = {"verdict": PASSED, "entries": 8, "epochs": 2, "tasks": 6, "findings": [], "undecided": []}


@pytest.mark.parametrize("verdict", [PASSED, FAILED, INCONCLUSIVE])
def test_what_the_whole_log_says_counts_as_a_round_does(tmp_path: Path, verdict: str) -> None:
    directory = made(tmp_path, history={**HISTORY, "verdict": verdict})
    found, problems = report.check(directory)
    assert not problems.found
    assert found["verdict"] == verdict
    assert f"the whole log: {verdict}" in page.rendered(directory, found)
    rewrite(directory / report.REPORT, lambda r: r.update(verdict=INCONCLUSIVE if verdict != INCONCLUSIVE else PASSED))
    sign_again(directory)
    assert report.check(directory)[1].differs


def test_a_drill_that_was_broken_off_has_not_passed(tmp_path: Path) -> None:
    found, problems = report.check(made(tmp_path, broken_off=True))
    assert (found["verdict"], problems.found) == (INCONCLUSIVE, False)


def test_it_need_not_stay_where_it_was_made(tmp_path: Path) -> None:
    directory = made(tmp_path / "here")
    shutil.move(directory, tmp_path / "there")
    _found, problems = report.check(tmp_path / "there")
    assert not problems.found


CHANGED: dict[str, Callable[[Path], object]] = {
    "the verdict": lambda d: rewrite(d / report.REPORT, lambda r: r.update(verdict="failed")),
    "a figure": lambda d: rewrite(d / report.REPORT, lambda r: r["rounds"][0]["figures"].update(gap=0.1)),
    "the table": lambda d: rewrite(d / report.REPORT, lambda r: r["table"][0].update(lost=3)),
    "the seed": lambda d: rewrite(d / report.REPORT, lambda r: r.update(seed=8)),
    "a round left out": lambda d: rewrite(d / report.REPORT, lambda r: r["rounds"].pop()),
    "the signature": lambda d: (d / report.SIGNATURE).write_text("AAAA"),
    "the signature gone": lambda d: (d / report.SIGNATURE).unlink(),
    "the key": lambda d: rewrite(d / report.REPORT, lambda r: r.update(key=base64.b64encode(bytes(32)).decode())),
    "the records of a round gone": lambda d: shutil.rmtree(d / FIRST),
    "a round added": lambda d: write(d / report.ROUNDS / "003-kill-node"),
    "a record gone": lambda d: (d / FIRST / records.CALLS).unlink(),
    "a call": lambda d: (d / FIRST / records.CALLS).write_text(
        (d / FIRST / records.CALLS).read_text().replace("d1_80", "d1_8x")
    ),
    "an effect": lambda d: (d / FIRST / records.EFFECTS).write_text(
        (d / FIRST / records.EFFECTS).read_text() + "start 108.5 0-0 9\n"
    ),
    "the log": lambda d: (d / FIRST / records.LOG).write_text(
        "\n".join((d / FIRST / records.LOG).read_text().splitlines()[:-1]) + "\n"
    ),
    "what is known": lambda d: rewrite(d / FIRST / records.KNOWN, lambda k: k["acknowledged"].append("more")),
    "the proof": lambda d: rewrite(d / FIRST / records.ROUND, lambda r: r["bite"].update(proof="really")),
    "a record that is none": lambda d: (d / FIRST / records.ROUND).write_text("[]"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_was_changed_is_found(what: str, tmp_path: Path) -> None:
    directory = made(tmp_path)
    CHANGED[what](directory)
    _found, problems = report.check(directory)
    assert problems.broken, problems


@pytest.mark.parametrize("what", ["the verdict", "a figure", "the table"])
def test_what_is_signed_again_is_still_judged_otherwise(what: str, tmp_path: Path) -> None:
    directory = made(tmp_path)
    CHANGED[what](directory)
    sign_again(directory)
    _found, problems = report.check(directory)
    assert not problems.broken
    assert problems.differs


def test_the_key_that_must_have_signed_it_can_be_given(tmp_path: Path) -> None:
    directory = made(tmp_path)
    own = base64.b64decode(json.loads((directory / report.REPORT).read_text())["key"])
    found, problems = report.check(directory, own)
    assert not problems.found
    assert not problems.notes
    other = Ed25519PrivateKey.generate()
    rewrite(
        directory / report.REPORT,
        lambda r: r.update(key=base64.b64encode(other.public_key().public_bytes_raw()).decode()),
    )
    sign_again(directory, other)
    assert not report.check(directory)[1].found, "sound by its own key"
    _found, problems = report.check(directory, own)
    assert problems.broken
    assert found["verdict"] == PASSED


def test_reports_are_chained(tmp_path: Path) -> None:
    first, second = made(tmp_path, "2026-01-01T00-00-00Z-pair"), made(tmp_path, "2026-01-02T00-00-00Z-pair")
    said = report.load(second)["previous"]
    assert said["directory"] == first.name
    assert not report.check(second)[1].found
    rewrite(first / report.REPORT, lambda r: r.update(verdict="failed"))
    sign_again(first)
    _found, problems = report.check(second)
    assert any("the report before it" in each for each in problems.broken)
    shutil.rmtree(first)
    _found, problems = report.check(second)
    assert not problems.found
    assert any("is not here" in each for each in problems.notes)


@pytest.mark.parametrize(
    ("verdicts", "all_of_them"),
    [
        ([], INCONCLUSIVE),
        ([PASSED], PASSED),
        ([PASSED, PASSED], PASSED),
        ([PASSED, INCONCLUSIVE], INCONCLUSIVE),
        ([PASSED, INCONCLUSIVE, FAILED], FAILED),
        ([FAILED], FAILED),
    ],
)
def test_the_worst_verdict_is_the_reports(verdicts: list[str], all_of_them: str) -> None:
    assert report.worst(verdicts) == all_of_them


def test_a_report_of_a_round_that_was_broken_off_is_inconclusive(tmp_path: Path) -> None:
    directory = tmp_path / "2026-01-01T00-00-00Z-pair"

    def damage(whole: dict[str, Any]) -> None:
        whole["about"] = {"fault": whole["about"]["fault"], "began": 1.0, "bite": None, "trouble": "DrillError: no"}

    write(directory / report.ROUNDS / "001-kill-node", damage)
    written = report.write(directory, {"place": "pair", "seed": 1, "asked": [], "rounds_each": 1})
    assert written["verdict"] == INCONCLUSIVE
    page.write(directory, written)
    assert not report.check(directory)[1].found


def test_the_page_needs_nothing_else_and_shows_every_round(tmp_path: Path) -> None:
    directory = made(tmp_path)
    rewrite(directory / report.REPORT, lambda r: r["rounds"][0]["wrong"].update({"log": ["<script>alert(1)</script>"]}))
    text = page.write(directory, report.load(directory)).read_text()
    assert not re.search(r"<script|src=|href=|url\(|@import|https?://", text)
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 2
    assert "kill-node" in text
    for word in ("Airflow", "passed", "one", "two", "waited"):
        assert word in text, word
