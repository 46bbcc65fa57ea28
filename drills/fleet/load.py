"""Ten workers, thousands of short tasks, and a leader that is killed again and again.

Without faults: so many tasks, and how long they take. With faults: the same number, and more of them as long as leaders
are killed, so that each failover meets work; then everything is finished.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drills.fleet import work
from drills.fleet.daemons import Fleet, effects_file, say, wait_for
from drills.fleet.evidence import Evidence
from drills.fleet.gather import Result, conclude, register
from drills.fleet.judge import bitten
from luigi_ha.appliance.drill.place import DrillError, Place, Strike, TooLong, now
from luigi_ha.appliance.lab.errors import LabError

LOW = 2000  # tasks not over, below which more are added as long as faults strike; fewer in a smaller load
MOST_MISSED = 0.1  # of the failovers may have met nothing; more, and the drill decides nothing
STARTS_WITHIN = 180.0  # s, all workers
SLOWEST = 3.0  # tasks a second; slower than that, something hangs
TELL_EVERY = 10.0  # s


@dataclass(frozen=True)
class Size:
    """How much of it."""

    tasks: int = 10_000
    minutes: float = 10.0
    every: float = 20.0  # s between two kills
    workers: int = 10
    processes: int = 2  # of each worker
    seconds: float = 0.1  # one task


class Feeder:
    """Adds tasks: at once, and in a thread of its own as long as it is told to keep the queue full."""

    def __init__(self, place: Place, lot: str, seconds: float, low: int, file: Path) -> None:
        self.needs: dict[str, tuple[str, ...]] = {}
        self._place, self._lot, self._seconds, self._file = place, lot, seconds, file
        self._waves, self._read, self._ended, self._low = 0, 0, 0, low
        self._counting = threading.Lock()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._keep_full, daemon=True)

    def add(self, count: int) -> None:
        """So many more. They are known here first: a task may run before the reply is there."""
        while count > 0:
            tasks = work.wave(self._lot, self._waves, min(count, work.AT_ONCE), self._seconds)
            self.needs |= work.needs(tasks)
            register(self._place, tasks)
            self._waves += 1
            count -= len(tasks)

    def ended(self) -> int:
        """How many are over. Any thread."""
        with self._counting:
            if self._file.exists():
                with self._file.open("rb") as file:
                    file.seek(self._read)
                    text = file.read()
                whole = text[: text.rfind(b"\n") + 1]
                self._read += len(whole)
                self._ended += whole.count(b'["end"')
            return self._ended

    def left(self) -> int:
        return len(self.needs) - self.ended()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more. DrillError if it had to stop before."""
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise DrillError(f"no more tasks could be added: {self._failure}") from self._failure

    def _keep_full(self) -> None:
        try:
            while not self._over.wait(0.5):
                if self.left() < self._low:
                    self.add(min(work.AT_ONCE, self._low))
        except Exception as error:  # noqa: BLE001 - told by `stop`
            self._failure = error


def load(place: Place, directory: Path, size: Size, *, faults: bool) -> Result:
    """One load. `directory` is there and empty."""
    result = Result("load" if faults else "load without faults")
    lot = f"load{int(time.time())}"
    place.wait_until_ready()
    with Fleet(place, directory, lot) as fleet:
        feeder = Feeder(place, lot, size.seconds, min(LOW, size.tasks), effects_file(directory))
        for number in range(1, size.workers + 1):
            fleet.add(f"w{number}", size.processes)
        wait_for("all workers", lambda: _started(fleet), STARTS_WITHIN, 0.5)
        feeder.add(size.tasks)
        strikes, missed = _strike(place, feeder, size) if faults else ([], [])
        limit = feeder.left() / SLOWEST + 60
        try:
            wait_for("the end of all tasks", _telling(lambda: not feeder.left(), feeder), limit, 0.2)
        except TooLong as error:  # the judge will say more
            result.wrong.append(str(error))
        codes = fleet.drain()
        found = conclude(result, fleet, feeder.needs, codes)
    idle = [daemon.name for daemon in fleet.daemons if daemon.name not in {one.worker for one in found.effects}]
    result.proves(not idle, f"no task was run by {', '.join(idle)}")
    result.proves(len(found.needs) >= size.tasks, f"{len(found.needs)} tasks are fewer than {size.tasks}")
    if faults:
        _tell_strikes(result, found, size, strikes, missed)
    words = [line["event"] for daemon in fleet.daemons for line in daemon.events()]
    heard = ("no_scheduler_answers", "scheduler_answers_again", "heartbeat_unanswered", "result_of_earlier_worker")
    result.seen["workers_said"] = {event: words.count(event) for event in heard}
    return result


def _tell_strikes(result: Result, found: Evidence, size: Size, strikes: list[Strike], missed: list[str]) -> None:
    """Whether they bit, and what they looked like."""
    bites = bitten(strikes, found.effects, found.log)
    expected = int(size.minutes * 60 / size.every)
    numbered = enumerate(zip(strikes, bites, strict=True), 1)
    missed += [f"strike {number} at {strike.host}: {why}" for number, (strike, why) in numbered if why]
    bit = bites.count("")
    enough = expected >= 1 and bit >= expected * (1 - MOST_MISSED)
    result.proves(enough, f"only {bit} of {expected} failovers met a fleet at work")
    result.figures |= {"failovers": bit, "failovers_expected": expected, **_pauses(strikes)}
    result.seen["missed"] = missed
    result.seen["strikes"] = [
        {
            "host": one.host, "at_s": round(one.at - strikes[0].at, 1),
            "leader_after_s": round(one.over - one.at, 2), "epochs": [one.before, one.after], "proof": one.proof,
        }
        for one in strikes
    ]  # fmt: skip


def _started(fleet: Fleet) -> bool:
    for daemon in fleet.daemons:
        if not daemon.alive:
            raise DrillError(f"{daemon.name} has ended: {daemon.log.read_text(errors='replace')[-1500:]}")
    return all(daemon.events("worker_started") for daemon in fleet.daemons)


def _strike(place: Place, feeder: Feeder, size: Size) -> tuple[list[Strike], list[str]]:
    """Kill leaders as long as it is time; the kills, and why others were none."""
    strikes: list[Strike] = []
    missed: list[str] = []
    feeder.start()
    began = now()
    try:
        for number in range(1, int(size.minutes * 60 / size.every) + 1):
            _sleep_until(began + number * size.every)
            try:
                strike = place.kill_leader()
            except (LabError, DrillError) as error:
                missed.append(f"kill {number}: {error}")
                say(f"load: {missed[-1]}")
                continue
            strikes.append(strike)
            say(
                f"load: {now() - began:.0f} s: killed the leader {strike.host}, another leads after "
                f"{strike.over - strike.at:.2f} s; {feeder.ended()} tasks over, {feeder.left()} to go"
            )
        _sleep_until(now() + min(size.every, 20.0))  # the last failover meets work, too
    finally:
        feeder.stop()
    return strikes, missed


def _pauses(strikes: list[Strike]) -> dict[str, float]:
    took = sorted(strike.over - strike.at for strike in strikes)
    return {"failover_s_p50": round(took[len(took) // 2], 2), "failover_s_max": round(took[-1], 2)} if took else {}


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - now()))


def _telling(holds: Callable[[], bool], feeder: Feeder) -> Callable[[], bool]:
    """The same question; tells now and then how far it is."""
    told, before = [now()], [feeder.ended()]

    def asked() -> bool:
        if now() - told[0] >= TELL_EVERY:
            rate = (feeder.ended() - before[0]) / (now() - told[0])
            say(f"load: {feeder.ended()} of {len(feeder.needs)} tasks over, {rate:.0f} a second")
            told[0], before[0] = now(), feeder.ended()
        return holds()

    return asked
