"""Commands on workers: worker list, drain, undrain. (`luigi-ha worker` itself runs one: luigi_ha.worker.cli.)"""

from typing import Annotated

import typer

from luigi_ha.appliance.cli import workers
from luigi_ha.appliance.cli.asking import Json, asks
from luigi_ha.appliance.cli.client import At
from luigi_ha.appliance.cli.errors import asking_codes

NO_WORKER = "no such worker (2: several are meant)"
WorkerNames = Annotated[
    list[str],
    typer.Argument(metavar="WORKER...", help="Ids, hosts, or the beginnings of ids, each meaning one worker."),
]

app = typer.Typer(
    help="Run tasks as a daemon (see below); or, of the workers of a scheduler: list, drain, undrain.",
    rich_markup_mode=None,
)


@app.command("list", epilog=asking_codes("done, also if there are none"))
@asks
def list_(at: At, as_json: Json = False) -> None:
    """List the workers that were heard of lately, and those that are drained: state, id, tasks, last word.

    Example: luigi-ha worker list
    """
    workers.show_list(at, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_WORKER))
@asks
def drain(at: At, worker: WorkerNames, as_json: Json = False) -> None:
    """Give workers no new work; what they run they finish. They stay drained when they are started again.

    Example: luigi-ha worker drain etl-1
    """
    workers.change(at, "drain", worker, as_json=as_json)


@app.command(epilog=asking_codes(failed=NO_WORKER))
@asks
def undrain(at: At, worker: WorkerNames, as_json: Json = False) -> None:
    """Give drained or disabled workers work again, whether they are there or not.

    Example: luigi-ha worker undrain etl-1
    """
    workers.change(at, "undrain", worker, as_json=as_json)
