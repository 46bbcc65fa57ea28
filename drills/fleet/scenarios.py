"""What else may happen to a worker, one story each. Each proves its fault, lets all work end, and is judged as a whole.

All lengths are multiplied by `scale`; scaled down, the stories are the same.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from drills.fleet import work
from drills.fleet.daemons import Daemon, Fleet, effects_file, say, wait_for
from drills.fleet.evidence import Effect, read_log, statement
from drills.fleet.gather import Result, conclude, register, statuses
from drills.fleet.load import STARTS_WITHIN, Feeder, Size
from luigi_ha.appliance.drill.place import Place, ask, now

ROOT = Path(__file__).resolve().parents[2]

DRAIN_SCRIPT = ROOT / "examples" / "shell" / "drain.sh"
GIVEN_UP_WITHIN = 330.0  # s: worker_disconnect_delay, worker_grace and prune_every, and what a busy machine adds
SOON = 60.0  # s
Story = Callable[[Place, Path, Size, float], Result]


def outage(place: Place, directory: Path, _size: Size, scale: float) -> Result:
    """A task of 180 s goes on through 120 s without any scheduler."""
    result, lot = Result("outage"), _lot("outage")
    with Fleet(place, directory, lot) as fleet:
        (task,) = _give(place, lot, 1, 180 * scale)
        daemon = fleet.add("w1")
        begin = _begun(fleet, task)
        time.sleep(30 * scale)
        strike = place.outage()
        time.sleep(max(0.0, strike.over + 120 * scale - now()))
        result.must(daemon.alive, "the worker did not live through it")
        result.must(begin.pid in _pids(daemon) or _over(fleet, task), "the task did not live through it")
        restored = now()
        epoch = place.restore()
        say(f"outage: nobody answered for {restored - strike.over:.1f} s; {strike.proof}")
        end = _ended(fleet, task, 180 * scale + SOON)
        codes = fleet.drain()
        found = conclude(result, fleet, {task: ()}, codes)
    result.proves(begin.at < strike.at < restored < end.at, "the outage was not within the task's time")
    result.proves(epoch > strike.before, "no new leader came")
    result.seen |= {
        "task_s": round(end.at - begin.at, 1), "outage_s": round(restored - strike.over, 1), "proof": strike.proof,
        "delivered_under_epoch": [entry.epoch for entry in found.log if entry.status == "DONE"],
        "epoch_before": strike.before,
    }  # fmt: skip
    return result


def restart(place: Place, directory: Path, _size: Size, scale: float, *, when: str) -> Result:
    """A task ends while no scheduler is there; its worker is killed before anybody heard of it, and started again."""
    result, lot = Result(f"restart-{when}"), _lot("restart")
    with Fleet(place, directory, lot) as fleet:
        (task,) = _give(place, lot, 1, max(2.0, 30 * scale))
        daemon = fleet.add("w1")
        begin = _begun(fleet, task)
        strike = place.outage()
        end = _ended(fleet, task, 30 * scale + SOON)
        wait_for("the result in the spool", lambda: daemon.outstanding() == ["DONE"], SOON)
        proof = daemon.kill()
        result.must(daemon.outstanding() == ["DONE"], "its result was in the spool and is not any more")
        heard = read_log(place.rows(statement(lot)))[-1].status
        result.proves(heard == "RUNNING", f"when the worker was killed, the database had heard that it is {heard}")
        if when == "before":
            daemon.start()
            wait_for("the worker's new life", lambda: len(daemon.events("worker_started")) == 2, SOON)
            time.sleep(10 * scale)
        place.restore()
        if when == "after":
            shown = ask(place, "GET", f"/api/task/{task}")
            result.proves(shown["status"] == "RUNNING", f"before it came back, the task was {shown['status']}")
            time.sleep(10 * scale)
            daemon.start()
        wait_for("the delivery", lambda: ask(place, "GET", f"/api/task/{task}")["status"] == "DONE", 2 * SOON, 0.2)
        codes = fleet.drain()
        conclude(result, fleet, {task: ()}, codes)
    result.proves(begin.at < strike.at < end.at, "the task did not end in the outage")
    result.must(daemon.events("result_of_earlier_worker"), "its next life did not find the result of the one before")
    result.must(not daemon.outstanding(), "the result is still in the spool")
    result.seen |= {"proof": f"{strike.proof}; worker: {proof}", "task_s": round(end.at - begin.at, 1)}
    return result


def frozen(place: Place, directory: Path, _size: Size, scale: float, *, wakes: str) -> Result:
    """A worker is frozen until its task is given to another one; it wakes `while` that one runs it, or `after`."""
    result, lot = Result(f"frozen-wakes-{wakes}"), _lot("frozen")
    with Fleet(place, directory, lot) as fleet:
        (task,) = _give(place, lot, 1, max(6.0, 20 * scale))
        first = fleet.add("w1")
        _begun(fleet, task)
        second = fleet.add("w2")
        wait_for("the second worker", lambda: second.events("worker_started"), SOON)
        proof, at = first.freeze(), now()
        begin = wait_for("the second attempt", lambda: _effect(fleet, task, "begin", 2), GIVEN_UP_WITHIN)
        say(f"frozen: {proof}; given to another worker after {begin.at - at:.1f} s")
        if wakes == "after":
            wait_for("the second attempt's end", lambda: _effect(fleet, task, "end", 2), SOON + 20 * scale)
            wait_for("the second's result", lambda: second.events("task_finished"), SOON)
        first.thaw()
        (refused,) = wait_for("the first worker's refusal", lambda: first.events("result_refused"), SOON)
        shown = ask(place, "GET", f"/api/task/{task}")
        expected = "RUNNING" if wakes == "while" else "DONE"
        result.must((shown["status"], shown["attempt"]) in ((expected, 2), ("DONE", 2)), f"then the task was {shown}")
        result.proves(shown["status"] == expected, f"the second attempt was {shown['status']} when the first came")
        wait_for("the second's result", lambda: second.events("task_finished"), SOON + 20 * scale)
        history = ask(place, "GET", f"/api/task/{task}/history")["history"]
        second.signal(signal.SIGTERM)
        codes = {second.name: second.ended()}
        (more,) = _give(place, lot, 1, 0.1, "more")
        _ended(fleet, more, SOON)  # the first works again
        codes |= fleet.drain()
        found = conclude(result, fleet, {task: (), more: ()}, codes, {task: 2})
    ends = {effect.attempt: effect.at for effect in found.effects if effect.task == task and effect.what == "end"}
    result.must("attempt 2" in refused["reason"], f"it was refused because {refused['reason']}")
    result.must(shown["worker"] == second.name, f"the scheduler says {shown['worker']} ran it")
    late = wakes == "while" and ends.get(1, 0.0) > ends.get(2, 0.0)
    result.proves(not late, "the first run did not end before the second")
    result.seen |= {
        "proof": proof, "given_up_after_s": round(begin.at - at, 1), "reason": refused["reason"],
        "history": [{name: entry[name] for name in ("status", "method", "worker_id", "attempt")} for entry in history],
        "effects": [[one.what, one.attempt, one.worker] for one in found.effects if one.task == task],
    }  # fmt: skip
    return result


def drain(place: Place, directory: Path, _size: Size, scale: float, *, how: str) -> Result:
    """A worker with two tasks and more of them waiting is drained; another one does what is left."""
    result, lot = Result(f"drain-{how}"), _lot("drain")
    with Fleet(place, directory, lot) as fleet:
        tasks = _give(place, lot, 8, max(3.0, 15 * scale))
        first = fleet.add("w1", 2)
        wait_for("two tasks at work", lambda: len(fleet.effects()) == 2, STARTS_WITHIN)
        at = now()
        told = _DRAINS[how](result, fleet, first)
        codes: dict[str, int | None] = {first.name: first.ended()}
        took, seen = now() - at, fleet.effects()
        begun = {effect.task for effect in seen if effect.what == "begin"}
        over = {effect.task for effect in seen if effect.what == "end"}
        result.proves(len(begun) == 2 and all(one.at < at for one in seen if one.what == "begin"), f"it ran {begun}")
        result.must(begun == over, f"it left {sorted(begun - over)}")
        left = statuses(place, lot)
        result.must(all(left[task] == ("DONE" if task in over else "PENDING") for task in tasks), f"then {left}")
        fleet.add("w2", 2)
        wait_for("the end of all tasks", lambda: len(fleet.effects()) >= 2 * len(tasks), 4 * 15 * scale + SOON)
        codes |= fleet.drain()
        conclude(result, fleet, dict.fromkeys(tasks, ()), codes)
    result.must(first.events("draining"), "it did not say that it drains")
    result.seen |= {"drained_in_s": round(took, 1), "told": told}
    return result


def rolling(place: Place, directory: Path, size: Size, _scale: float) -> Result:
    """Each worker in turn is drained by SIGTERM and started again, under load."""
    result, lot = Result("rolling"), _lot("rolling")
    turns: list[dict[str, object]] = []
    size = replace(size, seconds=max(size.seconds, 1.0))  # long enough to be met
    with Fleet(place, directory, lot) as fleet:
        enough = min(work.AT_ONCE, size.tasks)
        feeder = Feeder(place, lot, size.seconds, enough, effects_file(directory))
        feeder.add(enough)
        daemons = [fleet.add(f"w{number}", size.processes) for number in range(1, size.workers + 1)]
        wait_for("a task of each worker", lambda: _begins(fleet).keys() == {d.name for d in daemons}, STARTS_WITHIN)
        feeder.start()
        try:
            for daemon in daemons:
                turns.append(_turn(result, fleet, daemon))
                say(f"rolling: {turns[-1]}; {feeder.ended()} tasks over")
        finally:
            feeder.stop()
        wait_for("the end of all tasks", lambda: not feeder.left(), feeder.left() / 3.0 + SOON, 0.2)
        codes = fleet.drain()
        conclude(result, fleet, feeder.needs, codes)
    result.seen["turns"] = turns
    return result


def _turn(result: Result, fleet: Fleet, daemon: Daemon) -> dict[str, object]:
    """Drain one worker and start it again; returns when it works again."""
    wait_for("a task to meet", lambda: _at_work(fleet, daemon), STARTS_WITHIN)
    daemon.signal(signal.SIGTERM)
    told = now()
    code, took = daemon.ended(), now() - told
    result.must(code == 0, f"{daemon.name} ended with exit code {code}")
    finished = sum(one.worker == daemon.name and one.what == "end" and one.at > told for one in fleet.effects())
    result.proves(finished, f"{daemon.name} had no task when it was told to drain")
    run = _begins(fleet)[daemon.name]
    daemon.start()
    wait_for("its next task", lambda: _begins(fleet)[daemon.name] > run, STARTS_WITHIN)
    return {"worker": daemon.name, "finished_draining": finished, "drained_in_s": round(took, 2), "run_before": run}


# -- how a worker is told to drain -------------------------------------------------------------------------------


def _by_api(result: Result, fleet: Fleet, daemon: Daemon) -> str:
    answer = ask(fleet.place, "POST", "/api/worker/drain", {"worker_id": daemon.name})
    result.must(len(answer["running"]) == 2, f"the answer was {answer}")
    return f"state {answer['state']}, {len(answer['running'])} tasks running"


def _by_sigterm(_result: Result, _fleet: Fleet, daemon: Daemon) -> str:
    daemon.signal(signal.SIGTERM)
    return "SIGTERM"


def _by_script(result: Result, fleet: Fleet, daemon: Daemon) -> str:
    log = fleet.directory / "drain.log"
    env = {"LUIGI_HA_SCHEDULER_URL": fleet.place.url}
    code = fleet.place.popen(["sh", str(DRAIN_SCRIPT), daemon.name], env, fleet.directory, log).wait(SOON * 3)
    ended = sum(effect.what == "end" for effect in fleet.effects())
    result.must(code == 0, f"{DRAIN_SCRIPT.name} ended with exit code {code}: {log.read_text()}")
    result.must(ended == 2, f"{DRAIN_SCRIPT.name} returned with {2 - ended} tasks still running")
    return f"{DRAIN_SCRIPT.name}: exit code {code}"


_DRAINS = {"api": _by_api, "sigterm": _by_sigterm, "script": _by_script}


# -- small things ------------------------------------------------------------------------------------------------


def _lot(name: str) -> str:
    return f"{name}{time.time_ns() // 1_000_000}"


def _give(place: Place, lot: str, count: int, seconds: float, what: str = "task") -> list[str]:
    """Add tasks that need nothing; their ids."""
    place.wait_until_ready()
    names = [f"{lot}_{what}{number}" for number in range(1, count + 1)]
    register(place, [work.task(name, seconds) for name in names])
    return names


def _effect(fleet: Fleet, task: str, what: str, attempt: int = 1) -> Effect | None:
    wanted = (what, task, attempt)
    return next((one for one in fleet.effects() if (one.what, one.task, one.attempt) == wanted), None)


def _begun(fleet: Fleet, task: str) -> Effect:
    found: Effect = wait_for(f"the beginning of {task}", lambda: _effect(fleet, task, "begin"), STARTS_WITHIN)
    return found


def _over(fleet: Fleet, task: str) -> bool:
    return _effect(fleet, task, "end") is not None


def _ended(fleet: Fleet, task: str, seconds: float) -> Effect:
    found: Effect = wait_for(f"the end of {task}", lambda: _effect(fleet, task, "end"), seconds)
    return found


def _pids(daemon: Daemon) -> set[int]:
    """Of the daemon's processes, as they are numbered on its host."""
    return {process.inner for process in daemon.processes()}


def _at_work(fleet: Fleet, daemon: Daemon) -> int:
    """How many tasks it runs."""
    mine = [effect.what for effect in fleet.effects() if effect.worker == daemon.name]
    return mine.count("begin") - mine.count("end")


def _begins(fleet: Fleet) -> dict[str, int]:
    """Tasks begun, by worker."""
    found: dict[str, int] = {}
    for effect in fleet.effects():
        if effect.what == "begin":
            found[effect.worker] = found.get(effect.worker, 0) + 1
    return found


ALL: dict[str, Story] = {
    "outage": outage,
    "restart-before": partial(restart, when="before"),
    "restart-after": partial(restart, when="after"),
    "frozen-while": partial(frozen, wakes="while"),
    "frozen-after": partial(frozen, wakes="after"),
    "drain-api": partial(drain, how="api"),
    "drain-sigterm": partial(drain, how="sigterm"),
    "drain-script": partial(drain, how="script"),
    "rolling": rolling,
}
