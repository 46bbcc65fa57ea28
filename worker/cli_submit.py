"""The command `luigi-ha submit`: its options, and its exit codes. What it needs is imported when it runs."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luigi_ha.worker.cli_connection import Connection, connects

if TYPE_CHECKING:
    from luigi_ha.worker.client import PatientScheduler, Tls
    from luigi_ha.worker.submitting.submission import Outcome

Option = typer.Option
DONE, FAILED, USAGE, UNREACHABLE, WAITING, INTERRUPTED = 0, 1, 2, 3, 4, 130

CODES = (
    "Exit codes: 0 submitted (with --wait: done), 1 failed, 2 wrong usage, or a task that cannot be loaded or whose "
    "dependencies cannot be resolved: nothing was submitted, 3 the scheduler refused it or did not answer, "
    "4 not finished within --timeout, 130 interrupted while it waited. After 1, 3, 4 and 130 what was submitted stays: "
    "workers go on with it."
)


@connects
def submit(  # noqa: PLR0917 - typer passes them by name
    to: Connection,
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="TASK", help="As for `luigi`: the family, and --parameter value ..."),
    ],
    module: Annotated[str, Option(envvar="LUIGI_HA_MODULE", help="The Python module that defines it.")],
    wait: Annotated[bool, Option("--wait", help="Wait for the outcome, with progress on stderr.")] = False,
    timeout: Annotated[float, Option(min=0, help="Seconds to wait at most. [as long as it takes]")] = 0.0,
    through_retries: Annotated[
        bool, Option("--through-retries", help="A task that failed and will be retried is no outcome yet.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the outcome as JSON, for programs.")] = False,
    verbose: Annotated[bool, Option("--verbose", help="Luigi's own messages, with tracebacks.")] = False,
    give_up_after: Annotated[
        float,
        Option(envvar="LUIGI_HA_GIVE_UP_AFTER", min=0, help="Seconds a call waits for a scheduler; 0: for ever."),
    ] = 60.0,
) -> None:
    """Submit a task with all that it depends on: workers run it, and it is kept until it is done or cancelled.

    Example: luigi-ha submit --module etl Load --date 2026-05-01

    Example: luigi-ha submit --module etl --wait --json Load --date 2026-05-01

    luigi itself finds out what the task depends on and what of that is complete already; nothing is submitted unless
    all of it could be found out. Options of this command may stand anywhere; a parameter of the same name comes after
    `--` (luigi-ha submit --module etl -- Load --timeout 5). Without --scheduler-url luigi's own configuration says
    where the scheduler is.
    """
    from luigi_ha.worker import log  # noqa: PLC0415 - the command line is quick for those who want another command
    from luigi_ha.worker.client import BadAddress, CallError, Tls  # noqa: PLC0415
    from luigi_ha.worker.submitting import resolving, submission  # noqa: PLC0415

    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # modules beside us, as with `python -m luigi`
    log.configure_beside_others()
    resolving.quiet(verbose=verbose)
    _check(token_file=to.token_file, tls_ca=to.tls_ca, tls_certificate=to.tls_certificate, tls_key=to.tls_key)
    try:
        plan = resolving.resolve(module, arguments)
        tls = Tls(to.tls_ca, to.tls_certificate, to.tls_key)
        client = _client(to.scheduler_urls or [plan.url], give_up_after, to.token_file, tls)
    except (resolving.Unresolved, BadAddress) as error:
        raise _ended(str(error), USAGE) from None
    except KeyboardInterrupt:  # of a person, or raised by a task
        raise _ended("interrupted while it found out what there is to do: nothing was submitted", INTERRUPTED) from None
    for note in plan.notes:
        _say(f"luigi-ha: {note}")
    submitted = False
    try:
        outcome = submission.send(client, plan, _say)
        submitted = True
        if wait:
            outcome = submission.wait(client, plan, _say, timeout=timeout, through_retries=through_retries)
    except CallError as error:
        told = (
            "it was submitted, and its outcome is not known" if submitted else "it may be submitted in part: try again"
        )
        raise _ended(f"{error}; {told}", UNREACHABLE) from None
    except KeyboardInterrupt:
        told = "no longer waiting: workers go on with it" if submitted else "interrupted: nothing lasting was submitted"
        raise _ended(told, INTERRUPTED) from None
    finally:
        client.close()
    print(json.dumps(outcome.shown(), indent=2) if as_json else _sentence(outcome))
    raise typer.Exit({submission.FAILED: FAILED, submission.WAITING: WAITING}.get(outcome.outcome, DONE))


submit.luigi_ha_command = {  # type: ignore[attr-defined]
    "epilog": CODES,
    "context_settings": {"ignore_unknown_options": True, "max_content_width": 110},
}


def _client(urls: list[str], give_up_after: float, token_file: Path | None, tls: "Tls") -> "PatientScheduler":
    """BadAddress."""
    from luigi_ha.worker.client import Credentials, Patience, PatientScheduler, parse_addresses  # noqa: PLC0415 - as above

    credentials = Credentials(os.environ.get("LUIGI_HA_TOKEN", ""), token_file)
    return PatientScheduler(parse_addresses(urls), Patience(give_up_after=give_up_after or None), credentials, tls)


def _check(**files: Path | None) -> None:
    """Exit if a file that was named cannot be read."""
    for name, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            raise _ended(f"--{name.replace('_', '-')}: {path} cannot be read", USAGE)


def _sentence(outcome: "Outcome") -> str:
    plan, tasks = outcome.plan, len(outcome.plan.tasks)
    if outcome.outcome == "submitted":
        return (
            f"{plan.root}: submitted, {tasks - plan.complete} tasks to be done, {plan.complete} were complete already"
        )
    lines = [f"{plan.root}: {outcome.outcome} after {outcome.seconds:.1f} s"]
    lines += [
        f"  {task['task_id']} is {task['status']}: {task['error'] or 'nobody can run it'}" for task in outcome.culprits
    ]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ended(told: str, code: int) -> typer.Exit:
    print(f"luigi-ha: {told}", file=sys.stderr)
    return typer.Exit(code)
