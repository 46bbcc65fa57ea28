"""`luigi-ha verify-history`: the flags; what it does is in `verifying`."""

import typer

from luigi_ha.appliance.cli.asking import Config, Json
from luigi_ha.appliance.cli.errors import NO_DATABASE, NO_SCHEMA, USAGE, exit_codes
from luigi_ha.appliance.cli.node_options import Flags, takes
from luigi_ha.appliance.exit_codes import ExitCode

VERIFY_CODES = exit_codes(
    {
        ExitCode.OK: "every check was made, and nothing is wrong",
        ExitCode.FAILED: "something is wrong",
        ExitCode.CONFIG: USAGE,
        ExitCode.UNREACHABLE: NO_DATABASE,
        ExitCode.SCHEMA: NO_SCHEMA,
        ExitCode.INCONCLUSIVE: "nothing is wrong as far as it can be checked: the log is empty, or its beginning gone",
    }
)


@takes("database")
def verify_history(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Check the log of all changes in the database: complete, in order, unchanged, and such as no double run makes.

    Asks the database alone, and may be run at any time, on a backup too. The checks: dense, chain, epochs, time,
    columns, transitions (docs/operations.md says what each finds).

    Example: luigi-ha verify-history --database sqlite:////var/lib/luigi-ha/luigi-ha.db
    """
    from luigi_ha.appliance.cli import verifying  # noqa: PLC0415 - see appliance.cli.app

    raise typer.Exit(verifying.verify_history(flags["database"], config, as_json=as_json))
