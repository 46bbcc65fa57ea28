"""The command `doctor`: why this node cannot lead."""

from pathlib import Path
from typing import Annotated

import typer

DOCTOR_CODES = (
    "Exit codes: 0 nothing stands in the way (there may be warnings); 1 something does; 2 wrong usage. "
    "A configuration that cannot be used is a finding: 1."
)


def doctor(  # noqa: PLR0917 - typer passes them by name
    config: Annotated[
        Path | None, typer.Option(help="TOML file of serve. [/etc/luigi-ha/luigi-ha.toml if there]")
    ] = None,
    database: Annotated[str | None, typer.Option(help="Database URL, as for serve.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the scheduler.")] = None,
    name: Annotated[str | None, typer.Option(help="This node's name. [the host's]")] = None,
    cluster: Annotated[str | None, typer.Option(help="Name of the cluster, in etcd. [default]")] = None,
    etcd_endpoints: Annotated[str | None, typer.Option(help="URLs of etcd's members, with commas.")] = None,
    vip: Annotated[str | None, typer.Option(help="Addresses that move with the leader.")] = None,
    vip_interface: Annotated[str | None, typer.Option(help="The interface that carries them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Why this node cannot lead: examines options, clock, versions, port, disk, database, etcd, address, certificates.

    Changes nothing, whether the node runs or not. Takes its options from where `serve` takes them; run it as the user
    that the node runs as. Takes some seconds if something does not answer.

    Example: luigi-ha doctor --config /etc/luigi-ha/luigi-ha.toml

    \b
    ok    etcd          http://10.0.0.1:2379: healthy, etcd 3.4.23
    fail  etcd          lease: 8 s granted: renew_every + request_timeout < ttl - margin does not hold
                        expected times that fit it
    """
    flags = {
        "database": database, "port": port, "name": name, "cluster": cluster, "etcd_endpoints": etcd_endpoints,
        "vip": vip, "vip_interface": vip_interface,
    }  # fmt: skip
    from luigi_ha.appliance.cli import doctor_rounds  # noqa: PLC0415 - see appliance.cli.app

    raise typer.Exit(doctor_rounds.examine(flags, config, as_json=as_json))
