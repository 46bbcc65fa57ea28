"""What `db accept` does: lets an older database be led on, after a person has said so."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

from luigi_ha.appliance.cli.electing import elector
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.pairing import lock_directory
from luigi_ha.appliance.cli.sharing import require_named, told
from luigi_ha.appliance.config import ConfigError, Serve, load
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store import accept as accept_past
from luigi_ha.appliance.store import open_store
from luigi_ha.ha.errors import Fatal, HaError


def accept(database: str | None, config: Path | None, *, as_json: bool) -> None:
    """Forget what was seen, here and where leadership is kept. CommandError while somebody leads."""
    with explained():
        loaded = told(load({"database": database}, config, os.environ))
        serve = loaded.options.serve
        require_named(loaded, lock_directory(serve.database))
        store = open_store(database_url(serve), call_timeout=serve.database_timeout)
        mode = kind(serve, serve.database)
        if mode == "etcd" or (mode == "file" and lock_directory(serve.database).is_dir()):
            try:
                asyncio.run(_forget(serve))
            except Fatal as error:
                raise ConfigError("election", str(error), "see docs/leadership.md") from error
            except HaError as error:
                raise CommandError(str(error), ExitCode.UNREACHABLE) from error
        position, aside = accept_past(store)
    if as_json:
        found = None if position is None else {"epoch": position.epoch, "seq": position.seq}
        print(json.dumps({"database": store.target.shown, "accepted": found, "put_aside": aside}, indent=2))
        return
    stands = "empty" if position is None else f"epoch {position.epoch}, seq {position.seq}"
    print(f"{store.target.shown} is accepted as it is ({stands}): the next node that starts leads on it")
    for path in aside:
        print(f"put aside, for it belongs to another file: {path}")


async def _forget(serve: Serve) -> None:
    access = elector(serve, f"command-{os.getpid()}", seen=False)
    try:
        leader = (await access.observe()).leader
        if leader is not None:
            what = f"{leader.name} leads (epoch {leader.epoch})"
            raise CommandError(f"{what}: stop the nodes first, all that use this database", ExitCode.FAILED)
        await access.remember(0)
    finally:
        with suppress(HaError):
            await access.close()
