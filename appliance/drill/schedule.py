"""`luigi-ha drill schedule`: a timer of systemd that drills this host's cluster again and again."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
CHECKING = 60.0  # s; a busy machine takes its time to start a program


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

    CommandError for what the drill would fail by, each time: a moment that never comes, a user or a fault that does not
    exist, a configuration that is no cluster's, files that this user cannot read; and for a file of that name which
    somebody else has made. Then nothing is written."""
    next_at = _next(wanted.calendar)
    reports = _checked(wanted)
    units = {directory / f"{NAME}.service": _service(wanted, reports), directory / f"{NAME}.timer": _timer(wanted)}
    try:
        for path in units:
            if path.exists() and not path.read_bytes().startswith(MADE.encode()):
                raise CommandError(f"{path} was made by somebody else; expected another --units", ExitCode.CONFIG)
        for path, text in units.items():
            path.write_text(text)
    except OSError as error:
        raise CommandError(f"--units {directory}: {error.strerror}; expected systemd's directory") from error
    then = ["systemctl daemon-reload", f"systemctl enable --now {NAME}.timer"]
    if as_json:
        print(json.dumps({"units": [str(path) for path in units], "next": next_at, "then": then}))
        return
    print("".join(f"written: {path}\n" for path in units), end="")
    print(f"the first time: {next_at or 'not known, systemd-analyze is not installed here'}")
    print("".join(f"then: {command}\n" for command in then), end="")


def _checked(wanted: Wanted) -> Path:
    """Look at everything as the unit will: as its user, and without our variables. Where the reports will be."""
    config = wanted.config
    try:
        account = pwd.getpwnam(wanted.user)
        faults.chosen(wanted.names, "hosts")
    except KeyError as error:
        hint = "expected the user as whom the nodes run"
        raise CommandError(f"--user {wanted.user}: no such user; {hint}", ExitCode.CONFIG) from error
    except DrillError as error:
        raise CommandError(str(error), ExitCode.CONFIG) from error
    if not config.is_file():
        raise CommandError(f"--config {config}: no such file; expected the configuration of a node", ExitCode.CONFIG)
    with _without_our_variables(), configured():
        OnHosts(config)  # a cluster on PostgreSQL
        serve = shared(config, {})
        token_of(wanted.token_file)
    understood = _as(account, [str(BIN / "luigi-ha"), "serve", "--check", "--config", str(config)])
    if understood.returncode:
        said = understood.stderr.strip().removeprefix("luigi-ha: ")
        raise CommandError(f"as {wanted.user}: {said}", ExitCode.CONFIG)
    if wanted.token_file is None and serve.auth == "on":
        hint = "expected --token-file with the token of an operator: a unit has no LUIGI_HA_TOKEN"
        raise CommandError(f"{config}: auth = on; {hint}", ExitCode.CONFIG)
    if wanted.token_file is not None and _as(account, ["test", "-r", str(wanted.token_file)]).returncode:
        hint = f"expected one that {wanted.user} can read"
        raise CommandError(f"--token-file {wanted.token_file}: {hint}", ExitCode.CONFIG)
    reports = Path(serve.drill_reports)
    if not reports.is_absolute():
        raise CommandError(f"{config}: drill_reports = {reports}: expected an absolute path", ExitCode.CONFIG)
    if not reports.is_relative_to(STATE) and _as(account, ["test", "-w", str(reports)]).returncode:
        hint = f"expected a directory that {wanted.user} can write to: install -d -o {wanted.user} {reports}"
        raise CommandError(f"{config}: drill_reports = {reports}: {hint}", ExitCode.CONFIG)
    return reports


@contextmanager
def _without_our_variables() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LUIGI_HA_")}
    try:
        yield
    finally:
        os.environ.update(kept)


def _as(account: pwd.struct_passwd, argv: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run it as this user, if we may."""
    other: dict[str, Any] = {}
    if os.geteuid() == 0 and account.pw_uid != 0:
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    try:
        return subprocess.run(
            argv, env={"PATH": os.defpath, "HOME": account.pw_dir}, capture_output=True, text=True, timeout=CHECKING,
            check=False, **other,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        hint = f"expected that {account.pw_name} can run it"
        raise CommandError(f"as {account.pw_name}: {argv[0]}: {error}; {hint}", ExitCode.CONFIG) from error


def _service(wanted: Wanted, reports: Path) -> str:
    command = [str(BIN / "luigi-ha"), "drill", "run", *wanted.names, "--on", "hosts", "--yes"]
    command += ["--config", str(wanted.config), "--reports", str(reports)]
    lines = [
        MADE, "[Unit]", "Description=Drill of luigi-ha's cluster", "After=network-online.target",
        "Wants=network-online.target", "", "[Service]", "Type=oneshot", f"User={wanted.user}",
        f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in command)}",
    ]  # fmt: skip
    if wanted.token_file is not None:
        lines.append(f"Environment={_quoted(f'LUIGI_HA_TOKEN_FILE={wanted.token_file}')}")
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
    if not calendar.isprintable():
        raise CommandError(f"--calendar {calendar!r}: expected one line of text", ExitCode.CONFIG)
    program = shutil.which("systemd-analyze")
    if program is None:
        print("luigi-ha: the moment was not checked: systemd-analyze is not installed here", file=sys.stderr)
        return None
    try:
        done = subprocess.run(
            [program, "calendar", "--", calendar], capture_output=True, text=True, timeout=CHECKING, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{program} has not answered within {CHECKING:g} s") from error
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    found = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if "Next elapse:" in line]
    if done.returncode or not found or found[0] == "never":
        what = said if done.returncode else "never comes"
        hint = "expected something like 'Sun 03:00' (man systemd.time)"
        raise CommandError(f"--calendar {calendar!r}: {what}; {hint}", ExitCode.CONFIG)
    return found[0]
