"""The command line's frame: all commands, and their exit codes. `luigi_ha.appliance.cli.entry` runs it.

Commands that only ask a running scheduler start in a fraction of a second: whatever needs the server's or the
database's packages is imported by the commands that use it. Commands of other packages are found by their entry point
(`luigi_ha.appliance.cli.extra`).
"""

import importlib.metadata
from typing import Annotated

import typer

from luigi_ha.appliance.cli import (
    ask,
    database,
    doctor,
    lab,
    leadership,
    resource,
    scheduler,
    serve,
    task,
    token,
    verify,
    worker,
)
from luigi_ha.appliance.cli.errors import ALL_CODES
from luigi_ha.appliance.cli.extra import WithExtraCommands
from luigi_ha.appliance.cli.watching import WithWatch

app = typer.Typer(
    name="luigi-ha",
    cls=WithExtraCommands,
    help="The high-availability central scheduler for Luigi: `luigid`'s protocol, several nodes, one of which leads.",
    epilog=ALL_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(asked: bool) -> None:
    if asked:
        print("luigi-ha", importlib.metadata.version("luigi-ha"))
        raise typer.Exit


@app.callback()
def _frame(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The high-availability central scheduler for Luigi: `luigid`'s protocol, several nodes, one of which leads."""


app.command(epilog=serve.SERVE_CODES)(serve.serve)
app.command(epilog=ask.STATUS_CODES, cls=WithWatch)(ask.status)
app.add_typer(task.app, name="task")
app.command(epilog=ask.WHY_CODES)(ask.why)
app.command(epilog=ask.HISTORY_CODES)(ask.history)
app.command(epilog=ask.FAILOVERS_CODES)(ask.failovers)
app.command(epilog=ask.INCIDENT_CODES)(ask.incident)
app.add_typer(worker.app, name="worker")
app.add_typer(resource.app, name="resource")
app.add_typer(scheduler.app, name="scheduler")
app.command(epilog=ask.PRUNE_CODES)(ask.prune)
app.command(epilog=leadership.SWITCHOVER_CODES)(leadership.switchover)
app.command(epilog=leadership.PAUSE_CODES)(leadership.pause)
app.command(epilog=leadership.RESUME_CODES)(leadership.resume)
app.command(epilog=leadership.RELEASE_CODES)(leadership.release)
app.command(epilog=doctor.DOCTOR_CODES)(doctor.doctor)
app.add_typer(database.app, name="db")
app.command("verify-history", epilog=verify.VERIFY_CODES)(verify.verify_history)
app.add_typer(token.app, name="token")
app.add_typer(lab.app, name="lab")
