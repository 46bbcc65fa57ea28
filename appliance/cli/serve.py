"""The command that runs a scheduler: its flags."""

from pathlib import Path
from typing import Annotated

import typer

Flag = typer.Option


def serve(  # noqa: PLR0917 - typer passes them by name
    database: Annotated[
        str | None,
        Flag(
            help="Where the state is kept: sqlite:///file.db, postgresql://user@host1,host2/db or mysql://user@host/db. [sqlite:///luigi-ha.db]"
        ),
    ] = None,
    host: Annotated[str | None, Flag(help="Address to listen on. [all]")] = None,
    port: Annotated[int | None, Flag(help="Port to listen on; 0: any. [8082]")] = None,
    unix_socket: Annotated[str | None, Flag(help="Listen on this Unix socket instead.")] = None,
    metrics_port: Annotated[int | None, Flag(help="Serve /metrics, /health and /ready on this port too.")] = None,
    metrics_host: Annotated[str | None, Flag(help="Address for --metrics-port. [all]")] = None,
    config: Annotated[
        Path | None, Flag(help="TOML file with any of the options. [/etc/luigi-ha/luigi-ha.toml if there]")
    ] = None,
    upgrade: Annotated[
        bool | None, Flag("--upgrade", help="Upgrade an older database schema first (SQLite: always done).")
    ] = None,
    database_timeout: Annotated[
        float | None, Flag(help="Seconds until a database call is given up and repeated. [5]")
    ] = None,
    call_budget: Annotated[float | None, Flag(help="Seconds a call may wait before it is answered 503. [9]")] = None,
    max_body: Annotated[int | None, Flag(help="Bytes of the largest request. [104857600]")] = None,
    prune_every: Annotated[float | None, Flag(help="Seconds between two prunes. [60]")] = None,
    election: Annotated[str | None, Flag(help="Who decides who leads: auto, none, file or etcd. [auto]")] = None,
    name: Annotated[str | None, Flag(help="This node's name. [the host's]")] = None,
    cluster: Annotated[str | None, Flag(help="Name of the cluster, in etcd. [default]")] = None,
    advertise: Annotated[str | None, Flag(help="URL at which the other nodes reach this one.")] = None,
    etcd_endpoints: Annotated[str | None, Flag(help="URLs of etcd's members, with commas; this host's first.")] = None,
    vip: Annotated[str | None, Flag(help="Addresses that move with the leader: 10.0.0.100/24")] = None,
    vip_interface: Annotated[str | None, Flag(help="The network interface that carries it.")] = None,
    durability: Annotated[str | None, Flag(help="strict or available. [available]")] = None,
    log_format: Annotated[str | None, Flag(help="keyvalue or json. [keyvalue]")] = None,
    log_level: Annotated[str | None, Flag(help="debug, info, warning or error. [info]")] = None,
    check: Annotated[bool, Flag("--check", help="Only validate, and print every option with its source.")] = False,
    as_json: Annotated[bool, Flag("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run a scheduler node until SIGTERM.

    Example: luigi-ha serve --database sqlite:////var/lib/luigi-ha/luigi-ha.db

    The same command twice on one machine is a pair: one leads, the other takes over when it dies. Nodes on several
    machines share an etcd and a PostgreSQL: luigi-ha serve --database postgresql://luigi@n1,n2,n3/luigi
    --etcd-endpoints http://n1:2379,http://n2:2379,http://n3:2379 --vip 10.0.0.100/24 --vip-interface eth0

    Every option can also be a variable (LUIGI_HA_PORT=8082) or a line of the TOML file (port = 8082); flags win over
    variables, those over the file, the file over the [scheduler], [resources], [cors], [batch-notifier] and [email]
    sections of luigi.cfg, found where luigi looks for it. A database password belongs into
    LUIGI_HA_DATABASE_PASSWORD or the file named by database_password_file.
    """
    flags = {
        "database": database, "host": host, "port": port, "unix_socket": unix_socket, "metrics_port": metrics_port,
        "metrics_host": metrics_host, "upgrade": upgrade, "database_timeout": database_timeout,
        "call_budget": call_budget, "max_body": max_body, "prune_every": prune_every, "log_format": log_format,
        "log_level": log_level,
        "election": election, "name": name, "cluster": cluster, "advertise": advertise,
        "etcd_endpoints": etcd_endpoints, "vip": vip, "vip_interface": vip_interface, "durability": durability,
    }  # fmt: skip
    from luigi_ha.appliance.cli import running  # noqa: PLC0415 - see appliance.cli.app

    if check:
        running.check(flags, config, as_json=as_json)
    else:
        raise typer.Exit(running.run(flags, config))
