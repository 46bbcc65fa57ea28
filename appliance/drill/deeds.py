"""What the commands of `luigi-ha drill` do."""

import base64
import binascii
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import configured, shared
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.drill import beginning, faults, page, records, report, rounds
from luigi_ha.appliance.drill.fault import Fault
from luigi_ha.appliance.drill.judging import CHECKS, FAILED, PASSED, judge
from luigi_ha.appliance.drill.place import BIN, DrillError
from luigi_ha.appliance.drill.records import Record
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.node.drilled import NAMED

DEFAULT, SAFE = ("kill-scheduler", "kill-node", "switchover"), ("switchover",)
CODES = {PASSED: ExitCode.OK, FAILED: ExitCode.FAILED}


def show_faults(*, as_json: bool) -> None:
    """The faults and the checks."""
    if as_json:
        found = [
            {"name": each.name, "text": each.text, "on": list(each.on), "safe": each.safe}
            for each in faults.ALL.values()
        ]
        print(json.dumps({"faults": found, "checks": list(CHECKS), "places": list(faults.PLACES)}))
        return
    width = max(map(len, faults.ALL))
    for where, here in (
        ("on a pair and in a lab; * on your own hosts too (--on hosts):", lambda each: "pair" in each.on),
        ("in a lab alone (--on lab):", lambda each: "pair" not in each.on),
    ):
        print(where)
        for each in filter(here, faults.ALL.values()):
            print(f"{'*' if each.safe else ' '} {each.name:<{width}}  {each.text}")
    print(f"\nchecks of each round: {', '.join(CHECKS)}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a drill is to do. `each`: how often each of `names`; `random`: so many at random instead; `seed`: None for
    one by the clock."""

    names: Sequence[str]
    each: int
    random: int
    seed: int | None
    on: str
    settings: rounds.Settings
    safe: bool = False  # none that would harm a cluster in use
    config: Path | None = None  # of a node of the operator's own cluster
    agreed: bool = False  # to strike it


def run(asked: Asked, reports: Path | None, *, as_json: bool) -> ExitCode:
    """All rounds, and the report."""
    on, settings = asked.on, asked.settings
    if on not in faults.PLACES:
        raise CommandError(f"--on {on}: expected {' or '.join(faults.PLACES)}", ExitCode.CONFIG)
    seed = time.time_ns() % 1_000_000 if asked.seed is None else asked.seed
    rng = random.Random(seed)  # noqa: S311 - it must be repeatable
    plan = _planned(asked, rng)
    if settings.load not in rounds.LOADS:
        raise CommandError(f"--load {settings.load}: expected {' or '.join(rounds.LOADS)}", ExitCode.CONFIG)
    if on == "hosts" and settings.load == "workers":
        hint = "expected luigi or none"
        raise CommandError(f"--load workers: your own workers would take its tasks; {hint}", ExitCode.CONFIG)
    pipelines = settings.load != "none" or any(fault.workers for fault in plan)
    if pipelines and not (BIN / "luigi").exists():
        hint = "expected --load none and no fault of workers, or: pip install 'luigi-ha[drill]'"
        raise CommandError(f"stock luigi is not installed beside luigi-ha; {hint}", ExitCode.CONFIG)
    if on == "hosts" and not asked.agreed:
        beginning.ask_first(plan)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was made is ended first
    directory = _new((reports or _reports(asked)).absolute(), on)
    _say(f"drill on {faults.PLACES[on]}: {len(plan)} rounds, seed {seed}")
    about: dict[str, Any] = {
        "place": on,
        "seed": seed,
        "asked": [each.name for each in plan],
        "settings": asdict(settings),
    }
    broken_off: BaseException | None = None
    try:
        with (
            _kept_if_used(directory),
            beginning.told_as_sentences(),
            beginning.somewhere(on, asked.config, plan, _say) as place,
        ):
            beginning.require_well(place)
            for number, fault in enumerate(plan, 1):
                path = directory / report.ROUNDS / f"{number:03}-{fault.name}"
                _say(f"[{number}/{len(plan)}] {fault.name}: {fault.text} ...")
                rounds.run(place, fault, path, rng, settings)
                _say(f"[{number}/{len(plan)}] {fault.name}: {_in_short(path)}")
            about["history"] = history = records.history(place, directory)
            _say(f"the whole log: {history['verdict']}; {history['entries']} entries of {history['epochs']} epochs")
    except (KeyboardInterrupt, SystemExit) as error:
        broken_off = error
        about["broken_off"] = True
        if not _whole_rounds(directory):
            raise
    made = report.write(directory, about)
    shown = page.write(directory, made)
    print(json.dumps({"report": str(directory), **made}) if as_json else f"{_table(made)}\n{shown}")
    if broken_off is not None:
        raise broken_off
    return CODES.get(made["verdict"], ExitCode.INCONCLUSIVE)


def _whole_rounds(directory: Path) -> bool:
    """Whether there is a round with all of its records; the one that was broken off is removed."""
    found = sorted((directory / report.ROUNDS).iterdir()) if (directory / report.ROUNDS).is_dir() else []
    for path in found:
        if not (path / records.ROUND).exists():
            shutil.rmtree(path)
    return any(path.exists() for path in found)


def _planned(asked: Asked, rng: random.Random) -> list[Fault]:
    """The rounds' faults, in their order."""
    if asked.random and (asked.names or asked.each != 1):
        raise CommandError("--random chooses the faults itself; expected neither names nor --rounds", ExitCode.CONFIG)
    if asked.random:
        return faults.drawn(asked.random, "hosts" if asked.safe else asked.on, rng)
    default = SAFE if asked.on == "hosts" or asked.safe else DEFAULT
    try:
        chosen = faults.chosen(asked.names or default, asked.on)
        if asked.safe and (harmful := [fault.name for fault in chosen if not fault.safe]):
            raise DrillError(f"--safe: {', '.join(harmful)} would harm a cluster in use")  # noqa: TRY301
        return chosen * asked.each
    except DrillError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error


def verify(directory: Path, key: str, *, as_json: bool) -> ExitCode:
    """Check a report again, and say what is wrong with it."""
    made, problems = _checked(directory, key)
    code = ExitCode.FAILED if problems.found else CODES.get(made["verdict"], ExitCode.INCONCLUSIVE)
    if as_json:
        said = {"broken": problems.broken, "differs": problems.differs, "notes": problems.notes}
        print(json.dumps({"verdict": made["verdict"], "sound": not problems.found, **said}))
    else:
        sound = "NOT what was signed and judged" if problems.found else "what was signed, and judged again the same"
        print(f"{directory}: {made['verdict'].upper()}; the report is {sound}")
        print("".join(f"  {line(each)}\n" for each in (*problems.broken, *problems.differs, *problems.notes)), end="")
    return code


def show(directory: Path, *, as_json: bool) -> ExitCode:
    """The table of a report."""
    made, problems = _checked(directory, "")
    print(json.dumps(made) if as_json else _table(made))
    for each in (*problems.broken, *problems.differs):
        print(f"not what was signed and judged: {line(each)}", file=sys.stderr)
    return ExitCode.FAILED if problems.found else CODES.get(made["verdict"], ExitCode.INCONCLUSIVE)


def _checked(directory: Path, key: str) -> tuple[dict[str, Any], report.Problems]:
    try:
        wanted = base64.b64decode(key, validate=True) if key else None
    except binascii.Error as error:
        raise CommandError(f"--key {key}: {error}; expected base64", ExitCode.CONFIG) from error
    try:
        made, problems = report.check(directory.resolve(), wanted)
        shown = directory / report.PAGE
        if not problems.found and shown.exists() and shown.read_text() != page.rendered(directory, made):
            problems.broken.append(f"{report.PAGE}: is not of this report")
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{directory}: no report: {type(error).__name__}: {error}"
        raise CommandError(f"{what}; expected a directory with {report.REPORT}", ExitCode.CONFIG) from error
    return made, problems


def _reports(asked: Asked) -> Path:
    """Where reports are kept: those of the operator's own cluster where its nodes look for them."""
    if asked.on == "hosts":
        with configured():
            return Path(shared(asked.config, {}).drill_reports)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "luigi-ha" / "drills"


def _new(reports: Path, on: str) -> Path:
    """The directory of a new report; later ones sort after it."""
    directory = reports / f"{datetime.now(UTC):{NAMED}}-{on}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise CommandError(f"--reports {reports}: {error.strerror}; expected a place for reports") from error
    return directory


@contextmanager
def _kept_if_used(directory: Path) -> Iterator[None]:
    try:
        yield
    except CommandError:
        with suppress(OSError):
            directory.rmdir()  # it is empty: nothing was begun
        raise


def _in_short(path: Path) -> str:
    """A round in a line."""
    try:
        found = judge(Record.load(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be judged: {type(error).__name__}: {error}"
    said = [found.verdict]
    if "gap" in found.figures:
        said.append(f"nobody was served for {found.figures['gap']:.2f} s")
        said.append(f"{found.figures['acknowledged']} calls acknowledged, {found.figures['lost']} lost")
    if "done" in found.figures:
        said.append(f"{found.figures['done']} of {found.figures['tasks']} tasks done, {found.figures['twice']} twice")
    return "; ".join([*said, *_told(found.wrong), *_told(found.undecided)])


def _told(part: Mapping[str, Sequence[str]]) -> list[str]:
    """What checks say."""
    return [f"{name}: {line(text)}" for name, texts in part.items() for text in texts]


def _table(made: Mapping[str, Any]) -> str:
    rows = [("fault", "rounds", "passed", "gap p50/p95/max", "wait p50/max", "lost", "failed", "done", "twice")]
    for row in made["table"]:
        gap, wait = row.get("gap"), row.get("longest_wait")
        rows.append(
            (
                row["fault"], str(row["rounds"]), str(row["passed"]),
                f"{gap['p50']:.2f} / {gap['p95']:.2f} / {gap['max']:.2f}" if gap else "-",
                f"{wait['p50']:.2f} / {wait['max']:.2f}" if wait else "-", str(row["lost"]),
                f"{row['failed_in_flight']}+{row['failed_after']}", f"{row['done']}/{row['tasks']}", str(row["twice"]),
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    wrong = [
        f"{one['directory']}: {text}" for one in made["rounds"] for part in ("wrong", "undecided")
        for text in _told(one[part])
    ]  # fmt: skip
    history = made.get("history") or {"findings": [], "undecided": []}
    wrong += [f"the whole log: {line(str(each))}" for each in (*history["findings"], *history["undecided"])]
    return "\n".join([*lines, *wrong, f"{made['verdict'].upper()} (seed {made['seed']})"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
