"""The packages that are tried, each in an environment of its own below .cache/, as their users would install them."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luigi_ha.appliance.drill.place import DrillError

PIPELINES = Path(__file__).parent / "pipelines"
SLICES, HALVES = 12, 2
WORKERS = 4
NEEDS: dict[str, tuple[str, ...]] = {
    **{f"slice-{number}": () for number in range(SLICES)},
    **{
        f"half-{half}": tuple(f"slice-{number}" for number in range(SLICES) if number % HALVES == half)
        for half in range(HALVES)
    },
    "whole": tuple(f"half-{half}" for half in range(HALVES)),
}
Command = Callable[[str, str, float, str, int], Sequence[str]]  # bin/, lot, seconds, scheduler's host and port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Package:
    """`tasks`: how many tasks of a pipeline the scheduler sees."""

    name: str
    requirements: tuple[str, ...]
    tasks: int
    command: Command


def _law(programs: str, lot: str, seconds: float, host: str, port: int) -> Sequence[str]:
    return (
        f"{programs}/law", "run", "law_pipeline.Whole", "--lot", lot, "--seconds", str(seconds),
        "--workers", str(WORKERS), "--scheduler-host", host, "--scheduler-port", str(port),
    )  # fmt: skip


def _b2luigi(programs: str, lot: str, seconds: float, host: str, port: int) -> Sequence[str]:
    return (
        f"{programs}/b2luigi", "run", "Whole", "-f", str(PIPELINES / "b2luigi_pipeline.py"), "--param", f"lot={lot}",
        "--param", f"seconds={seconds}", "--workers", str(WORKERS), "--scheduler-host", host,
        "--scheduler-port", str(port),
    )  # fmt: skip


ALL = {
    package.name: package
    for package in (
        # law's two workflows are tasks beside their branches.
        Package("law", ("law==0.1.21", "luigi==3.8.1"), len(NEEDS) + 2, _law),
        Package("b2luigi", ("b2luigi==1.3.0",), len(NEEDS), _b2luigi),  # it brings a luigi before 3.8
    )
}


def install(package: Package) -> tuple[Path, str]:
    """Where its programs are, and the luigi it came with; nothing happens if it is there. DrillError."""
    place = ROOT / ".cache" / f"compat-{package.name}"
    stamp, wanted = place / ".installed", hashlib.sha256(repr(package.requirements).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        _run(sys.executable, "-m", "venv", str(place))
        _run(str(place / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *package.requirements)
        stamp.write_text(wanted)
    listed = _run(str(place / "bin" / "pip"), "freeze").splitlines()
    return place / "bin", next(line for line in listed if line.startswith("luigi=="))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DrillError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
