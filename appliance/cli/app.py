"""The command line's frame: the commands, their exit codes, and errors as one line instead of a traceback."""

import sys

import typer

from appliance.cli import ask, database, serve
from appliance.cli.errors import EXIT_CODES, CommandError
from appliance.config import ConfigError
from appliance.node import ExitCode
from appliance.store import BadUrl, DatabaseAway, SchemaMissing, SchemaTooNew, StoreError

app = typer.Typer(
    name="luigi-ha",
    help="A durable central scheduler for Luigi: `luigid`'s protocol, with its state in a database.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(epilog=EXIT_CODES)(serve.serve)
app.command(epilog=EXIT_CODES)(ask.status)
app.command(epilog=EXIT_CODES)(ask.history)
app.command(epilog=EXIT_CODES)(ask.why)
app.command(epilog=EXIT_CODES)(ask.prune)
app.add_typer(database.app, name="db")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code. What a user did wrong is told in one line."""
    code = ExitCode.FAILED
    try:
        app(args=arguments)
    except ConfigError as error:
        code, message = ExitCode.CONFIG, str(error)
    except CommandError as error:
        code, message = error.code, str(error)
    except BadUrl as error:
        code, message = ExitCode.CONFIG, str(error)
    except (SchemaMissing, SchemaTooNew) as error:
        code, message = ExitCode.SCHEMA, str(error)
    except DatabaseAway as error:
        code, message = ExitCode.UNREACHABLE, str(error)
    except StoreError as error:
        message = str(error)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left; nobody to tell
        sys.exit(ExitCode.OK)
    else:
        return
    print(f"luigi-ha: {message}", file=sys.stderr)
    sys.exit(code)
