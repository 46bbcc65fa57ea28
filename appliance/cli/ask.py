"""Commands that ask a running scheduler: status, history, why, prune."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from luigi_ha.appliance.cli.client import DEFAULT_URL, At, ask
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.shown import failover, line, moment, shown, told
from luigi_ha.appliance.exit_codes import ExitCode

Url = Annotated[str, typer.Option("--url", envvar="LUIGI_HA_URL", help="Where the scheduler listens.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="LUIGI_HA_TOKEN_FILE", help="File whose first line is our token; or set LUIGI_HA_TOKEN."
    ),
]
Ca = Annotated[
    str,
    typer.Option(
        "--tls-ca", envvar="LUIGI_HA_TLS_CA", help="Authorities that signed the scheduler's certificate. [the system's]"
    ),
]
Certificate = Annotated[
    str,
    typer.Option("--tls-certificate", envvar="LUIGI_HA_TLS_CERTIFICATE", help="Ours, if the scheduler asks for it."),
]
Key = Annotated[str, typer.Option("--tls-key", envvar="LUIGI_HA_TLS_KEY", help="Its key.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TaskId = Annotated[str, typer.Argument(help="The task's id, as the visualiser and the logs show it.")]


def status(
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    tls_ca: Ca = "",
    tls_certificate: Certificate = "",
    tls_key: Key = "",
    as_json: Json = False,
) -> None:
    """Who leads, since when, how each node and the database are, and what happens if a machine dies now.

    Any node answers, the one that leads or another. Exit code 3 if none leads and executes calls.

    Example: luigi-ha status --url http://scheduler:8082
    """
    state = ask(At(url, token_file, tls_ca, tls_certificate, tls_key), "/api/cluster")
    if as_json:
        print(json.dumps(state, indent=2))
    else:
        shown(state)
    if not any(node["leading"] and node["ready"] for node in state.get("nodes", [])):
        raise typer.Exit(ExitCode.UNREACHABLE)


def history(
    task_id: Annotated[str, typer.Argument(help="A task's id, or the word failovers: who led when, and why.")],
    url: Url = DEFAULT_URL,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest ones.")] = 1000,
    token_file: TokenFile = None,
    tls_ca: Ca = "",
    tls_certificate: Certificate = "",
    tls_key: Key = "",
    as_json: Json = False,
) -> None:
    """Everything that happened to a task, oldest first; or, with the word failovers, to the leadership.

    Example: luigi-ha history Extract_2024_01_01_94d1f3bd50

    Example: luigi-ha history failovers
    """
    at = At(url, token_file, tls_ca, tls_certificate, tls_key)
    if task_id == "failovers":
        _failovers(at, limit, as_json=as_json)
        return
    found = ask(at, f"/api/task/{quote(task_id, safe='')}/history?limit={limit}")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for entry in found["history"]:
        words = [moment(entry["at"]), f"{entry['status']:<13}", f"by {entry['method']}"]
        words += [f"{name}={entry[name]}" for name in ("attempt", "worker_id", "actor", "run_id") if entry.get(name)]
        words += [f"after={entry['seconds']:.1f}s"] if entry.get("seconds") is not None else []
        said = [f"{name}: {line(entry[name])}" for name in ("error", "reason") if entry.get(name)]
        print(" ".join([*words, f"epoch={entry['epoch']} seq={entry['seq']}", *said]))


def _failovers(at: At, limit: int, *, as_json: bool) -> None:
    found = ask(at, f"/api/cluster/failovers?limit={limit}")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(failover(each) for each in found["failovers"]) or "none recorded")


def why(
    task_id: TaskId,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    tls_ca: Ca = "",
    tls_certificate: Certificate = "",
    tls_key: Key = "",
    as_json: Json = False,
) -> None:
    """Why a task is not running: one sentence, then the facts behind it.

    Example: luigi-ha why Load_2024_01_01_3c1b5f0e7a
    """
    found = ask(At(url, token_file, tls_ca, tls_certificate, tls_key), f"/api/task/{quote(task_id, safe='')}/why")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['task_id']} is {found['status']}: {line(found['reason'])}")
    for fact in found["facts"]:
        print("  " + (", ".join(f"{k}={told(k, v)}" for k, v in fact.items()) if isinstance(fact, dict) else str(fact)))


def prune(
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    tls_ca: Ca = "",
    tls_certificate: Certificate = "",
    tls_key: Key = "",
) -> None:
    """Forget silent workers and finished tasks now, instead of within a minute.

    Example: luigi-ha prune
    """
    reply = ask(At(url, token_file, tls_ca, tls_certificate, tls_key), "/api/prune", post=True)
    if not isinstance(reply, dict) or "response" not in reply:
        raise CommandError(f"{url} answers, but not as a scheduler does", ExitCode.UNREACHABLE)
    print("pruned")
