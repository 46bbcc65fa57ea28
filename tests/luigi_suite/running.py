"""Runs one file of Luigi's tests in a pytest process of its own, with our scheduler in place of Luigi's."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import luigi_sdist

IN_PROCESS = "tests.support.luigi_in_process"
OVER_HTTP = "tests.support.luigi_over_http"
# Some of Luigi's tests talk to whoever listens on port 8082: in a network of their own there is nobody but they.
_ALONE = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] if os.geteuid() == 0 else []
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ran:
    """Tests by their names, `Class::test`; failures with their first line."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    output: str = ""


def run(plugin: str, file: str, leave_out: Iterable[str] = (), seconds: float = 3000.0) -> Ran:
    """Run `test/<file>.py` of Luigi's source distribution under one of the two plugins."""
    source = luigi_sdist.unpacked()
    with tempfile.TemporaryDirectory(prefix="luigi-suite-") as scratch:
        report = Path(scratch) / "report.xml"
        # -P: the installed luigi is tested, not the copy that lies beside the tests.
        command = [sys.executable, "-P", "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", plugin]
        command += ["-p", "no:cacheprovider", "-q", "-W", "ignore", "--tb=short", f"--junitxml={report}"]
        command += [f"--deselect=test/{file}.py::{name}" for name in leave_out]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": scratch, "LUIGI_CONFIG_PATH": ""}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those of ours take longer to load than most files to run
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        outcome = subprocess.run(
            [*_ALONE, *command, f"test/{file}.py"],
            cwd=source,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if not report.exists():
            raise AssertionError(f"pytest ended with code {outcome.returncode}:\n{outcome.stdout[-4000:]}")
        return _read(report, outcome.stdout)


def _read(report: Path, output: str) -> Ran:
    ran = Ran(output=output)
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        if problem is not None:
            ran.failed[name] = (problem.get("message") or "").split("\n")[0][:200]
        elif case.find("skipped") is not None:
            ran.skipped.add(name)
        else:
            ran.passed.add(name)
    return ran
