"""The wheel, installed outside of the checkout, beside a user's own worker.py, ha.py and appliance/."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import user_directory
from tests.support.archives import unpack
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with wheel and source distribution; the wheel is made from the source distribution."""
    where = tmp_path_factory.mktemp("dist")
    source = _hatch(ROOT, where, "sdist")
    with tarfile.open(source) as archive:
        unpack(archive, where)
    _hatch(where / source.name.removesuffix(".tar.gz"), where, "wheel")
    return where


def _hatch(project: Path, where: Path, what: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(where), "-t", what]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=patient(300), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(where.glob("*.whl" if what == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def env(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the packages (not luigi-ha itself) that the tests have."""
    where = tmp_path_factory.mktemp("env")
    venv.create(where)
    here = Path(sys.prefix) / SITE
    (where / SITE / "packages.pth").write_text(f"{here}\n")  # whose own .pth files, ours too, do not count then
    pip = [sys.executable, "-m", "pip", "--python", str(where / "bin" / "python"), "install", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*pip, "--ignore-installed", str(next(built.glob("*.whl")))],
        capture_output=True, text=True, timeout=patient(300), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return where


@pytest.fixture
def run(env: Path, tmp_path: Path) -> Run:
    """Run a command of the environment in a directory of a user who has modules of these names."""
    user_directory.fill(tmp_path)

    def _run(*command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        program, *arguments = command
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_HA")}
        return subprocess.run(
            [str(env / "bin" / program), *arguments], cwd=tmp_path, capture_output=True, text=True,
            timeout=patient(300), check=False, env=inherited | {"PYTHONPATH": ".", "HOME": str(tmp_path)} | more,
        )  # fmt: skip

    return _run


def test_it_installs_one_package(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"luigi_ha"}
    assert "luigi_ha/py.typed" in names
    assert "luigi_ha/appliance/store/migrations/env.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_distribution_has_files_and_no_links(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        members = source.getmembers()
    assert not [each.name for each in members if not each.isfile()]
    inside = {each.name.split("/", 1)[1] for each in members}
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml", "luigi_ha/targets.py"} <= inside
    assert "luigi_ha/worker/cli.py" in inside


def test_it_is_the_wheel_that_runs(run: Run, env: Path) -> None:
    for name in ("luigi_ha", "luigi_ha.appliance.cli.app", "luigi_ha.targets", "luigi_ha.client"):
        found = run("python", "-c", f"import {name} as it; print(it.__file__)")
        assert found.stdout.startswith(str(env)), found.stdout + found.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("--help",), ("--version",), ("serve", "--help"), ("serve", "--check"), ("worker", "--help"),
        ("exec", "--help"), ("submit", "--help"), ("doctor", "--help"), ("lab", "--help"),
        ("db", "upgrade", "--database", "sqlite:///x.db"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_beside_modules_of_the_same_names(run: Run, command: tuple[str, ...]) -> None:
    done = run("luigi-ha", *command)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(
    ("typed", "found"),
    [("luigi-ha fail", "failovers"), ("luigi-ha task l", "list log"), ("luigi-ha worker --sch", "--scheduler-url"),
     ("luigi-ha worker l", "list"), ("luigi-ha task list --status failed,p", "failed,pending"),
     ("luigi-ha serve --durability s", "strict"), ("luigi-ha worker --lost-attempt ", "finish stop")],
)
def test_a_shell_completes_commands_options_and_their_values(run: Run, typed: str, found: str) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_LUIGI_HA_COMPLETE": "complete_bash"}
    assert run("luigi-ha", **asked).stdout.split() == found.split()


def test_exec_runs_a_pipeline_that_lies_beside_them(run: Run, tmp_path: Path) -> None:
    command = ("luigi", "--module", "pipeline", "Report", "--to", str(tmp_path / "out"), "--local-scheduler")
    done = run("luigi-ha", "exec", "--", *command)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "done"


def test_what_is_public_is_all_there(run: Run) -> None:
    names = "from luigi_ha import client, targets; print([getattr(m, n) for m in (client, targets) for n in m.__all__])"
    done = run("python", "-c", names)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("luigi", ("worker", "--module", "pipeline", "--scheduler-url", "http://127.0.0.1:9"), "worker"),
        ("luigi", ("exec", "--", "luigi", "--help"), "worker"),
        ("luigi", ("submit", "--module", "pipeline", "Report", "--to", "x"), "worker"),
    ],
    ids=lambda given: given if isinstance(given, str) else given[0],
)
def test_a_missing_extra_is_one_sentence(
    run: Run, env: Path, missing: str, command: tuple[str, ...], extra: str
) -> None:
    hidden = env / SITE / f"hide_{missing}.pth"
    hidden.write_text(f"import sys; sys.modules[{missing!r}] = None\n")
    try:
        done = run("luigi-ha", *command)
    finally:
        hidden.unlink()
    assert done.returncode == 2
    assert f"pip install 'luigi-ha[{extra}]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("name", ["luigi_ha.targets", "luigi_ha.client"])
def test_what_is_public_says_which_extra_it_needs(run: Run, env: Path, name: str) -> None:
    hidden = env / SITE / "hide_luigi.pth"
    hidden.write_text("import sys; sys.modules['luigi'] = None\n")
    try:
        done = run("python", "-c", f"import {name}")
    finally:
        hidden.unlink()
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: {name} needs luigi; expected: pip install 'luigi-ha[worker]'"
