"""What the commands of `lab` do."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab import inside, report
from luigi_ha.appliance.lab.bites import Bite
from luigi_ha.appliance.lab.errors import LabError, NoLab, WrongUse
from luigi_ha.appliance.lab.faults import Faults
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import DEFAULT_DIRECTORY
from luigi_ha.appliance.lab.targets import Target

_CODES: tuple[tuple[type[LabError], ExitCode], ...] = (
    (WrongUse, ExitCode.CONFIG),
    (NoLab, ExitCode.UNREACHABLE),
    (LabError, ExitCode.FAILED),
)


def up(directory: Path, *, as_json: bool, **options: bool) -> None:
    """See `luigi-ha lab up --help`. Progress goes to standard error."""
    with _explained():
        lab = Lab(directory)
        lab.up(lambda line: print(line, file=sys.stderr, flush=True), **options)
        said = report.status(lab)
    print(json.dumps(said, indent=2) if as_json else _try(lab.plan.vip_url, directory))


def status(directory: Path, *, as_json: bool) -> None:
    """See `luigi-ha lab status --help`."""
    with _explained():
        said = report.status(Lab(directory))
    print(json.dumps(said, indent=2) if as_json else report.text(said))
    if not said["whole"]:
        sys.exit(ExitCode.UNREACHABLE)


def shell(directory: Path, host: str, command: list[str]) -> None:
    """Becomes the command."""
    with _explained():
        lab = Lab(directory)
        name = lab.resolve(host).name
        pid, url = lab.init(name).pid, lab.plan.vip_url
        prompt = {"PS1": f"{name} \\w # "} if not command else {}
        more = {**prompt, **lab.options_on(name)}
        argv = inside.entering(pid, command or ["/bin/bash", "--norc"])
    sys.stdout.flush()
    os.execvpe(argv[0], argv, inside.environ(url, more))  # noqa: S606 - that is what the command is for


def fault(
    directory: Path, kind: str, host: str, what: str | None, *, peer: str | None, whole_host: bool, as_json: bool
) -> None:
    """See `luigi-ha lab fault --help`."""
    with _explained():
        bites = _inject(Lab(directory).faults, kind, host, what, peer, whole_host=whole_host)
    if as_json:
        print(json.dumps([asdict(bite) for bite in bites], indent=2))
        return
    for bite in bites:
        print(f"{bite.fault} {bite.host}: {bite.proof}")
    if not bites:
        print("nothing was cut")


def down(directory: Path, *, as_json: bool) -> None:
    """See `luigi-ha lab down --help`."""
    with _explained():
        found = Lab(directory).down()
    print(
        json.dumps({"removed": found}) if as_json else "removed" if found else f"no lab in {directory}; nothing to do"
    )


def _inject(
    faults: Faults, kind: str, host: str, what: str | None, peer: str | None, *, whole_host: bool
) -> list[Bite]:
    if what is not None and kind not in ("freeze", "thaw"):
        raise WrongUse(f"{kind} takes no {what!r}: it is for freeze and thaw")
    if peer is not None and kind != "cut":
        raise WrongUse("--from is for cut")
    if whole_host and kind not in ("cut-etcd", "cut-postgres"):
        raise WrongUse("--whole-host is for cut-etcd and cut-postgres")
    if kind == "freeze" and what is None:
        raise WrongUse("freeze what? scheduler, keeper, both, patroni, postgres, etcd or host")
    if kind == "heal":
        return faults.heal(None if host == "all" else host)
    actions: dict[str, Callable[[], Bite]] = {
        "freeze": lambda: faults.freeze(host, Target(what)),
        "thaw": lambda: faults.thaw(host, Target(what or "host")),
        "unplug": lambda: faults.unplug(host),
        "plug": lambda: faults.plug(host),
        "cut": lambda: faults.cut(host, peer),
        "cut-etcd": lambda: faults.cut_etcd(host, whole_host=whole_host),
        "cut-postgres": lambda: faults.cut_postgres(host, whole_host=whole_host),
        "move-etcd-leader": lambda: faults.move_etcd_leader(host),
        "switchover-postgres": lambda: faults.switchover_postgres(host),
    }
    action = actions.get(kind) or (lambda: faults.kill(host, Target(kind.removeprefix("kill-"))))
    return [action()]


def _try(url: str, directory: Path) -> str:
    elsewhere = f"\n  export LUIGI_HA_LAB_DIR={directory}" if directory != DEFAULT_DIRECTORY else ""
    return f"""
The scheduler's address is {url}; it exists inside of the lab alone. Things to try:
{elsewhere}
  luigi-ha lab status                        who leads what, and what is broken
  luigi-ha lab shell client                  a shell on the client host; there, say:
      luigi-ha status --scheduler-url {url}
      PYTHONPATH=. luigi --module MODULE TASK --scheduler-url {url}
  luigi-ha lab fault kill-scheduler leader   its process dies
  luigi-ha lab fault unplug leader           its machine dies;     fault plug n1   brings it back
  luigi-ha lab fault freeze leader host      it stands still;      fault thaw n1   continues it
  luigi-ha lab fault cut leader              nobody reaches it;    fault heal all  mends it
  luigi-ha lab fault --help                  and more
  luigi-ha lab down                          leaves nothing behind"""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        raise CommandError(str(error), next(code for kind, code in _CODES if isinstance(error, kind))) from error
