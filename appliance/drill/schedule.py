"""`luigi-ha drill schedule`: a timer of systemd that drills this host's cluster again and again."""

import json
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luigi_ha.appliance.cli.client import token_of
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import configured, shared
from luigi_ha.appliance.drill import faults
from luigi_ha.appliance.drill.hosts import OnHosts
from luigi_ha.appliance.drill.place import BIN, DrillError
from luigi_ha.appliance.exit_codes import ExitCode

NAME = "luigi-ha-drill"
MADE = "# Made by `luigi-ha drill schedule`, which replaces it."
STATE = Path("/var/lib")  # where systemd makes directories for the units' users
CHECKING = 10.0  # s


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to drill, and when. `config`: of a node of the cluster, which says where its nodes look for reports."""

    names: Sequence[str]
    calendar: str
    config: Path
    user: str
    token_file: Path | None


def write(wanted: Wanted, directory: Path, *, as_json: bool) -> None:
    """Write service and timer into `directory`, and say what is to be done with them.

    CommandError for a moment that is none, a user or a fault that does not exist, a configuration that is no cluster's,
    or a file of that name which somebody else has made; then nothing is written."""
    next_at = _next(wanted.calendar)
    config = wanted.config.absolute()
    if not config.is_file():
        raise CommandError(f"--config {config}: no such file; expected the configuration of a node", ExitCode.CONFIG)
    with configured():
        OnHosts(config)  # a cluster on PostgreSQL
        token_of(wanted.token_file)
        reports = Path(shared(config, {}).drill_reports).absolute()
    try:
        pwd.getpwnam(wanted.user)
        faults.chosen(wanted.names, "hosts")
    except KeyError as error:
        hint = "expected the user as whom the nodes run"
        raise CommandError(f"--user {wanted.user}: no such user; {hint}", ExitCode.CONFIG) from error
    except DrillError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error
    units = {directory / f"{NAME}.service": _service(wanted, config, reports)}
    units[directory / f"{NAME}.timer"] = _timer(wanted)
    for path in units:
        if path.exists() and not path.read_text().startswith(MADE):
            raise CommandError(f"{path} was made by somebody else; expected another --units", ExitCode.CONFIG)
    try:
        for path, text in units.items():
            path.write_text(text)
    except OSError as error:
        raise CommandError(f"--units {directory}: {error.strerror}; expected systemd's directory") from error
    then = ["systemctl daemon-reload", f"systemctl enable --now {NAME}.timer"]
    if as_json:
        print(json.dumps({"units": [str(path) for path in units], "next": next_at, "then": then}))
        return
    print("".join(f"written: {path}\n" for path in units), end="")
    print(f"the first time: {next_at or 'not known here, systemd-analyze is not installed'}")
    print("".join(f"then: {command}\n" for command in then), end="")


def _service(wanted: Wanted, config: Path, reports: Path) -> str:
    command = [str(BIN / "luigi-ha"), "drill", "run", *wanted.names, "--on", "hosts", "--yes"]
    command += ["--config", str(config), "--reports", str(reports)]
    lines = [
        MADE, "[Unit]", "Description=Drill of luigi-ha's cluster", "After=network-online.target",
        "Wants=network-online.target", "", "[Service]", "Type=oneshot", f"User={wanted.user}",
        f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in command)}",
    ]  # fmt: skip
    if wanted.token_file is not None:
        lines.append(f"Environment={_quoted(f'LUIGI_HA_TOKEN_FILE={wanted.token_file.absolute()}')}")
    if reports.is_relative_to(STATE):
        lines.append(f"StateDirectory={_quoted(str(reports.relative_to(STATE)))}")
    return "\n".join([*lines, ""])


def _timer(wanted: Wanted) -> str:
    lines = [
        MADE, "[Unit]", "Description=When luigi-ha's cluster is drilled", "", "[Timer]",
        f"OnCalendar={wanted.calendar.replace('%', '%%')}", "", "[Install]", "WantedBy=timers.target", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """As systemd reads a word of a unit."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(escaped) & set(" '\"\\;#") else escaped


def _next(calendar: str) -> str | None:
    """When the moment comes next, as systemd says; None: it is not installed. CommandError for what it refuses."""
    program = shutil.which("systemd-analyze")
    if program is None:
        print("luigi-ha: the moment was not checked: systemd-analyze is not installed here", file=sys.stderr)
        return None
    done = subprocess.run(
        [program, "calendar", "--", calendar], capture_output=True, text=True, timeout=CHECKING, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise CommandError(
            f"--calendar {calendar!r}: {said}; expected something like 'Sun 03:00' (man systemd.time)", ExitCode.CONFIG
        )
    found = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if "Next elapse:" in line]
    return found[0] if found else None
