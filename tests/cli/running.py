"""Commands in this process, as the console script runs them: to import them anew takes seconds."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def luigi_ha(*arguments: str, directory: Path | None = None, environment: dict[str, str] | None = None) -> Done:
    """Run a command to its end."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        try:
            main(list(arguments))
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
