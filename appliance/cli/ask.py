"""Commands that ask a running scheduler: status, history, why, prune."""

import json
from typing import Annotated

import typer

from luigi_ha.appliance.cli import watching
from luigi_ha.appliance.cli.asking import Json, asks
from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.errors import USAGE, asking_codes, exit_codes
from luigi_ha.appliance.cli.incident_page import incident_page
from luigi_ha.appliance.cli.naming import remembered, task_path
from luigi_ha.appliance.cli.shown import failover, line, moment, shown, told
from luigi_ha.appliance.exit_codes import ExitCode

STATUS_CODES = exit_codes(
    {
        ExitCode.OK: "a node leads and executes calls; --watch: interrupted",
        ExitCode.FAILED: "refused by the scheduler",
        ExitCode.CONFIG: USAGE,
        ExitCode.UNREACHABLE: "no scheduler answers, or nobody leads",
    }
)
FORGOTTEN = "no such task, and none is remembered (2: several are meant)"
TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="Its id, its family, or the beginning of either, if only one is meant.")
]


@asks
def status(
    at: At,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="[SECONDS]", help="Show it again every so many seconds, 2 if none are said, until Ctrl-C."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Who leads, since when, how each node and the database are, and what happens if a machine dies now.

    Any node answers, the one that leads or another. With --watch an outage is shown as it is, and does not end it; with
    --json too, each state is one line.

    Example: luigi-ha status

    Example: luigi-ha status --scheduler-url http://n1:8082,http://n2:8082

    Example: luigi-ha status --watch 5
    """
    scheduler = Scheduler(at)
    if watch is not None:
        watching.watch(lambda: scheduler.get("/api/cluster"), shown, watch, as_json=as_json)
        return
    state = scheduler.get("/api/cluster")
    print(json.dumps(state, indent=2) if as_json else shown(state))
    if not any(node["leading"] and node["ready"] for node in state.get("nodes", [])):
        raise typer.Exit(ExitCode.UNREACHABLE)


@asks
def history(
    at: At,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="Its id, its family, or the beginning of either.",
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest ones.")] = 1000,
    as_json: Json = False,
) -> None:
    """Everything that happened to a task, oldest first.

    Example: luigi-ha history Load
    """
    scheduler = Scheduler(at)
    if task == "failovers" and scheduler.find(task_path(task)) is None:  # its name before there was such a command
        _failovers(scheduler, limit, as_json=as_json)
        return
    found = remembered(scheduler, task, "/history", {"limit": limit})
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for entry in found["history"]:
        words = [moment(entry["at"]), f"{entry['status']:<13}", f"by {entry['method']}"]
        words += [f"{name}={entry[name]}" for name in ("attempt", "worker_id", "actor", "run_id") if entry.get(name)]
        words += [f"after={entry['seconds']:.1f}s"] if entry.get("seconds") is not None else []
        said = [f"{name}: {line(entry[name])}" for name in ("error", "reason") if entry.get(name)]
        print(line(" ".join([*words, f"epoch={entry['epoch']} seq={entry['seq']}", *said])))


@asks
def failovers(
    at: At,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest ones.")] = 1000,
    as_json: Json = False,
) -> None:
    """Who led when, why, and how long nobody did: each change of leader, oldest first.

    Example: luigi-ha failovers
    """
    _failovers(Scheduler(at), limit, as_json=as_json)


@asks
def incident(
    at: At,
    number: Annotated[int, typer.Argument(min=1, max=100_000, help="1: the last one; 2: the one before; ...")] = 1,
    as_json: Json = False,
) -> None:
    """A change of leader that nobody had wanted, as a page: its cause, who waited, and what happened, in ms.

    Markdown, to be filed or sent. The new leader wrote it down itself; its log has the same lines, and more.

    Example: luigi-ha incident
    """
    found = Scheduler(at).get("/api/cluster/incident", {"number": number})
    print(json.dumps(found, indent=2) if as_json else incident_page(found))


def _failovers(scheduler: Scheduler, limit: int, *, as_json: bool) -> None:
    found = scheduler.get("/api/cluster/failovers", {"limit": limit})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(failover(each) for each in found["failovers"]) or "none recorded")


@asks
def why(at: At, task: TaskName, as_json: Json = False) -> None:
    """Why a task is not running: one sentence, then the facts behind it.

    Example: luigi-ha why Load
    """
    scheduler = Scheduler(at)
    found = remembered(scheduler, task, "/why")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{line(found['task_id'])} is {found['status']}: {line(found['reason'])}")
    for fact in found["facts"]:
        print("  " + ", ".join(f"{name}={told(name, value)}" for name, value in fact.items()))


@asks
def prune(at: At, as_json: Json = False) -> None:
    """Forget silent workers and finished tasks now, instead of within a minute.

    Example: luigi-ha prune
    """
    Scheduler(at).call("prune")
    print(json.dumps({"pruned": True}) if as_json else "pruned")


HISTORY_CODES = asking_codes(failed=FORGOTTEN)
WHY_CODES = asking_codes(failed=FORGOTTEN)
FAILOVERS_CODES = asking_codes()
INCIDENT_CODES = asking_codes(failed="there is no such incident")
PRUNE_CODES = asking_codes()
