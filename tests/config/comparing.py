"""The same files and environment, read by luigi and by us."""

import math
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luigi_ha.appliance.config import ConfigError, Options, load, luigi_files
from tests.config import reference
from tests.config.differences import DIFFERENCES, Seen, refusal
from tests.config.generating import Case, generate

# (class, name) in luigi -> where it is in ours; only options that both know.
BOTH = {
    **{("scheduler", name): ("scheduler", name) for name in (
        "retry_delay", "remove_delay", "worker_disconnect_delay", "batch_emails", "disable_window", "retry_count",
        "disable_hard_timeout", "disable_persist", "max_shown_tasks", "max_graph_nodes", "record_task_history",
        "prune_on_get_work", "pause_enabled", "send_messages", "stable_done_cooldown_secs",
    )},
    **{("cors", name): ("cors", name) for name in (
        "enabled", "allowed_origins", "allow_any_origin", "allow_null_origin", "max_age", "allowed_methods",
        "allowed_headers", "exposed_headers", "allow_credentials",
    )},
    **{("smtp", name): ("email", name) for name in (
        "host", "port", "username", "password", "ssl", "no_tls", "timeout",
    )},
    ("email", "format"): ("scheduler", "email_format"),
    ("email", "receiver"): ("scheduler", "email_receivers"),
    ("email", "sender"): ("email", "sender"),
    ("email", "prefix"): ("email", "prefix"),
    ("batch_email", "email_interval"): ("scheduler", "email_interval_minutes"),
    ("batch_email", "batch_mode"): ("scheduler", "email_batch_mode"),
    ("batch_email", "error_lines"): ("scheduler", "email_error_lines"),
    ("batch_email", "error_messages"): ("scheduler", "email_error_messages"),
    ("batch_email", "group_by_error_messages"): ("scheduler", "email_group_by_error_messages"),
}  # fmt: skip


@dataclass
class Tally:
    """What came of many cases. `mismatch`: the first case that differs, for people; None if none does."""

    outcomes: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    values: int = 0
    mismatch: str | None = None


def compare(case: Case, tally: Tally) -> None:
    """Read the case with both; sets `tally.mismatch` if they differ where they should not."""
    with tempfile.TemporaryDirectory(prefix="luigi-cfg-") as name:
        directory, system = Path(name, "here"), Path(name, "etc")
        directory.mkdir()
        system.mkdir()
        case.write(directory, system)
        with reference.placed(directory, system, case.environment):
            theirs = reference.read()
            ours, failed = _ours(case, system)
    reason = theirs.refuses()
    if failed is not None:
        if not isinstance(failed, ConfigError):
            tally.mismatch = f"{case}\nours ends with {''.join(traceback.format_exception(failed))}"
        elif reason:
            tally.outcomes["refused by both"] += 1
        elif (why := refusal(str(failed), toml=case.toml)) is not None:
            tally.outcomes["refused by us on purpose"] += 1
            tally.differences[why] += 1
        else:
            tally.mismatch = f"{case}\nluigid takes it, ours says: {failed}"
        return
    tally.outcomes["read by us alone" if reason else "read by both"] += 1
    assert ours is not None
    if ours.serve.port != 8082:
        tally.mismatch = f"{case}\nport = {ours.serve.port}: nobody has asked for that"
    for seen in _seen(theirs, ours, case):
        tally.values += 1
        if not _same(seen):
            difference = next((each for each in DIFFERENCES if each.explains(seen)), None)
            if difference is None:
                tally.mismatch = f"{case}\n{seen.option}: luigid {seen.theirs!r}, ours {seen.ours!r}"
                return
            tally.differences[difference.name] += 1


def _ours(case: Case, system: Path) -> tuple[Options | None, Exception | None]:
    found = {name: getattr(luigi_files, name) for name in ("CFG_FILES", "TOML_FILES")}
    try:
        for name, paths in found.items():
            placed = tuple(path.replace(reference.SYSTEM, f"{system}/") for path in paths)
            setattr(luigi_files, name, placed)
        return load({}, None, case.environment).options, None
    except Exception as error:  # noqa: BLE001 - anything but a ConfigError is a mismatch
        return None, error
    finally:
        for name, paths in found.items():
            setattr(luigi_files, name, paths)


def _seen(theirs: reference.Read, ours: Options, case: Case) -> Iterator[Seen]:
    text = case.text()
    for (section, name), (place, option) in BOTH.items():
        if section in theirs.values:  # else luigid has no value
            value = getattr(getattr(ours, place), option)
            written = (section, name) in theirs.written
            yield Seen((section, name), theirs.values[section][name], value, written, text, case.toml)
    totals = theirs.values.get("resources")
    if totals is not None:
        for name in sorted({*totals, *ours.resources}):
            yield Seen(("resources", name), totals.get(name), ours.resources.get(name), name in totals, text, case.toml)


def _same(seen: Seen) -> bool:
    theirs, ours = seen.theirs, seen.ours
    match seen.option:
        case "cors", "allowed_origins":  # luigi makes a set of them, without * and null; an origin is a text
            return {each for each in theirs if isinstance(each, str) and each} == set(ours)
        case "email", "receiver":  # luigi splits it when it sends, and then strips
            return {part.strip() for part in str(theirs).split(",") if part.strip()} == set(ours)
        case "smtp", "username" | "password" if theirs is None:
            return bool(ours == "")
        case "resources", _ if theirs is None or ours is None:
            return theirs is ours
    if isinstance(ours, str):
        return str(theirs) == ours
    if isinstance(theirs, float) and math.isnan(theirs):
        return False
    return bool(theirs == ours)


def run(seed: int, cases: int) -> Tally:
    """Compare so many cases that the seed makes; stop at the first that differs."""
    tally = Tally()
    for case in generate(seed, cases):
        compare(case, tally)
        if tally.mismatch is not None:
            tally.mismatch = f"seed {seed}: {tally.mismatch}"
            break
    return tally


def merged(tallies: list[Tally]) -> Tally:
    """Return the sum."""
    total = Tally()
    for tally in tallies:
        total.outcomes.update(tally.outcomes)
        total.differences.update(tally.differences)
        total.values += tally.values
        total.mismatch = total.mismatch or tally.mismatch
    return total


def values(case: Case) -> Any:
    """Return our options for the case, as `luigid` would be started with it."""
    with tempfile.TemporaryDirectory(prefix="luigi-cfg-") as name:
        directory, system = Path(name, "here"), Path(name, "etc")
        directory.mkdir()
        system.mkdir()
        case.write(directory, system)
        with reference.placed(directory, system, case.environment):
            options, failed = _ours(case, system)
    if failed is not None:
        raise failed
    return options
