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
from luigi_ha.appliance.cli.schema import named, store_of
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.config import ConfigError, Loaded, Serve
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store import Position, SchemaState, postgres_backup, sqlite_backup
from luigi_ha.appliance.store.past import position_of
from luigi_ha.appliance.store.target import Kind, Target, parse
from luigi_ha.ha.errors import Fatal, HaError


def backup(database: str | None, config: Path | None, file: Path, *, as_json: bool) -> None:
    """Write the database to a file, and say how far it goes."""
    _require_name(file)
    with explained():
        loaded, target = _target(database, config)
        store = store_of(loaded)
        status = store.check()
        if status.state is SchemaState.MISSING:
            raise CommandError(f"{target.shown}: there is nothing to back up; expected a database of luigi-ha")
        if target.kind is Kind.SQLITE:
            copied = sqlite_backup.backup(target.path, file)
            size: int = copied.size
            position: Position | None = copied.position
        else:
            position = position_of(store)  # before the dump, which has at least this
            size = postgres_backup.backup(target, file)
    done = {"database": target.shown, "file": str(file), "bytes": size, "schema": status.found, **_at(position)}
    if as_json:
        print(json.dumps(done, indent=2))
        return
    print(f"{target.shown}: backed up in {file} ({_size(size)}, {_shown(position)}, schema {status.found})")


def restore(database: str | None, config: Path | None, file: Path, *, replace: bool, as_json: bool) -> None:
    """Put a backup in the database's place, and say what comes next. What is there now may be damaged."""
    _require_name(file)
    with explained():
        loaded, target = _target(database, config)
        sqlite = target.kind is Kind.SQLITE
        (sqlite_backup if sqlite else postgres_backup).examine(file)
        _require_stopped(loaded.options.serve, target)
        if not replace and not _empty(loaded, target):
            what = f"{target.shown} is not empty; expected an empty database, or --replace"
            raise CommandError(f"{what}, which {'puts it aside' if sqlite else 'drops its tables'}")
        aside: list[Path] = []
        if sqlite:
            suffix = f"before-{datetime.fromtimestamp(wall(), UTC):%Y%m%dT%H%M%SZ}"
            _, aside = sqlite_backup.restore(file, target.path, aside=suffix)
        else:
            postgres_backup.restore(target, file)
        store = store_of(loaded)
        status, position = store.check(), position_of(store)
    next_ = _next(status.state, target, database, config)
    if as_json:
        done: dict[str, Any] = {"database": target.shown, "file": str(file), "schema": status.found}
        done |= {**_at(position), "put_aside": [str(path) for path in aside], "next": next_}
        print(json.dumps(done, indent=2))
        return
    print(f"{target.shown}: restored from {file} ({_shown(position)}, schema {status.found})")
    for path in aside:
        print(f"put aside: {path}")
    print("next: " + ", then ".join([*next_, "start the nodes"]))


def _require_name(file: Path) -> None:
    """CommandError for what other programs take as standard input or output."""
    if str(file) == "-":
        reason = "a backup is there whole or not at all, and a pipe cannot be that"
        raise CommandError(f"{file}: {reason}; expected the name of a file", ExitCode.CONFIG)


def _target(database: str | None, config: Path | None) -> tuple[Loaded, Target]:
    loaded = named(database, config)
    target = parse(database_url(loaded.options.serve))
    if target.kind is Kind.MYSQL:
        what = f"{target.shown}: MariaDB and MySQL are backed up by their own tools"
        raise CommandError(f"{what}; expected mariadb-dump --single-transaction (docs/operations.md)", ExitCode.CONFIG)
    return loaded, target


def _empty(loaded: Loaded, target: Target) -> bool:
    if target.kind is Kind.SQLITE:
        return not target.path.exists() or not target.path.stat().st_size  # whatever it is
    return store_of(loaded).check().state is SchemaState.MISSING


def _require_stopped(serve: Serve, target: Target) -> None:
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
            raise CommandError(f"nodes run on {target.shown}: {', '.join(running)}; expected all to be stopped")
    if target.kind is Kind.SQLITE:
        busy = target.path.exists() and sqlite_backup.in_use(target.path)
    else:
        busy = postgres_backup.sessions(target) > 0
    if busy:
        raise CommandError(f"{target.shown} is in use by another process; expected all nodes to be stopped")


async def _present(serve: Serve) -> list[str]:
    access = elector(serve, f"command-{os.getpid()}", seen=False)
    try:
        leader = (await access.observe()).leader
        names = [member.name for member in await access.members()]
    finally:
        with suppress(HaError):
            await access.close()
    return list(dict.fromkeys([*([leader.name] if leader is not None else []), *names]))


def _next(state: SchemaState, target: Target, database: str | None, config: Path | None) -> list[str]:
    """The commands that come before the start of the nodes."""
    named = f" --config {config}" if config else "" if database is None else f" --database {target.shown}"
    outdated = state is SchemaState.OLD and target.kind is not Kind.SQLITE
    upgrade = [f"luigi-ha db upgrade{named}"] if outdated else []
    return [*upgrade, f"luigi-ha db accept{named}"]


def _at(position: Position | None) -> dict[str, int | None]:
    return {"epoch": position.epoch if position else None, "seq": position.seq if position else None}


def _shown(position: Position | None) -> str:
    return "no position" if position is None else f"epoch {position.epoch}, seq {position.seq}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"
