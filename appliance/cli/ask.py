"""Commands that ask a running scheduler: status, history, why, prune."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from appliance.cli.client import DEFAULT_URL, ask
from appliance.cli.errors import CommandError
from appliance.exit_codes import ExitCode

Url = Annotated[str, typer.Option("--url", envvar="LUIGI_HA_URL", help="Where the scheduler listens.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
TaskId = Annotated[str, typer.Argument(help="The task's id, as the visualiser and the logs show it.")]


def status(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Who leads, since when, how the database does, and what happens if that machine dies now.

    Example: luigi-ha status --url http://scheduler:8082
    """
    state = ask(url, "/api/cluster")
    if as_json:
        print(json.dumps(state, indent=2))
    else:
        _print_status(state)
    if not state.get("ready"):
        raise typer.Exit(ExitCode.UNREACHABLE)


def history(
    task_id: TaskId,
    url: Url = DEFAULT_URL,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest ones.")] = 1000,
    as_json: Json = False,
) -> None:
    """Everything that happened to a task, oldest first.

    Example: luigi-ha history Extract_2024_01_01_94d1f3bd50
    """
    found = ask(url, f"/api/task/{quote(task_id, safe='')}/history?limit={limit}")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for entry in found["history"]:
        words = [_moment(entry["at"]), f"{entry['status']:<13}", f"by {entry['method']}"]
        words += [f"{name}={entry[name]}" for name in ("attempt", "worker_id", "actor", "run_id") if entry.get(name)]
        print(" ".join([*words, f"epoch={entry['epoch']} seq={entry['seq']}"]))


def why(task_id: TaskId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Why a task is not running: one sentence, then the facts behind it.

    Example: luigi-ha why Load_2024_01_01_3c1b5f0e7a
    """
    found = ask(url, f"/api/task/{quote(task_id, safe='')}/why")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['task_id']} is {found['status']}: {found['reason']}")
    for fact in found["facts"]:
        print("  " + (", ".join(f"{k}={v}" for k, v in fact.items()) if isinstance(fact, dict) else str(fact)))


def prune(url: Url = DEFAULT_URL) -> None:
    """Forget silent workers and finished tasks now, instead of within a minute.

    Example: luigi-ha prune
    """
    reply = ask(url, "/api/prune", post=True)
    if not isinstance(reply, dict) or "response" not in reply:
        raise CommandError(f"{url} answers, but not as a scheduler does", ExitCode.UNREACHABLE)
    print("pruned")


def _print_status(state: dict[str, Any]) -> None:
    journal = state.get("journal") or {}
    leader = state.get("leader") or "nobody"
    tasks = ", ".join(f"{count} {name}" for name, count in sorted(state.get("tasks", {}).items()) if count) or "none"
    lines = [
        ("leader", f"{leader} ({state['state']} since {_moment(state['since'])}, epoch {state['epoch']})"),
        (
            "database",
            f"{state.get('database')} ({journal.get('state', 'not open')}, {journal.get('committed', 0)} events)",
        ),
        ("tasks", tasks + (" (paused: none is handed out)" if state.get("paused") else "")),
        ("workers", str(state.get("workers", 0))),
        ("calls waiting", f"{state['calls_parked']} at the gate, {state['calls_waiting_for_commit']} for their commit"),
        ("degraded", "; ".join(state["degraded"]) or "no"),
        ("if this machine dies now", state["if_this_machine_dies"]),
    ]
    for name, value in lines:
        print(f"{name + ':':<26}{value}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
