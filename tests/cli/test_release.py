"""`luigi-ha release`: the quick way and the way through the frame of all commands are one command."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from luigi_ha.appliance.cli import hook, main
from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.cli.releasing import release
from luigi_ha.appliance.config import load
from luigi_ha.ha.errors import HaError, Unusable


def options() -> dict[str, list[str]]:
    command = typer.main.get_group(app).commands["release"]
    return {str(parameter.name): list(parameter.opts) for parameter in command.params}


def test_the_quick_way_knows_the_same_options() -> None:
    assert set(options()) == hook.OPTIONS | {"as_json"}


@pytest.mark.parametrize("name", sorted(hook.OPTIONS))
@pytest.mark.parametrize("form", ["{0} x", "{0}=x"])
def test_it_understands_each_of_them(name: str, form: str) -> None:
    (option,) = options()[name]
    assert hook.understood(["release", *form.format(option).split()]) == {name: "x", "as_json": False}
    assert hook.understood(["release", "--json", *form.format(option).split()]) == {name: "x", "as_json": True}


@pytest.mark.parametrize(
    "arguments",
    ["", "status", "serve --config x", "release --help", "release -h", "release x", "release --name", "release --nam x",
     "release --name --json", "release --etcd_endpoints x", "release --as-json"],
)  # fmt: skip
def test_what_it_does_not_understand_is_left_to_the_frame(arguments: str) -> None:
    assert hook.understood(arguments.split()) is None


def test_it_loads_nothing_of_the_server_before_the_address_is_gone() -> None:
    code = (
        "import sys, appliance.cli.entry, appliance.cli.releasing, ha.vip.sweep\n"
        "print(*{'typer', 'aiohttp', 'asyncio', 'sqlalchemy', 'pyroute2', 'ssl', 'smtplib'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_mistake_is_told_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["release", "--config", str(tmp_path / "none.toml")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"luigi-ha: {tmp_path}/none.toml: cannot be read")
    with pytest.raises(SystemExit) as ended:
        main(["release", "--etcd-endpoints", "http://127.0.0.1:9", "--port", "many"])
    assert ended.value.code == 2
    assert "flag --port: port = 'many'; expected a whole number" in capsys.readouterr().err


def test_the_pair_on_one_machine_has_nothing_to_release(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["release", "--name", "n1", "--database", "sqlite:///luigi-ha.db"])
    assert capsys.readouterr().out == f"n1 did not lead (asked: the pair of {tmp_path}/luigi-ha.db)\n"
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_released_who_was_not_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["release", "--name", "n1"])
    assert ended.value.code == 2
    assert "nobody has named them" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_lease_is_asked_for_although_the_address_could_not_be_removed() -> None:
    """Neither works here: an address that cannot be one, and nobody at the endpoint. Both are said."""
    flags = {"etcd_endpoints": "http://127.0.0.1:9", "vip": "127.0.0.1/8", "vip_interface": "lo",
             "database": "postgresql://n/d"}  # fmt: skip
    with pytest.raises(HaError) as raised:
        release(load(flags, None, {}).options.serve)
    assert "127.0.0.1:9" in str(raised.value)
    assert isinstance(raised.value.__context__, Unusable)
    assert "cannot belong to one host" in str(raised.value.__context__)


def test_that_is_one_line_and_a_number_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["release", "--etcd-endpoints", "http://127.0.0.1:9", "--database", "postgresql://n/d"])
    assert ended.value.code == 3
    assert capsys.readouterr().err.startswith("luigi-ha: not known to be released: ")
