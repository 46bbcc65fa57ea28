"""What the commands on tasks do."""

import contextlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.naming import STATUSES, JsonObject, listed, task, task_path
from luigi_ha.appliance.cli.shown import line, lines, moment
from luigi_ha.appliance.cli.tables import age, amount, cut, shortened, table
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.exit_codes import ExitCode

MOST_DEPENDENCIES = 20
LONGEST_WORKER = 40
_STOCK = re.compile(r"Worker\(salt=.*host=([^,]+),.*pid=(\d+)\)")
HEADS = ("STATUS", "FAMILY", "TASK", "AGE", "WORKER")
# What a change makes of a task, and what it means that nothing changed.
_DONE = {
    "retry": ("is {status} again", "is {status}: there is nothing to retry"),
    "cancel": ("is cancelled ({status})", "is {status}: there is nothing to cancel"),
    "done": ("counts as done", "is {status}: nothing changed"),
}


def statuses(texts: list[str]) -> list[str]:
    """Return what `--status` says, as the scheduler has it. CommandError."""
    found = [word.upper() for text in texts for word in text.replace(",", " ").split()]
    wrong = next((word for word in found if word not in STATUSES), None if found or not texts else "")
    if wrong is not None:
        expected = ", ".join(each.lower() for each in STATUSES)
        raise CommandError(f"--status {line(wrong).lower()!r}: expected one of {expected}", ExitCode.CONFIG)
    return found


def show_list(at: At, statuses: list[str], filters: Mapping[str, str | None], limit: int, *, as_json: bool) -> None:
    """One line for each; on standard error, that there are more."""
    found, more = _listed(Scheduler(at), statuses, filters, limit)
    if as_json:
        print(json.dumps({"tasks": found, "more": more}, indent=2))
        return
    if not found:
        print("no tasks" + (" that fit" if statuses or any(filters.values()) else ""))
        return
    now = wall()
    names = shortened([line(each["task_id"]) for each in found])
    rows = [
        (each["status"], line(each["family"]), name, _age(each["updated_at"], now), _worker(each["worker"]))
        for each, name in zip(found, names, strict=True)
    ]
    print(table(HEADS, rows))
    if more:
        print(f"the first {len(found):,}; there are more (--limit)", file=sys.stderr)


def show(at: At, named: str, *, as_json: bool) -> None:
    """All there is, the error last."""
    scheduler = Scheduler(at)
    found = task(scheduler, named)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(_described(found, _statuses(scheduler, found["deps"])))


def show_log(at: At, named: str, *, as_json: bool) -> None:
    """The output alone on standard output; whose it is on standard error."""
    scheduler = Scheduler(at)
    found = task(scheduler, named)
    kept = scheduler.find(task_path(found["task_id"], "/log"))
    if kept is None:
        where = f"log/TASK.ATTEMPT.log in the state directory of {found['worker'] or 'its worker'}"
        error = f"; its error: luigi-ha task show {found['task_id']}" if found["error"] else ""
        raise CommandError(f"no output of {line(found['task_id'])} is kept here; expected {line(where)}{error}")
    if as_json:
        print(json.dumps(kept, indent=2))
        return
    whose = f"{kept['task_id']}, attempt {kept['attempt']}, by {kept['worker'] or 'nobody known'}"
    print(f"-- {line(whose)}", file=sys.stderr, flush=True)
    print(lines(kept["text"]), end="" if kept["text"].endswith("\n") else "\n")


def change(at: At, what: str, named: list[str], body: JsonObject | None = None, *, as_json: bool) -> None:
    """Nothing is changed unless each name means one task."""
    scheduler = Scheduler(at)
    meant = dict.fromkeys(str(task(scheduler, name)["task_id"]) for name in named)
    answers = [scheduler.send("POST", task_path(task_id, f"/{what}"), body or {}) for task_id in meant]
    if as_json:
        print(json.dumps({"tasks": answers}, indent=2))
        return
    changed, same = _DONE[what]
    for answer in answers:
        print(line(answer["task_id"]), (changed if answer["changed"] else same).format(status=answer["status"]))


def _listed(
    scheduler: Scheduler, statuses: list[str], filters: Mapping[str, str | None], limit: int
) -> tuple[list[JsonObject], bool]:
    """So many tasks, and whether there are more."""
    found: list[JsonObject] = []
    for status in dict.fromkeys(statuses) or [None]:
        found += listed(scheduler, {**filters, "status": status}, limit + 1 - len(found))
    return found[:limit], len(found) > limit


def _described(found: JsonObject, statuses: Mapping[str, str]) -> str:
    now = wall()
    facts: list[tuple[str, str | None]] = [
        ("task", found["task_id"]),
        ("status", found["status"] + (f", for {_age(found['updated_at'], now)}" if found["updated_at"] else "")),
        ("cancelled", found["cancelled"]),
        ("family", found["family"]),
        ("module", found["module"]),
        *((f"  {name}", told(value)) for name, value in found["params"].items()),
        ("worker", found["worker"]),
        ("attempt", f"{found['attempt']}" if found["attempt"] else None),
        ("started", _moment(found["run_time"])),
        ("added", _moment(found["added_at"])),
        ("failures", f"{found['failures']}" if found["failures"] else None),
        ("retried at", _moment(found["retry_at"])),
        ("disabled at", _moment(found["disabled_at"])),
        ("priority", amount(found["priority"]) if found["priority"] else None),
        ("resources", ", ".join(f"{name}={amount(much)}" for name, much in found["resources"].items()) or None),
        ("capabilities", ", ".join(found["capabilities"]) or None),
        ("progress", None if found["progress"] is None else f"{told(found['progress'])} %"),
        ("message", told(found["message"]) if found["message"] else None),
        ("tracking", found["tracking_url"]),
        *(
            ("" if number else "needs", f"{dep} ({statuses.get(dep, 'not looked up')})")
            for number, dep in enumerate(_first(found["deps"], statuses))
        ),
        ("", f"and {left:,} more" if (left := len(found["deps"]) - MOST_DEPENDENCIES) > 0 else None),
    ]
    told_facts = [(name, line(value)) for name, value in facts if value]
    width = max(len(name) for name, _ in told_facts) + 2
    text = "\n".join(f"{name + ':' if name.strip() else '':<{width}}{value}" for name, value in told_facts)
    return text + (f"\nerror:\n{_indented(_error(found['error']))}" if found["error"] else "")


def _first(deps: list[str], statuses: Mapping[str, str]) -> list[str]:
    """What is not done first: that is what it waits for."""
    return sorted(deps[:MOST_DEPENDENCIES], key=lambda dep: statuses.get(dep) == "DONE")


def _statuses(scheduler: Scheduler, deps: list[str]) -> dict[str, str]:
    found = {dep: scheduler.find(task_path(dep)) for dep in deps[:MOST_DEPENDENCIES]}
    return {dep: one["status"] if one else "not known to the scheduler" for dep, one in found.items()}


def told(value: Any) -> str:
    """Return what somebody said as text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _error(value: Any) -> str:
    """Return an error as its worker wrote it: luigi's send JSON in JSON."""
    if isinstance(value, str) and value.startswith('"'):
        with contextlib.suppress(ValueError):
            return told(json.loads(value))
    return told(value)


def _indented(text: str) -> str:
    return "\n".join(f"  {each}" for each in lines(text.rstrip()).splitlines())


def _age(since: float | None, now: float) -> str:
    return "" if since is None else age(now - since)


def _moment(at: float | None) -> str | None:
    return None if at is None else moment(at)


def _worker(worker: str | None) -> str:
    """Of a worker of stock luigi, whose name begins with a random number: its host and process."""
    stock = _STOCK.fullmatch(worker or "")
    return cut(line(f"{stock[1]} (pid {stock[2]})" if stock else worker or ""), LONGEST_WORKER)
