"""What runs on each host: the services' command lines, and the files they read.

Figures that matter to a failover stand here and nowhere else: etcd with half its default timers (heartbeat 50 ms,
election 500 ms), so that an election fits into our lease, and with --pre-vote, because etcd 3.4 otherwise pauses when a
member comes back; Patroni's least timing (ttl 20, loop 1, retry 3); replication that notices a dead peer within 5 s.
Every flush to disk is on.
"""

import json
import os
import pwd
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luigi_ha.appliance.lab import clocks
from luigi_ha.appliance.lab.plan import (
    ACCOUNT,
    ETCD_PORT,
    NETWORK,
    NETWORK6,
    PATRONI_PORT,
    PEER_PORT,
    PORT,
    POSTGRES_BIN,
    POSTGRES_PORT,
    PREFIX,
    QUICK,
    SWITCH,
    VIP,
    Host,
    Plan,
)
from luigi_ha.appliance.lab.services import Recipe

SCOPE = "luigi"  # Patroni's name of the cluster
DISK_BYTES = 1 << 30
DISABLED_FOR = 1800  # s; luigi's own is a day: a clock that is an hour wrong must be able to end it
ETCD_RESTART, PATRONI_RESTART, SERVE_RESTART = 0.5, 1.0, 0.2  # s
_POST_BOOTSTRAP = """#!/bin/sh
# Patroni runs this once, on the first primary. No standby is there yet: these commits must not wait for one.
export PGOPTIONS='-c synchronous_commit=local'
exec psql -v ON_ERROR_STOP=1 -d "$1" -c 'CREATE ROLE luigi LOGIN' -c 'GRANT pg_monitor TO luigi' \
    -c 'CREATE DATABASE luigi OWNER luigi'
"""


def write(plan: Plan) -> None:
    """All files of a new lab. Its directory exists and is empty."""
    entry = pwd.getpwnam(ACCOUNT)
    plan.logs.mkdir()
    names = [f"{host.address} {host.name}\n{host.address6} {host.name}\n" for host in plan.hosts]
    hosts_file = plan.directory / "hosts"
    hosts_file.write_text("127.0.0.1 localhost\n::1 localhost\n" + "".join(names) + f"{VIP} luigi\n")
    bootstrap = plan.directory / "post_bootstrap"
    bootstrap.write_text(_POST_BOOTSTRAP)
    bootstrap.chmod(0o755)
    for host in (SWITCH, *plan.hosts):
        place = plan.of(host)
        (place / "held").mkdir(parents=True)
        for owned in ("etcd", "postgres"):
            (place / owned).mkdir(mode=0o700)
            os.chown(place / owned, entry.pw_uid, entry.pw_gid)
        if host.postgres:
            (place / "patroni.json").write_text(json.dumps(patroni(plan, host), indent=2))
        if host.serve:
            plan.config(host).write_text(serve(plan, host))
        disks = []
        if plan.disks and host.postgres:
            _make_disk(plan.disk(host), entry)
            disks = [[str(plan.disk(host)), str(place / "postgres")]]
        spec = {
            "hosts_file": str(hosts_file),
            "disks": disks,
            "stale": [str(place / "postgres/data/postmaster.pid")],  # its number may be somebody else's in the new life
            "services": [asdict(recipe) for recipe in recipes(plan, host)],
        }
        (place / "host.json").write_text(json.dumps(spec, indent=2))
    if plan.clocks:
        clocks.build(plan)


def _make_disk(image: Path, owner: pwd.struct_passwd) -> None:
    """An empty file system, which takes as much room as is written to it."""
    with image.open("wb") as out:
        out.truncate(DISK_BYTES)
    options = f"root_owner={owner.pw_uid}:{owner.pw_gid}"
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", options, str(image)], check=True, capture_output=True)


def recipes(plan: Plan, host: Host) -> list[Recipe]:
    """The services of a host, in the order in which they are started."""
    place, found, clock = plan.of(host), [], clocks.environ(plan, host)
    if host.etcd:
        found.append(Recipe("etcd", _as_account(*etcd(plan, host)), ETCD_RESTART, sweep=True))
    if host.postgres:
        command = (sys.executable, "-m", "patroni", str(place / "patroni.json"))
        # PostgreSQL outlives Patroni, as with KillMode=process in its Debian unit.
        found.append(Recipe("patroni", _as_account(*command), PATRONI_RESTART, sweep=False, environ=clock))
    if host.serve:
        program, config = _program("luigi-ha"), str(plan.config(host))
        hook = (program, "release", "--config", config) if plan.stop_hook else ()
        command = (program, "serve", "--config", config)
        found.append(Recipe("serve", command, SERVE_RESTART, sweep=True, hook=hook, environ={**clock, **plan.environ}))
    return found


def etcd(plan: Plan, host: Host) -> tuple[str, ...]:
    """etcd's command line."""
    client, member = f"http://{host.address}:{ETCD_PORT}", f"http://{host.address}:{PEER_PORT}"
    options = {
        "name": host.name,
        "data-dir": plan.of(host) / "etcd" / "data",
        "listen-client-urls": f"{client},http://127.0.0.1:{ETCD_PORT}",
        "advertise-client-urls": client,
        "listen-peer-urls": member,
        "initial-advertise-peer-urls": member,
        "initial-cluster": ",".join(f"{node.name}=http://{node.address}:{PEER_PORT}" for node in plan.nodes),
        "initial-cluster-token": SCOPE,
        "heartbeat-interval": "50",
        "election-timeout": "500",
        "pre-vote": "true",
        "logger": "zap",
    }
    return ("etcd", *(f"--{name}={value}" for name, value in options.items()))


def patroni(plan: Plan, host: Host) -> dict[str, Any]:
    """Patroni's configuration (YAML reads JSON)."""
    place = plan.of(host) / "postgres"
    trust = [f"host {what} all {net} trust" for what in ("all", "replication") for net in _networks()]
    parameters = {
        "max_connections": 40,
        "shared_buffers": "64MB",
        "max_wal_size": "256MB",
        "synchronous_commit": "on",
        "wal_retrieve_retry_interval": "200ms",
        "wal_sender_timeout": "5s",
        "wal_receiver_timeout": "5s",
        "log_checkpoints": "off",
    }
    return {
        "scope": SCOPE,
        "name": host.name,
        "restapi": {"listen": f"{host.address}:{PATRONI_PORT}", "connect_address": f"{host.address}:{PATRONI_PORT}"},
        "etcd3": {"hosts": [f"{node.address}:{ETCD_PORT}" for node in own_first(plan, host)], "use_proxies": True},
        "log": {"level": "INFO"},
        "bootstrap": {
            "dcs": {
                "ttl": 20,
                "loop_wait": 1,
                "retry_timeout": 3,
                "maximum_lag_on_failover": 1 << 20,
                "synchronous_mode": True,
                "synchronous_mode_strict": not plan.witness,
                "synchronous_node_count": 1,
                "failsafe_mode": plan.failsafe,
                "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            "post_bootstrap": str(plan.directory / "post_bootstrap"),
        },
        "postgresql": {
            "listen": f"{host.address},127.0.0.1:{POSTGRES_PORT}",
            "connect_address": f"{host.address}:{POSTGRES_PORT}",
            "data_dir": str(place / "data"),
            "bin_dir": str(POSTGRES_BIN),
            "pgpass": str(place / "pgpass"),
            "use_unix_socket": True,
            "authentication": {"superuser": {"username": ACCOUNT}, "replication": {"username": ACCOUNT}},
            "parameters": {"unix_socket_directories": "/run/postgresql"},
            "pg_hba": ["local all all trust", "local replication all trust", *trust],
            "basebackup": [{"checkpoint": "fast"}],
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
        },
        "watchdog": {"mode": "off"},
        "tags": {"nosync": False},
    }


def serve(plan: Plan, host: Host) -> str:
    """The TOML of `luigi-ha serve`."""
    hosts = ",".join(node.address for node in plan.data_nodes)
    options: dict[str, Any] = {
        "database": f"postgresql://luigi@{hosts}/luigi",
        "port": PORT,
        "auth": "off",  # within networks of its own
        "election": "etcd",
        "name": host.name,
        "advertise": f"http://{host.address}:{PORT}",
        "etcd_endpoints": [f"http://{node.address}:{ETCD_PORT}" for node in own_first(plan, host)],
        **({"vip": [f"{VIP}/{PREFIX}"], "vip_interface": "eth0"} if plan.vip else {}),
        "prefer": "primary",
        "durability": "available" if plan.witness else "strict",
        **(QUICK if plan.quick else {}),
    }
    scheduler = {"disable_persist": DISABLED_FOR}
    tables = (("", options), ("[scheduler]\n", scheduler))
    return "\n".join(
        head + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()) for head, values in tables
    )


def own_first(plan: Plan, host: Host) -> list[Host]:
    """The nodes, this one before the others."""
    return sorted(plan.nodes, key=lambda node: (node.name != host.name, node.number))


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _networks() -> tuple[str, ...]:
    return (NETWORK, NETWORK6, "127.0.0.1/32", "::1/128")


def _as_account(*argv: str) -> tuple[str, ...]:
    """Run as the unprivileged account, but able to read our programs where it has no way in (a venv below /root)."""
    rights = "-all,+dac_read_search"
    return (
        "setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", f"--inh-caps={rights}",
        f"--ambient-caps={rights}", "--", *argv,
    )  # fmt: skip
