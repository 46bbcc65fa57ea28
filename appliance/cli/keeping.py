"""From the options to what leads: the elector, the address, and the keeper that starts the scheduler."""

import asyncio
import os
import sys
from importlib.metadata import version

from luigi_ha.appliance.cli.electing import elector
from luigi_ha.appliance.config import ConfigError, Serve
from luigi_ha.appliance.config.election import kind, node_name
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.keeper.keeper import Keeper
from luigi_ha.ha.keeper.options import KeeperOptions
from luigi_ha.ha.supervisor import Supervisor
from luigi_ha.ha.vip.port import Address, NoAddress


def address(serve: Serve) -> Address:
    """What moves with the leader."""
    if not serve.vip:
        return NoAddress()
    from luigi_ha.appliance.cli.silence import silence  # noqa: PLC0415 - these are for those who have an address
    from luigi_ha.ha.vip.netlink import NetlinkAddress  # noqa: PLC0415

    return NetlinkAddress(serve.vip, serve.vip_interface, refusals=silence(serve), port=serve.port)


def keep(serve: Serve) -> int:
    """Run the keeper until a signal; the exit code."""
    name = node_name(serve, serve.database, os.getpid())
    mode = kind(serve, serve.database)

    async def run() -> int:
        options = KeeperOptions(
            name=name,
            command=[sys.executable, "-m", "luigi_ha.appliance.cli", *sys.argv[1:]],
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
