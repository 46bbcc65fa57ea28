"""`luigi-ha drill`: the flags; what the commands do is in `deeds`."""

from pathlib import Path
from typing import Annotated

import typer

from luigi_ha.appliance.cli.asking import Config, Json, TokenFile
from luigi_ha.appliance.cli.errors import USAGE, exit_codes
from luigi_ha.appliance.config.sources import SYSTEM_TOML
from luigi_ha.appliance.exit_codes import ExitCode

RUN_CODES = exit_codes(
    {
        ExitCode.OK: "passed: every fault bit, and no check found anything",
        ExitCode.FAILED: "failed: a check found something; or the place was not well to begin with",
        ExitCode.CONFIG: USAGE,
        ExitCode.INCONCLUSIVE: "inconclusive: a fault did not bite, or too little was seen",
    }
)
VERIFY_CODES = exit_codes(
    {
        ExitCode.OK: "the report is what was signed, and its rounds passed, judged again",
        ExitCode.FAILED: "it is not; or its rounds did not pass",
        ExitCode.CONFIG: f"{USAGE}, or no report there",
        ExitCode.INCONCLUSIVE: "it is what was signed, and its verdict is: inconclusive",
    }
)
LIST_CODES = exit_codes({ExitCode.OK: "done", ExitCode.CONFIG: USAGE})
SCHEDULE_CODES = exit_codes(
    {
        ExitCode.OK: "written",
        ExitCode.FAILED: "it could not be written",
        ExitCode.CONFIG: f"{USAGE}, or no cluster that could be drilled",
    }
)
Reports = Annotated[
    Path | None,
    typer.Option(
        envvar="LUIGI_HA_REPORTS",
        help="Where the reports of drills are kept, each in a directory of its own. "
        "[~/.local/state/luigi-ha/drills; on hosts drill_reports of the configuration]",
    ),
]
Report = Annotated[Path, typer.Argument(metavar="REPORT", help="The directory of a report.")]
app = typer.Typer(
    help="Break a scheduler on purpose: a verdict to trust, and a report to file.", no_args_is_help=True,
    rich_markup_mode=None, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.command("list", epilog=LIST_CODES)
def list_(as_json: Json = False) -> None:
    """The faults, and the checks that each round is judged by.

    Example: luigi-ha drill list
    """
    from luigi_ha.appliance.drill import deeds  # noqa: PLC0415 - see appliance.cli.app

    deeds.show_faults(as_json=as_json)


@app.command(epilog=RUN_CODES)
def run(
    faults: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FAULT]...",
            help="See `drill list`; ONE+TWO for two in a row. [kill-scheduler kill-node switchover]",
        ),
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How often each fault strikes.")] = 1,
    random: Annotated[
        int,
        typer.Option(min=0, max=10_000, help="So many faults at random instead, every third with another after it."),
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the moments and choices of faults. [one by the clock, told]"),
    ] = None,
    on: Annotated[
        str,
        typer.Option(
            help="Where: pair (two nodes on this machine) or lab (three hosts in namespaces, as root), made for it; "
            "hosts: your own cluster, with safe faults only.",
        ),
    ] = "pair",
    load: Annotated[
        str,
        typer.Option(
            help="Who runs a pipeline through each fault: luigi (a stock one), workers (`luigi-ha submit` and two "
            "`luigi-ha worker`s), or none."
        ),
    ] = "luigi",
    retry_wait: Annotated[
        float, typer.Option(min=1.0, max=600.0, help="luigi's rpc-retry-wait in seconds; its own default is 30.")
    ] = 5.0,
    safe: Annotated[bool, typer.Option("--safe", help="Only faults that do a cluster in use no harm.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before your own hosts are struck.")] = False,
    config: Config = None,
    reports: Reports = None,
    as_json: Json = False,
) -> None:
    """Strike faults, one after the other, while clients call and a pipeline of stock luigi runs; judge, and report.

    From nothing to a report, which says PASSED, FAILED or INCONCLUSIVE; about twenty seconds for each fault. Everything
    that it needs is started for it and ended afterwards. On your own hosts (a node's --config) it asks first, and does
    not begin while anything is degraded.

    Example: luigi-ha drill run kill-scheduler switchover --rounds 2
    """
    from luigi_ha.appliance.drill import deeds  # noqa: PLC0415
    from luigi_ha.appliance.drill.rounds import Settings  # noqa: PLC0415

    settings = Settings(load, retry_wait=retry_wait)
    asked = deeds.Asked(faults or [], rounds, random, seed, on, settings, safe, config, yes)
    raise typer.Exit(deeds.run(asked, reports, as_json=as_json))


@app.command(epilog=VERIFY_CODES)
def verify(
    report: Report,
    key: Annotated[str, typer.Option(help="The public key (base64) that must have signed it. [any]")] = "",
    as_json: Json = False,
) -> None:
    """Check a report again: its signature, the hashes of its records, the report before it; and judge each round anew.

    Example: luigi-ha drill verify ~/.local/state/luigi-ha/drills/2026-11-30T09-00-00Z-pair
    """
    from luigi_ha.appliance.drill import deeds  # noqa: PLC0415

    raise typer.Exit(deeds.verify(report, key, as_json=as_json))


@app.command(epilog=VERIFY_CODES)
def show(report: Report, as_json: Json = False) -> None:
    """A report's table, and what was wrong. It is checked again first.

    Example: luigi-ha drill show ~/.local/state/luigi-ha/drills/2026-11-30T09-00-00Z-pair
    """
    from luigi_ha.appliance.drill import deeds  # noqa: PLC0415

    raise typer.Exit(deeds.show(report, as_json=as_json))


@app.command(epilog=SCHEDULE_CODES)
def schedule(
    faults: Annotated[
        list[str] | None, typer.Argument(metavar="[FAULT]...", help="Safe ones of `drill list`. [switchover]")
    ] = None,
    *,
    calendar: Annotated[str, typer.Option(help="When, as systemd's OnCalendar= has it.")] = "Sun 03:00",
    config: Config = None,
    user: Annotated[str, typer.Option(help="As whom it runs: the nodes' own user.")] = "luigi-ha",
    token_file: TokenFile = None,
    units: Annotated[Path, typer.Option(help="Where the units are written.")] = Path("/etc/systemd/system"),
    as_json: Json = False,
) -> None:
    """Write a timer of systemd that drills this host's cluster, and say how it is switched on.

    On one host of a cluster is enough. `luigi-ha status` and the metrics show the last verdict and its age.

    Example: luigi-ha drill schedule --calendar 'Sun 03:00' --config /etc/luigi-ha/luigi-ha.toml
    """
    from luigi_ha.appliance.drill import schedule as scheduled  # noqa: PLC0415

    at = (config or SYSTEM_TOML).absolute()
    wanted = scheduled.Wanted(faults or ["switchover"], calendar, at, user, token_file and token_file.absolute())
    scheduled.write(wanted, units, as_json=as_json)
