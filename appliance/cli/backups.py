"""What `db backup` and `db restore` do."""

import asyncio
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luigi_ha.appliance.cli.electing import elector
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.pairing import lock_directory
from luigi_ha.appliance.cli.sharing import require_named
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.config import ConfigError, Loaded, Serve, load
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.places import sqlite_path
from luigi_ha.appliance.store import Position, SchemaState, Store, open_store, postgres_backup, sqlite_backup
from luigi_ha.appliance.store.past import position_of
from luigi_ha.appliance.store.target import Kind
from luigi_ha.ha.errors import Fatal, HaError


def backup(database: str | None, config: Path | None, file: Path, *, as_json: bool) -> None:
    """Write the database to a file, and say how far it goes."""
    with explained():
        _, store = _opened(database, config)
        status = store.check()
        if status.state is SchemaState.MISSING:
            raise CommandError(f"{store.target.shown}: there is nothing to back up; expected a database of luigi-ha")
        if store.file is not None:
            copied = sqlite_backup.backup(store.file.path, file)
            size: int = copied.size
            position: Position | None = copied.position
        else:
            position = position_of(store)  # before the dump, which has at least this
            size = postgres_backup.backup(store.target, file)
    done = {"database": store.target.shown, "file": str(file), "bytes": size, "schema": status.found, **_at(position)}
    if as_json:
        print(json.dumps(done, indent=2))
        return
    print(f"{store.target.shown}: backed up in {file} ({_size(size)}, {_shown(position)}, schema {status.found})")


def restore(database: str | None, config: Path | None, file: Path, *, replace: bool, as_json: bool) -> None:
    """Put a backup in the database's place, and say what comes next."""
    with explained():
        loaded, store = _opened(database, config)
        sqlite = store.file is not None
        (sqlite_backup if sqlite else postgres_backup).examine(file)
        _require_stopped(loaded.options.serve, store)
        if not replace and not _empty(store):
            what = f"{store.target.shown} is not empty; expected an empty database, or --replace"
            raise CommandError(f"{what}, which {'puts it aside' if sqlite else 'drops its tables'}")
        aside: list[Path] = []
        if store.file is not None:
            suffix = f"before-{datetime.fromtimestamp(wall(), UTC):%Y%m%dT%H%M%SZ}"
            _, aside = sqlite_backup.restore(file, store.file.path, aside=suffix)
        else:
            postgres_backup.restore(store.target, file)
        now = open_store(database_url(loaded.options.serve), call_timeout=loaded.options.serve.database_timeout)
        status, position = now.check(), position_of(now)
    next_ = _next(status.state, store, database, config)
    if as_json:
        done: dict[str, Any] = {"database": store.target.shown, "file": str(file), "schema": status.found}
        done |= {**_at(position), "put_aside": [str(path) for path in aside], "next": next_}
        print(json.dumps(done, indent=2))
        return
    print(f"{store.target.shown}: restored from {file} ({_shown(position)}, schema {status.found})")
    for path in aside:
        print(f"put aside: {path}")
    print("next: " + ", then ".join([*next_, "start the nodes"]))


def _opened(database: str | None, config: Path | None) -> tuple[Loaded, Store]:
    loaded = load({"database": database}, config, os.environ)
    serve = loaded.options.serve
    require_named(loaded, sqlite_path(serve.database))
    store = open_store(database_url(serve), call_timeout=serve.database_timeout)
    if store.target.kind is Kind.MYSQL:
        what = f"{store.target.shown}: MariaDB and MySQL are backed up by their own tools"
        raise CommandError(f"{what}; expected mariadb-dump --single-transaction (docs/operations.md)", ExitCode.CONFIG)
    return loaded, store


def _empty(store: Store) -> bool:
    path = store.file.path if store.file is not None else None
    if path is not None and path.exists() and path.stat().st_size:
        return False  # whatever it is
    return store.check().state is SchemaState.MISSING


def _require_stopped(serve: Serve, store: Store) -> None:
    """CommandError while a node leads, is present, or has the database open."""
    mode = kind(serve, serve.database)
    if mode == "etcd" or (mode == "file" and lock_directory(serve.database).is_dir()):
        try:
            running = asyncio.run(_present(serve))
        except Fatal as error:
            raise ConfigError("election", str(error), "see docs/leadership.md") from error
        except HaError as error:
            raise CommandError(str(error), ExitCode.UNREACHABLE) from error
        if running:
            raise CommandError(f"nodes run on {store.target.shown}: {', '.join(running)}; expected all to be stopped")
    if store.file is not None:
        busy = store.file.there and sqlite_backup.in_use(store.file.path)
    else:
        busy = postgres_backup.sessions(store.target) > 0
    if busy:
        raise CommandError(f"{store.target.shown} is in use by another process; expected all nodes to be stopped")


async def _present(serve: Serve) -> list[str]:
    access = elector(serve, f"command-{os.getpid()}", seen=False)
    try:
        leader = (await access.observe()).leader
        names = [member.name for member in await access.members()]
    finally:
        with suppress(HaError):
            await access.close()
    return list(dict.fromkeys([*([leader.name] if leader is not None else []), *names]))


def _next(state: SchemaState, store: Store, database: str | None, config: Path | None) -> list[str]:
    """The commands that come before the start of the nodes."""
    named = f" --config {config}" if config else "" if database is None else f" --database {store.target.shown}"
    upgrade = [f"luigi-ha db upgrade{named}"] if state is SchemaState.OLD and store.file is None else []
    return [*upgrade, f"luigi-ha db accept{named}"]


def _at(position: Position | None) -> dict[str, int | None]:
    return {"epoch": position.epoch if position else None, "seq": position.seq if position else None}


def _shown(position: Position | None) -> str:
    return "no position" if position is None else f"epoch {position.epoch}, seq {position.seq}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"
