"""From the options to what leads: the elector, the address, and the keeper that starts the scheduler."""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from appliance.cli.pairing import lock_directory, peers_socket
from appliance.config import ConfigError, Serve
from appliance.config.election import kind, node_name
from appliance.config.load import secret
from ha.elector import Candidate, Elector
from ha.errors import Fatal, HaError
from ha.etcd.config import EtcdConfig
from ha.etcd.opening import etcd_elector
from ha.filelock import FileLockElector
from ha.keeper.keeper import Keeper
from ha.keeper.options import KeeperOptions
from ha.lease import Timing
from ha.supervisor import Supervisor
from ha.vip.port import Address, NoAddress


def candidate(serve: Serve, name: str) -> Candidate:
    """This node, as the others see it."""
    if kind(serve, serve.database) == "file":
        address = "unix:" + peers_socket(serve.database, name)
    else:
        address = serve.advertise or f"http://{serve.host or socket.gethostname()}:{serve.port}"
    return Candidate(name, address.rstrip("/"), {"version": version("luigi-ha"), "host": socket.gethostname()})


def elector(serve: Serve, name: str) -> Elector:
    """Access to leadership. Call it on a running event loop; HaError if it cannot work."""
    timing = Timing(serve.lease_ttl, serve.renew_every, serve.request_timeout, serve.lease_margin)
    me = candidate(serve, name)
    if kind(serve, serve.database) == "file":
        return FileLockElector(lock_directory(serve.database), me, timing)
    config = EtcdConfig(
        endpoints=serve.etcd_endpoints,
        ca_file=_path(serve.etcd_ca_file),
        cert_file=_path(serve.etcd_cert_file),
        key_file=_path(serve.etcd_key_file),
        user=serve.etcd_user or None,
        password=secret(serve.etcd_password, serve.etcd_password_file, "etcd_password_file") or None,
    )
    return etcd_elector(config, me, timing, f"/luigi-ha/{serve.cluster}/")


def address(serve: Serve) -> Address:
    """What moves with the leader."""
    if not serve.vip:
        return NoAddress()
    from ha.vip.netlink import NetlinkAddress  # noqa: PLC0415 - netlink is for those who have an address

    return NetlinkAddress(serve.vip, serve.vip_interface)


def keep(serve: Serve) -> int:
    """Run the keeper until a signal; the exit code."""
    name = node_name(serve, serve.database, os.getpid())
    mode = kind(serve, serve.database)

    async def run() -> int:
        options = KeeperOptions(
            name=name,
            command=[sys.executable, "-m", "appliance.cli", *sys.argv[1:]],
            environment={**os.environ, "LUIGI_HA_NAME": name},
            mode="file" if mode == "file" else "etcd",
            version=version("luigi-ha"),
            stall_after=serve.stall_after,
            drain_timeout=serve.drain_timeout + 5.0,
        )
        keeper = Keeper(options, elector(serve, name), address(serve), Supervisor())
        return await keeper.run()

    try:
        return asyncio.run(run())
    except HaError as error:
        raise ConfigError("election", str(error), "see docs/leadership.md") from error


def release(serve: Serve) -> bool:
    """End what a node of ours that was killed may still hold: address first, then the lease. Whether it led."""
    if serve.vip:
        from ha.vip.sweep import sweep  # noqa: PLC0415

        sweep(serve.vip, serve.vip_interface)
    name = node_name(serve, serve.database, os.getpid())

    async def run() -> bool:
        access = elector(serve, name)
        try:
            return await access.release(name)
        finally:
            with suppress(HaError):
                await access.close()

    try:
        return asyncio.run(run())
    except Fatal as error:
        raise ConfigError("election", str(error), "see docs/leadership.md") from error


def _path(text: str) -> Path | None:
    return Path(text) if text else None
