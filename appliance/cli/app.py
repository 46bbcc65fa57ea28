"""The command line's frame: all commands, and their exit codes. `luigi_ha.appliance.cli.entry` runs it.

Commands that only ask a running scheduler start in a fraction of a second: whatever needs the server's or the
database's packages is imported by the commands that use it. Commands of other packages are found by their entry point
(`luigi_ha.appliance.cli.extra`).
"""

import importlib.metadata
from typing import Annotated

import typer

from luigi_ha.appliance.cli import ask, database, doctor, lab, leadership, serve, token
from luigi_ha.appliance.cli.errors import EXIT_CODES
from luigi_ha.appliance.cli.extra import WithExtraCommands

app = typer.Typer(
    name="luigi-ha",
    cls=WithExtraCommands,
    help="The high-availability central scheduler for Luigi: `luigid`'s protocol, several nodes, one of which leads.",
    epilog=EXIT_CODES,
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


app.command(epilog=EXIT_CODES)(serve.serve)
app.command(epilog=EXIT_CODES)(ask.status)
app.command(epilog=EXIT_CODES)(ask.history)
app.command(epilog=EXIT_CODES)(ask.why)
app.command(epilog=EXIT_CODES)(ask.prune)
app.command(epilog=EXIT_CODES)(leadership.switchover)
app.command(epilog=EXIT_CODES)(leadership.pause)
app.command(epilog=EXIT_CODES)(leadership.resume)
app.command(epilog=EXIT_CODES)(leadership.release)
app.command(epilog=doctor.DOCTOR_CODES)(doctor.doctor)
app.add_typer(database.app, name="db")
app.add_typer(token.app, name="token")
app.add_typer(lab.app, name="lab")
