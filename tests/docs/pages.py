"""A page whose blocks marked `sh` are typed into one shell, from top to bottom.

Every command must exit with 0, or as the page says: `# exits 1` at the end of its line. A command that ends in `&` goes
on. The shell has a network and processes of its own, if it may (as root): its port 8082 is nobody else's, and what it
has left running ends with it.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*(ROOT / name / "README.md" for name in ("", "examples", "deploy")), *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_EXITS = re.compile(r"^(?P<command>.+?)\s+# exits (?P<code>\d+)$")
ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
ALONE += ["sh", "-c", 'ip link set lo up && "$@"', "sh"]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(kind, text) of each block, in order."""
    for found in _BLOCK.finditer(page.read_text()):
        yield found["kind"], found["text"]


def script(page: Path, kinds: tuple[str, ...] = ("sh",)) -> str:
    """The page as one program for bash, which says before each command that is typed what it is."""
    lines = ["set -eE -o pipefail", "trap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR", "exec 2>&1"]
    for kind, text in blocks(page):
        if kind in kinds:
            lines += [_line(line) for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _line(line: str) -> str:
    expected = _EXITS.match(line)
    if expected is None:
        return line
    command, code = expected["command"], expected["code"]
    return f"code=0; {command} || code=$?; [ $code = {code} ]"


def play(page: Path, where: Path, environment: Mapping[str, str], seconds: float) -> "subprocess.CompletedProcess[str]":
    """Type it; whatever it has left running is ended. The output has both streams."""
    alone = ALONE if os.geteuid() == 0 else []
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LUIGI", "PYTHON"))}
    with tempfile.TemporaryFile("w+") as output:  # not a pipe, which what was left running would keep open
        process = subprocess.Popen(
            [*alone, "bash", "-c", script(page)], cwd=where, env={**env, **environment}, start_new_session=True,
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        told = output.read()
    assert code is not None, f"{page.name} has not ended within {seconds:.0f} s:\n{told[-5000:]}"
    return subprocess.CompletedProcess(page.name, code, told, "")


if __name__ == "__main__":  # for whoever wants to see it
    print(textwrap.indent(script(Path(sys.argv[1])), "  "))
