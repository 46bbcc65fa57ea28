"""`luigi-ha exec`: somebody else's command in this process, with our client in place of luigi's.

Wherever luigi, or what is built on it, makes a RemoteScheduler from now on, it gets a PatientScheduler. Processes that
the command forks have it too; programs that it starts do not.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import luigi.rpc

from luigi_ha.worker import log
from luigi_ha.worker.client import Credentials, Patience, PatientScheduler, Tls, parse_addresses


class NoCommand(Exception):  # noqa: N818
    """There is no such command to run in this process."""


def patch(urls: Sequence[str], give_up_after: float | None, credentials: Credentials, tls: Tls) -> None:
    """Replace luigi's client. BadAddress."""
    fixed = parse_addresses(urls) if urls else None
    patience = Patience(give_up_after=give_up_after)

    class Scheduler(PatientScheduler):
        """Made as luigi's is made."""

        def __init__(self, url: str = "http://localhost:8082/", connect_timeout: Any = None) -> None:  # noqa: ARG002
            super().__init__(fixed or parse_addresses([url]), patience, credentials, tls)

    luigi.rpc.RemoteScheduler = Scheduler  # type: ignore[misc]
    log.configure_beside_others()


def run(command: Sequence[str]) -> int:
    """Run it as its own process would; its exit code. NoCommand."""
    name, *arguments = command
    program = Path(name).name
    if program in ("python", "python3"):
        if not arguments or (arguments[0] == "-m" and len(arguments) < 2) or arguments[0] == "-c":
            raise NoCommand("python FILE and python -m MODULE can be run in this process, nothing else of python")
        if arguments[0] == "-m":
            return _ended(lambda: runpy.run_module(arguments[1], run_name="__main__", alter_sys=True), arguments[1:])
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        return _ended(lambda: runpy.run_path(arguments[0], run_name="__main__"), arguments)
    found = list(metadata.entry_points(group="console_scripts", name=program))
    if not found:
        raise NoCommand(f"{name} is not a command of an installed Python package; it cannot be run in this process")
    sys.path.insert(0, str(Path.cwd()))
    return _ended(lambda: found[0].load()(), [name, *arguments])  # noqa: PLW0108 - imported when sys.argv is right


def _ended(program: Any, arguments: list[str]) -> int:
    sys.argv = list(arguments)
    try:
        result = program()
    except SystemExit as ended:
        result = ended.code
    if isinstance(result, str):
        print(result, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    return result if isinstance(result, int) else 0
