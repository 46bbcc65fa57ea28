"""The command that runs a scheduler. Its flags are the options of a node, each of them but the passwords."""

from typing import Annotated

import typer

from luigi_ha.appliance.cli.asking import Config
from luigi_ha.appliance.cli.errors import NO_SCHEMA, exit_codes
from luigi_ha.appliance.cli.node_options import FLAGS, Flags, takes
from luigi_ha.appliance.exit_codes import ExitCode

SERVE_CODES = exit_codes(
    {
        ExitCode.OK: "it was asked to end, or --check finds nothing wrong",
        ExitCode.FAILED: "an error nobody expected, or it did not stop in time",
        ExitCode.CONFIG: "configuration, port taken, etcd refuses us, no permission for the address",
        ExitCode.UNREACHABLE: "the database or etcd was not reached",
        ExitCode.FENCED: "fenced: a newer scheduler has taken over the database",
        ExitCode.SCHEMA: NO_SCHEMA,
    }
)


@takes(*FLAGS)
def serve(
    flags: Flags,
    config: Config = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only validate, and print every option with its source.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON, for programs.")] = False,
) -> None:
    """Run a scheduler node until SIGTERM.

    Example: luigi-ha serve --database sqlite:////var/lib/luigi-ha/luigi-ha.db

    The same command twice on one machine is a pair: one leads, the other takes over when it dies. Nodes on several
    machines share an etcd and a PostgreSQL:

    Example: luigi-ha serve --database postgresql://luigi@n1,n2/luigi --etcd-endpoints http://n1:2379,http://n2:2379

    With `--vip 10.0.0.100/32 --vip-interface eth0` an address moves with the leader.

    Every option can also be a variable (LUIGI_HA_PORT=8082) or a line of the TOML file (port = 8082); flags win over
    variables, those over the file, the file over luigi.cfg, found where luigi looks for it. The sections [scheduler],
    [resources], [cors] and [email] have no flags (docs/configuration.md; --check prints all options). A database
    password belongs into LUIGI_HA_DATABASE_PASSWORD or the file named by database_password_file.
    """
    from luigi_ha.appliance.cli import running  # noqa: PLC0415 - see appliance.cli.app

    if check:
        running.check(flags, config, as_json=as_json)
    else:
        raise typer.Exit(running.run(flags, config))
