"""Commands about who leads: switchover, pause, resume, release. They ask where leadership is kept, not a scheduler."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path | None, typer.Option(help="The nodes' TOML file. [/etc/luigi-ha/luigi-ha.toml if there]")]
Database = Annotated[
    str | None, typer.Option(help="The database, as for serve: says where the pair of a SQLite file is.")
]
Cluster = Annotated[str | None, typer.Option(help="Name of the cluster, in etcd. [default]")]
Endpoints = Annotated[str | None, typer.Option("--etcd-endpoints", help="URLs of etcd's members, with commas.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def switchover(
    to: Annotated[str, typer.Argument(help="The node that is to lead, as `luigi-ha status` names it.")],
    within: Annotated[float, typer.Option(min=1.0, help="Seconds until it must have happened.")] = 20.0,
    config: Config = None,
    database: Database = None,
    cluster: Cluster = None,
    etcd_endpoints: Endpoints = None,
    as_json: Json = False,
) -> None:
    """Let another node lead, without a failed call. Succeeds only when that node leads.

    Example: luigi-ha switchover n2
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415 - see appliance.cli.app

    done = wishes.switch_over(config, _flags(database, cluster, etcd_endpoints), to, within)
    after = "already" if done.get("led_already") else f"after {done['seconds']:.2f} s"
    _say(done, as_json=as_json, text=f"{done['leader']} leads (epoch {done['epoch']}), {after}")


def pause(
    config: Config = None,
    database: Database = None,
    cluster: Cluster = None,
    etcd_endpoints: Endpoints = None,
    as_json: Json = False,
) -> None:
    """Keep the present leader: no automatic failover until `resume`, as for work on the other nodes.

    Example: luigi-ha pause
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415

    done = wishes.pause(config, _flags(database, cluster, etcd_endpoints))
    was = "already " if done["was_paused"] else ""
    _say(done, as_json=as_json, text=f"{was}paused: only {done['keeps']} may lead, until `luigi-ha resume`")


def resume(
    config: Config = None,
    database: Database = None,
    cluster: Cluster = None,
    etcd_endpoints: Endpoints = None,
    as_json: Json = False,
) -> None:
    """End a pause: the next node takes over by itself again if the leader dies.

    Example: luigi-ha resume
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415

    done = wishes.resume(config, _flags(database, cluster, etcd_endpoints))
    kept = f"resumed: any node that can takes over again if the leader dies (the pause had kept {done['kept']})"
    _say(done, as_json=as_json, text=kept if done["was_paused"] else "it was not paused; nothing to do")


def release(  # noqa: PLR0917 - typer passes them by name
    name: Annotated[str | None, typer.Option(help="The node. [this host's name]")] = None,
    config: Config = None,
    database: Database = None,
    cluster: Cluster = None,
    etcd_endpoints: Endpoints = None,
    port: Annotated[int | None, typer.Option(help="The scheduler's port. [8082]")] = None,
    vip: Annotated[str | None, typer.Option(help="The addresses that move with the leader.")] = None,
    vip_interface: Annotated[str | None, typer.Option(help="The interface that carries them.")] = None,
    as_json: Json = False,
) -> None:
    """After a node's processes have ended, whatever ended them: address off, lease revoked, so that another leads at
    once. The stop hook of a supervisor (systemd: ExecStopPost=). On a live node it ends its leadership.

    Example: luigi-ha release --config /etc/luigi-ha/luigi-ha.toml
    """
    from luigi_ha.appliance.cli import releasing  # noqa: PLC0415

    flags = _flags(database, cluster, etcd_endpoints)
    flags |= {"name": name, "port": port, "vip": vip, "vip_interface": vip_interface}
    releasing.run(config, flags, as_json=as_json)


def _flags(database: str | None, cluster: str | None, etcd_endpoints: str | None) -> dict[str, Any]:
    return {"database": database, "cluster": cluster, "etcd_endpoints": etcd_endpoints}


def _say(done: dict[str, Any], *, as_json: bool, text: str) -> None:
    print(json.dumps(done, indent=2) if as_json else f"{text} (asked: {done['asked']})")
