"""Commands on tasks: task list, show, log, retry, cancel, done."""

from typing import Annotated

import typer

from luigi_ha.appliance.cli import tasks
from luigi_ha.appliance.cli.asking import Json, asks
from luigi_ha.appliance.cli.client import At
from luigi_ha.appliance.cli.errors import asking_codes
from luigi_ha.appliance.cli.naming import STATUSES
from luigi_ha.appliance.cli.signatures import one_of

NAMED = "Its id, its family, or the beginning of either, if only one task is meant."
NO_TASK = "no such task (2: several are meant)"
TaskName = Annotated[str, typer.Argument(metavar="TASK", help=NAMED)]
TaskNames = Annotated[
    list[str], typer.Argument(metavar="TASK...", help="Ids, families, or beginnings of either, each meaning one task.")
]

app = typer.Typer(help="Tasks: find one, see what is wrong, run it again.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog=asking_codes("done, also if there are none"))
@asks
def list_(
    at: At,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only of this status ({', '.join(each.lower() for each in STATUSES)}); repeat it, or use commas.",
            autocompletion=one_of(each.lower() for each in STATUSES),
        ),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only of this family, with its namespace: etl.Load.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this namespace.")] = None,
    worker: Annotated[str | None, typer.Option(help="Only what this worker runs, or ran last.")] = None,
    search: Annotated[str | None, typer.Option(help="Only tasks with this in their id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List tasks, in the order in which they were added: status, family, id, since when, worker.

    The age is the time since the status changed. An id that ends in an ellipsis is as long as it must be to mean one
    task of the list; commands take it as it stands.

    Example: luigi-ha task list --status failed

    Example: luigi-ha task list --status failed,disabled --namespace etl --limit 20
    """
    filters = {"family": family, "namespace": namespace, "worker": worker, "search": search}
    tasks.show_list(at, tasks.statuses(status or []), filters, limit, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_TASK))
@asks
def show(at: At, task: TaskName, as_json: Json = False) -> None:
    """Show a task: status, parameters, runs, dependencies with their statuses, and the whole error of its last failure.

    Example: luigi-ha task show Load
    """
    tasks.show(at, task, as_json=as_json)


@app.command(epilog=asking_codes(failed=f"{NO_TASK}, or no output of it is kept"))
@asks
def log(at: At, task: TaskName, as_json: Json = False) -> None:
    """Print the end of what a task's last run has printed, as its worker sent it (luigi-ha worker does).

    The leader keeps it in memory: after a failover it is only there if it was sent anew. The whole is with the worker,
    as log/TASK.ATTEMPT.log in its state directory. Of a run by stock luigi nothing is kept but the error of a failure.

    Example: luigi-ha task log Load
    """
    tasks.show_log(at, task, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_TASK))
@asks
def retry(at: At, task: TaskNames, as_json: Json = False) -> None:
    """Run tasks again now that have failed, or were disabled or cancelled; their failures are forgiven.

    Example: luigi-ha task retry Load
    """
    tasks.change(at, "retry", task, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_TASK))
@asks
def cancel(
    at: At,
    task: TaskNames,
    reason: Annotated[str, typer.Option(help="Why, for people: `why` and `task show` tell it.")] = "",
    as_json: Json = False,
) -> None:
    """Have tasks run by nobody, until `task retry`. The worker of one that runs is told to stop it.

    Example: luigi-ha task cancel Load --reason 'wrong date'
    """
    tasks.change(at, "cancel", task, {"reason": reason} if reason else {}, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_TASK))
@asks
def done(at: At, task: TaskNames, as_json: Json = False) -> None:
    """Count tasks as done, whether they are or not: what waits for them goes on.

    Example: luigi-ha task done Extract
    """
    tasks.change(at, "done", task, as_json=as_json)
