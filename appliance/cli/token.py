"""Commands on tokens: token create, token list, token revoke. They write the nodes' database, not to a scheduler."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from luigi_ha.appliance.cli.asking import Config, Json
from luigi_ha.appliance.cli.errors import database_codes
from luigi_ha.appliance.cli.node_options import Flags, takes

app = typer.Typer(help="Tokens: who may call the scheduler.", no_args_is_help=True, rich_markup_mode=None)


class RoleName(enum.StrEnum):
    """What a token is for; each may do what those before may."""

    VIEWER = "viewer"
    WORKER = "worker"
    OPERATOR = "operator"


@app.command(epilog=database_codes(failed="there is, or was, a token of that name; or the database refuses it"))
@takes("database")
def create(
    flags: Flags,
    name: Annotated[str, typer.Argument(help="Whose it is: the log shows this name. A name is given once.")],
    role: Annotated[
        RoleName,
        typer.Option(help="viewer: looks; worker: submits and runs tasks; operator: pauses, retries, disables, ..."),
    ],
    expires: Annotated[str, typer.Option(help="How long it is valid: 90d, 12h, 30m, ... [for ever]")] = "",
    output: Annotated[
        Path | None, typer.Option(help="Write it to this new file, mode 0600, instead of to standard output.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, this once: only its digest is kept. Every node knows it two seconds later.

    Callers show it as `Authorization: Bearer TOKEN`, or as the password of any user: http://any:TOKEN@scheduler:8082

    Example: luigi-ha token create nightly-etl --role worker --expires 90d --output nightly-etl.token
    """
    from luigi_ha.appliance.cli import tokens  # noqa: PLC0415 - see appliance.cli.app

    tokens.create(flags["database"], config, name, role.value, expires, output, as_json=as_json)


@app.command("list", epilog=database_codes("done, also if there are none"))
@takes("database")
def list_(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Every token there has been, and whether it is valid. The tokens themselves are nowhere to be seen.

    Example: luigi-ha token list
    """
    from luigi_ha.appliance.cli import tokens  # noqa: PLC0415

    tokens.show(flags["database"], config, as_json=as_json)


@app.command(epilog=database_codes(failed="no such token, or the database refuses it"))
@takes("database")
def revoke(
    flags: Flags,
    token: Annotated[
        str, typer.Argument(metavar="ID", help="Its id or its name, as `luigi-ha token list` shows them.")
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a token be valid no more, two seconds from now on every node that reaches the database. Safe to repeat.

    Example: luigi-ha token revoke 1f6a90c2
    """
    from luigi_ha.appliance.cli import tokens  # noqa: PLC0415

    tokens.revoke(flags["database"], config, token, as_json=as_json)
