"""Which task or worker is meant: by id, by family, by the beginning of either; never by a guess.

A task's id ends in a hash that nobody types. So `Load` is the task with that id; else the one task of that family, with
or without its namespace; else the one whose id or family begins so. If it could be several, they are named, and nothing
is done.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from luigi_ha.appliance.cli.client import Scheduler
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.cli.tables import MORE
from luigi_ha.appliance.exit_codes import ExitCode

MOST_NAMED = 10
PAGE = 1000
MOST_READ = 10_000  # candidates; who means one of more must say more

STATUSES = ("FAILED", "DISABLED", "RUNNING", "BATCH_RUNNING", "PENDING", "UNKNOWN", "DONE")  # what one looks for first

JsonObject = dict[str, Any]


def task_path(task_id: str, more: str = "") -> str:
    """Return the path of a task in the REST API."""
    return f"/api/task/{quote(task_id, safe='')}{more}"


def task(scheduler: Scheduler, named: str) -> JsonObject:
    """Return the task that is meant, in full. CommandError if there is none, or more than one."""
    found = _task(scheduler, named)
    if found is None:
        raise _no_task(named)
    return found


def remembered(scheduler: Scheduler, named: str, more: str, query: JsonObject | None = None) -> Any:
    """Return the JSON at a path below the task that is meant, or below one that is no more, which the scheduler may
    remember by its id. CommandError if it does not."""
    found = _task(scheduler, named)
    answer = scheduler.find(task_path(named if found is None else str(found["task_id"]), more), query)
    if answer is None:
        raise _no_task(named)
    return answer


def worker_id(scheduler: Scheduler, named: str, *, drained: bool = False) -> str:
    """Return the id of the worker that is meant: by id, by host, by the beginning of its id. `drained`: or of one that
    gets no work and is not there."""
    text = _whole(named)
    infos = {worker["worker_id"]: worker["info"] or {} for worker in scheduler.get("/api/worker")}
    ids = [*infos, *(each["worker_id"] for each in scheduler.get("/api/drained") if drained and not each["known"])]
    for fits in (
        lambda one: one == text,
        lambda one: text in (infos.get(one, {}).get("host"), infos.get(one, {}).get("hostname")),
        lambda one: one.startswith(text),
    ):
        found = [one for one in ids if fits(one)]
        if found:
            return str(_only(named, "workers", found, line))
    raise CommandError(f"no worker {line(named)!r}; expected an id, or the beginning of one (luigi-ha worker list)")


def _task(scheduler: Scheduler, named: str) -> JsonObject | None:
    text = _whole(named)
    found = scheduler.find(task_path(text)) if text else None
    if found is None and text:
        candidates = _candidates(scheduler, {"family": text})
        candidates = candidates or _preferred(_candidates(scheduler, {"prefix": text}), text)
        if candidates:
            meant = _only(named, "tasks", candidates, lambda one: f"{line(one['task_id'])} ({one['status']})")
            found = scheduler.find(task_path(meant["task_id"]))
    return found


def _no_task(named: str) -> CommandError:
    expected = "an id, a family or the beginning of one (luigi-ha task list)"
    return CommandError(f"no task {line(named)!r}; expected {expected}")


def _preferred(found: list[JsonObject], text: str) -> list[JsonObject]:
    """Those of the family that has this name in its namespace, before those that only begin so."""
    return [one for one in found if one["family"].rpartition(".")[2] == text] or found


def _candidates(scheduler: Scheduler, query: JsonObject) -> list[JsonObject]:
    return listed(scheduler, query, MOST_READ)


def listed(scheduler: Scheduler, query: Mapping[str, Any], most: int) -> list[JsonObject]:
    """Return the tasks that fit, the first `most` of them, page by page."""
    found: list[JsonObject] = []
    after = None
    while len(found) < most:
        page = scheduler.get("/api/task", {**query, "limit": min(PAGE, most - len(found)), "after": after})
        found += page["tasks"]
        after = page["next"]
        if after is None:
            break
    return found


def _only(named: str, kind: str, found: Sequence[Any], shown: Callable[[Any], str]) -> Any:
    if len(found) == 1:
        return found[0]
    said = ", ".join(shown(one) for one in sorted(found, key=_urgency)[:MOST_NAMED])
    left = len(found) - MOST_NAMED
    more = f", and {left:,}{' or more' if len(found) >= MOST_READ else ''} more" if left > 0 else ""
    what = f"{line(named)!r} may be any of {len(found):,} {kind}"
    raise CommandError(f"{what}; expected one of: {said}{more}", ExitCode.CONFIG)


def _urgency(one: Any) -> int:
    """What has failed is what somebody looks for."""
    return STATUSES.index(one["status"]) if isinstance(one, dict) and one["status"] in STATUSES else len(STATUSES)


def _whole(named: str) -> str:
    """An id that was copied out of a table ends where that had no more room."""
    return named.strip().removesuffix(MORE).removesuffix("...")
