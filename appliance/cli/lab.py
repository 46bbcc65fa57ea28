"""Commands for the cluster on one machine: lab up, status, shell, fault, down."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from luigi_ha.appliance.cli.asking import Json

CODES = (
    "Exit codes: 0 done, a fault has bitten; 1 failed, or a fault did not bite; 2 wrong usage, not root, or something "
    "is not installed; 3 no lab runs here, or not that host."
)

app = typer.Typer(
    help="A whole cluster on this machine, in namespaces of its own: three hosts with etcd, PostgreSQL and luigi-ha.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
Directory = Annotated[
    Path, typer.Option("--dir", envvar="LUIGI_HA_LAB_DIR", help="Where the lab keeps everything; names the lab.")
]
HostName = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="n1, n2, n3, client, observer; or by role: leader, standby, primary, sync-standby, etcd-leader.",
    ),
]
DEFAULT = Path("/var/tmp/luigi-ha-lab")  # noqa: S108 - a directory that is not a lab's is refused


class Fault(enum.Enum):
    """What `lab fault` can do."""

    KILL_SCHEDULER = "kill-scheduler"
    KILL_KEEPER = "kill-keeper"
    KILL_BOTH = "kill-both"
    KILL_PATRONI = "kill-patroni"
    KILL_POSTGRES = "kill-postgres"
    KILL_ETCD = "kill-etcd"
    FREEZE = "freeze"
    THAW = "thaw"
    UNPLUG = "unplug"
    PLUG = "plug"
    CUT = "cut"
    CUT_ETCD = "cut-etcd"
    CUT_POSTGRES = "cut-postgres"
    HEAL = "heal"
    MOVE_ETCD_LEADER = "move-etcd-leader"
    SWITCHOVER_POSTGRES = "switchover-postgres"


class What(enum.Enum):
    """What `freeze` and `thaw` stop and continue."""

    SCHEDULER = "scheduler"
    KEEPER = "keeper"
    BOTH = "both"
    PATRONI = "patroni"
    POSTGRES = "postgres"
    ETCD = "etcd"
    HOST = "host"


@app.command(epilog=CODES)
def up(
    directory: Directory = DEFAULT,
    witness: Annotated[
        bool, typer.Option("--witness", help="Two full hosts and one with etcd alone; durability = available.")
    ] = False,
    stop_hook: Annotated[
        bool, typer.Option("--stop-hook/--no-stop-hook", help="Run `luigi-ha release` after serve has died.")
    ] = True,
    failsafe: Annotated[bool, typer.Option("--failsafe/--no-failsafe", help="Patroni's failsafe_mode.")] = True,
    vip: Annotated[bool, typer.Option("--vip/--no-vip", help="An address that moves with the leader.")] = True,
    as_json: Json = False,
) -> None:
    """Bring up a new cluster and wait until it is ready (less than a minute). What an earlier one left is removed.

    Example: luigi-ha lab up
    """
    from luigi_ha.appliance.cli import laboratory  # noqa: PLC0415 - see appliance.cli.app

    laboratory.up(directory, as_json=as_json, witness=witness, stop_hook=stop_hook, failsafe=failsafe, vip=vip)


@app.command(epilog=CODES)
def status(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """Hosts, their services, who leads what, where the address is, what is broken on purpose.

    Example: luigi-ha lab status
    """
    from luigi_ha.appliance.cli import laboratory  # noqa: PLC0415

    laboratory.status(directory, as_json=as_json)


@app.command(epilog=CODES, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def shell(
    host: HostName,
    command: Annotated[list[str] | None, typer.Argument(help="A command; without one, a shell.")] = None,
    directory: Directory = DEFAULT,
) -> None:
    """Be on a host: its network, processes, /run and name. Options stand before HOST.

    Example: luigi-ha lab shell client -- luigi-ha status
    """
    from luigi_ha.appliance.cli import laboratory  # noqa: PLC0415

    arguments = command or []
    laboratory.shell(directory, host, arguments[1:] if arguments[:1] == ["--"] else arguments)


@app.command(epilog=CODES)
def fault(
    kind: Annotated[Fault, typer.Argument(metavar="KIND", help=", ".join(kind.value for kind in Fault) + ".")],
    host: Annotated[str, typer.Argument(metavar="HOST", help="As for `lab shell`; with heal also: all.")],
    what: Annotated[
        What | None, typer.Argument(metavar="[WHAT]", help=f"For freeze and thaw: {', '.join(w.value for w in What)}.")
    ] = None,
    peer: Annotated[str | None, typer.Option("--from", help="With cut: from this host alone.")] = None,
    whole_host: Annotated[
        bool, typer.Option("--whole-host", help="With cut-etcd and cut-postgres: all of the host, not luigi-ha alone.")
    ] = False,
    directory: Directory = DEFAULT,
    as_json: Json = False,
) -> None:
    """Break something, verify that it is broken, and say so.

    kill-*: SIGKILL. freeze, thaw: SIGSTOP, SIGCONT. unplug: the host is lost with everything on it; plug: it comes
    back with its disk. cut: isolated from everybody, the carrier stays. cut-etcd: luigi-ha on that host reaches no
    etcd, its own member neither (Patroni still does). cut-postgres: luigi-ha on that host reaches no PostgreSQL. heal
    takes back the cuts. The last two move a leadership in order.

    Example: luigi-ha lab fault unplug leader
    """
    from luigi_ha.appliance.cli import laboratory  # noqa: PLC0415

    laboratory.fault(
        directory, kind.value, host, what.value if what else None, peer=peer, whole_host=whole_host, as_json=as_json
    )


@app.command(epilog=CODES)
def down(directory: Directory = DEFAULT, as_json: Json = False) -> None:
    """End everything of the lab and remove its directory; also after a crash. Harmless to repeat.

    Example: luigi-ha lab down
    """
    from luigi_ha.appliance.cli import laboratory  # noqa: PLC0415

    laboratory.down(directory, as_json=as_json)
