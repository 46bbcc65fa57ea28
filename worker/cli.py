"""The commands `luigi-ha worker` and `luigi-ha exec`: their options. What they need is imported when they run.

Each option of a worker has a variable, LUIGI_HA_<OPTION>. Where `luigi-ha serve` has an option of that name which means
something else, or must differ between two processes of one machine, it is LUIGI_HA_WORKER_<OPTION>.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from luigi_ha.worker.cli_connection import Connection, connects

Option = typer.Option
NAMED = "@module"  # of --only-modules: those that --module names
OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3  # as luigi-ha's other commands

CODES = "Exit codes: 0 drained, 1 stopped or results left in the spool, 2 wrong usage, 3 refused by the scheduler."
EXEC_CODES = "Exit codes: 2 wrong usage, or no such program (all others are the program's: luigi's 0 is success)."


@connects
def worker(  # noqa: PLR0917 - typer passes them by name
    to: Connection,
    module: Annotated[
        list[str] | None,
        Option(envvar="LUIGI_HA_MODULE", help="Import this module of tasks; repeat it, or use commas."),
    ] = None,
    only_modules: Annotated[
        list[str] | None,
        Option(
            envvar="LUIGI_HA_ONLY_MODULES",
            metavar="[<list[str]>]",
            help="Load tasks of this module, or of modules below it, and of no others; without a value: of --module.",
        ),
    ] = None,
    workers: Annotated[int, Option(envvar="LUIGI_HA_WORKERS", help="Tasks that run at once.")] = 1,
    state_dir: Annotated[
        Path | None,
        Option(envvar="LUIGI_HA_STATE_DIR", help="Its name, spool and logs. [$STATE_DIRECTORY or ./luigi-ha-worker]"),
    ] = None,
    worker_id: Annotated[
        str, Option(envvar="LUIGI_HA_WORKER_ID", help="Its name for the scheduler. [kept in the state directory]")
    ] = "",
    namespaces: Annotated[
        list[str] | None,
        Option(envvar="LUIGI_HA_NAMESPACES", help="Only tasks of these namespaces, or of those below."),
    ] = None,
    families: Annotated[
        list[str] | None, Option(envvar="LUIGI_HA_FAMILIES", help="Only tasks of these families.")
    ] = None,
    capabilities: Annotated[
        list[str] | None,
        Option(envvar="LUIGI_HA_CAPABILITIES", help="What this host has, for tasks that need it."),
    ] = None,
    memory_limit: Annotated[
        str, Option(envvar="LUIGI_HA_MEMORY_LIMIT", help="Of one task with all its processes: 512M, 4G. [none]")
    ] = "0",
    task_timeout: Annotated[
        float, Option(envvar="LUIGI_HA_TASK_TIMEOUT", help="Seconds a task may run. [no limit]")
    ] = 0.0,
    max_tasks: Annotated[int, Option(envvar="LUIGI_HA_MAX_TASKS", help="Drain after so many tasks. [never]")] = 0,
    lost_attempt: Annotated[
        str,
        Option(
            envvar="LUIGI_HA_LOST_ATTEMPT",
            help="A running task was given to another worker: finish (its result is refused) or stop it.",
            autocompletion=lambda: ["finish", "stop"],
        ),
    ] = "finish",
    drain_timeout: Annotated[
        float,
        Option(
            envvar="LUIGI_HA_WORKER_DRAIN_TIMEOUT", help="Seconds until a drain becomes a stop. [as long as it takes]"
        ),
    ] = 0.0,
    kill_grace: Annotated[
        float, Option(envvar="LUIGI_HA_KILL_GRACE", help="Seconds between SIGTERM and SIGKILL for a task.")
    ] = 5.0,
    poll_interval: Annotated[
        float, Option(envvar="LUIGI_HA_POLL_INTERVAL", help="Seconds between questions for work when there was none.")
    ] = 1.0,
    metrics_port: Annotated[
        int | None,
        Option(
            envvar="LUIGI_HA_WORKER_METRICS_PORT",
            min=0,
            max=65535,
            help="/metrics, /health and /ready on this port. [none]",
        ),
    ] = None,
    metrics_host: Annotated[
        str, Option(envvar="LUIGI_HA_WORKER_METRICS_HOST", help="Address for --metrics-port. [all]")
    ] = "",
    log_format: Annotated[str, Option(envvar="LUIGI_HA_LOG_FORMAT", help="json or keyvalue.")] = "json",
    log_level: Annotated[str, Option(envvar="LUIGI_HA_LOG_LEVEL", help="debug, info, warning or error.")] = "info",
    log_output: Annotated[
        bool, Option("--log-output", envvar="LUIGI_HA_LOG_OUTPUT", help="Each line of task output is a log line, too.")
    ] = False,
    output_limit: Annotated[
        str,
        Option(envvar="LUIGI_HA_OUTPUT_LIMIT", help="Bytes kept of one task's output: beginning and end."),
    ] = "1M",
    keep_logs: Annotated[
        int, Option(envvar="LUIGI_HA_KEEP_LOGS", help="Files of output that are kept, the newest ones.")
    ] = 1000,
    unfenced: Annotated[
        bool,
        Option(
            "--unfenced", envvar="LUIGI_HA_UNFENCED", help="Work for a scheduler that does not number attempts."
        ),
    ] = False,
) -> None:
    """Run tasks of any luigi pipeline, as a daemon that keeps them through any outage of the schedulers.

    Example: luigi-ha worker --module etl --workers 4 --scheduler-url http://scheduler:8082

    SIGTERM drains: no new work, what runs finishes and is reported, exit code 0. A second one stops. Results are in the
    state directory until a scheduler has acknowledged them; a worker that is started again with it delivers them.
    """
    from luigi_ha.worker.client import Refused  # noqa: PLC0415 - the command line is quick for those who want another command
    from luigi_ha.worker.daemon import daemon, options  # noqa: PLC0415
    from luigi_ha.worker.spool import HomeError  # noqa: PLC0415

    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # modules beside us, as with `python -m luigi`
    try:
        told: dict[str, Any] = {} if not to.scheduler_urls else {"scheduler_urls": to.scheduler_urls}
        named = options.words(module)
        chosen = options.Options(
            **told, modules=named, only_modules=options.restriction("only-modules", only_modules, {NAMED: named}),
            workers=workers, worker_id=worker_id,
            state_dir=state_dir or Path(os.environ.get("STATE_DIRECTORY", "luigi-ha-worker")),
            namespaces=options.restriction("namespaces", namespaces),
            families=options.restriction("families", families),
            capabilities=options.words(capabilities), memory_limit=options.size(memory_limit),
            task_timeout=task_timeout, max_tasks=max_tasks, lost_attempt=lost_attempt, drain_timeout=drain_timeout,
            kill_grace=kill_grace, poll_interval=poll_interval, token=to.token,
            token_file=to.token_file, tls_ca=to.tls_ca, tls_certificate=to.tls_certificate, tls_key=to.tls_key,
            metrics_host=metrics_host, metrics_port=metrics_port, log_format=log_format, log_level=log_level,
            log_output=log_output, output_limit=options.size(output_limit), keep_logs=keep_logs, unfenced=unfenced,
        )  # fmt: skip
        code = daemon.run(chosen)
    except (options.OptionError, HomeError) as error:
        raise _said(error, USAGE) from None
    except Refused as error:
        raise _said(error, UNREACHABLE) from None
    raise typer.Exit(code)


class WithOptionalValue(TyperCommand):
    """`--only-modules` may come without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        following = [*args[1:], "-"]
        return super().parse_args(
            ctx,
            [
                f"{arg}={NAMED}" if arg == "--only-modules" and after.startswith("-") else arg
                for arg, after in zip(args, following, strict=False)  # there may be none
            ],
        )


worker.luigi_ha_command = {"cls": WithOptionalValue, "epilog": CODES}  # type: ignore[attr-defined]


@connects
def execute(
    to: Connection,
    command: Annotated[list[str], typer.Argument(help="luigi, another command of a Python package, or python FILE.")],
    give_up_after: Annotated[
        float,
        Option(envvar="LUIGI_HA_GIVE_UP_AFTER", min=0, help="Seconds a call waits for a scheduler; 0: for ever."),
    ] = 0.0,
) -> None:
    """Run stock luigi in this process with a connection that never gives up. The exit code is luigi's.

    Example: luigi-ha exec --scheduler-url http://n1:8082,http://n2:8082 -- luigi --module etl Load --date 2024-01-01

    Nothing in the pipeline changes. Without --scheduler-url, luigi's own configuration says where the scheduler is; it
    may name several there, too, separated by commas.
    """
    from luigi_ha.worker import executing  # noqa: PLC0415
    from luigi_ha.worker.client import BadAddress, Credentials, Tls  # noqa: PLC0415

    credentials = Credentials(to.token, to.token_file)
    try:
        tls = Tls(to.tls_ca, to.tls_certificate, to.tls_key)
        executing.patch(to.scheduler_urls, give_up_after or None, credentials, tls)
        code = executing.run(command)
    except (executing.NoCommand, BadAddress) as error:
        raise _said(error, USAGE) from None
    raise typer.Exit(code)


execute.luigi_ha_command = {"epilog": EXEC_CODES}  # type: ignore[attr-defined]


def _said(error: Exception, code: int) -> typer.Exit:
    print(f"luigi-ha: {error}", file=sys.stderr)  # noqa: T201 - to whoever started it
    return typer.Exit(code)
