"""A crash at a named moment: real processes that write a log, of which one comes to the moment."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.drill import promotion_faults
from luigi_ha.appliance.drill.fault import Bite
from luigi_ha.appliance.drill.place import DrillError, now
from luigi_ha.appliance.lab import processes
from tests.support.patience import patient

# Each step takes 5 ms of its own time, as those of a promotion do: one that stands still gets no farther.
STEPS = """
import sys, time
for word in sys.argv[1:]:
    began = time.process_time()
    while time.process_time() - began < 0.005:
        pass
    print("", word, "", flush=True)
time.sleep(600)
"""
Started = tuple[promotion_faults._Running, "subprocess.Popen[bytes]", Path]


@contextlib.contextmanager
def nodes(directory: Path, **steps: list[str]) -> Iterator[dict[str, Started]]:
    """One process for each name, that stands still at its beginning."""
    with contextlib.ExitStack() as stack:
        started: dict[str, Started] = {}
        for name, words in steps.items():
            log = directory / name
            out = stack.enter_context(log.open("ab"))
            process = subprocess.Popen([sys.executable, "-c", STEPS, *words], stdout=out)
            stack.callback(process.wait)
            stack.callback(process.kill)
            process.send_signal(signal.SIGSTOP)
            fds = stack.enter_context(processes.held([process.pid]))
            started[name] = (promotion_faults._Running(name, [process.pid], fds, log), process, log)
        yield started


def test_who_comes_to_the_moment_is_killed_there_and_the_other_lives(tmp_path: Path) -> None:
    steps = ["won epoch=2", "transition=promote", "leadership_taken", "gate_open"]
    with nodes(tmp_path, n1=["looks", "waits"], n2=steps) as started:
        found, proof = promotion_faults._killed_at(promotion_faults.PROMOTED, [one for one, *_ in started.values()])
        assert (found, "'transition=promote'" in proof) == ("n2", True)
        assert started["n2"][1].wait(patient(10)) == -signal.SIGKILL
        assert "leadership_taken" not in started["n2"][2].read_text()
        assert started["n1"][1].poll() is None


def test_who_is_past_the_moment_is_not_said_to_have_been_killed_at_the_moment(tmp_path: Path) -> None:
    with nodes(tmp_path, n1=["won epoch=2", "transition=promote", "leadership_taken"]) as started:
        one, process, log = started["n1"]
        process.send_signal(signal.SIGCONT)
        until = time.monotonic() + patient(30)
        while "leadership_taken" not in log.read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(DrillError, match="n1 was past 'won epoch=' when it stood still: its log said 'trans"):
            promotion_faults._killed_at(promotion_faults.WON, [one])
        assert process.poll() is None


def test_a_moment_that_never_comes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_faults, "COMES_WITHIN", 0.5)
    with nodes(tmp_path, n1=["won epoch=2"]) as started, pytest.raises(DrillError, match="nobody came to 'leadership"):
        promotion_faults._killed_at(promotion_faults.EPOCH, [started["n1"][0]])


def test_a_moment_that_was_missed_is_tried_again_once_all_nodes_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, tried = [], []

    class Place:
        nodes = ("one", "two")

        def health(self, node: str) -> object:
            asked.append(node)
            return {} if len(asked) > 3 else None

    def strike(*_words: object) -> Bite:
        tried.append(len(asked))
        if len(tried) < 3:
            raise promotion_faults._MissedError("past it")
        return Bite(("one", "two"), 7.0, 8.0, "gone")

    monkeypatch.setattr(promotion_faults, "_strike", strike)
    place: Any = Place()
    began = now()
    bite = promotion_faults.kill_at(promotion_faults.WON)(place, random.Random(1))
    assert (bite.nodes, bite.over) == (("one", "two"), 8.0)
    assert began <= bite.at <= now(), "what the first try did to calls counts too"
    assert tried[0] < tried[1] < tried[2]
    tried.clear()
    monkeypatch.setattr(promotion_faults, "ATTEMPTS", 1)
    with pytest.raises(promotion_faults._MissedError):
        promotion_faults.kill_at(promotion_faults.WON)(place, random.Random(1))
