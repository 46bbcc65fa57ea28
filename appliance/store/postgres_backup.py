"""A PostgreSQL database written to a file, and read from one, by PostgreSQL's own tools: pg_dump, pg_restore and psql.

Invariants
    * No password is in an argument, where everybody who can run `ps` sees it: it goes in the environment.
    * A dump is one snapshot; a restore is one transaction: it is all there, or nothing was changed.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from luigi_ha.appliance.store import schema
from luigi_ha.appliance.store.errors import DatabaseAway, Unusable
from luigi_ha.appliance.store.sqlite_backup import begins
from luigi_ha.appliance.store.target import Target

MAGIC = b"PGDMP"
DEBIAN = Path("/usr/lib/postgresql")  # one directory for each version
# Without CASCADE: what others have made on top of our tables is theirs, and an error names it.
_DROP = """
DO $$
DECLARE found text;
BEGIN
    SELECT string_agg(oid::regclass::text, ', ') INTO found FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND (relname = 'leadership' OR relname LIKE 'luigi\\_%');
    IF found IS NOT NULL THEN EXECUTE 'DROP TABLE ' || found; END IF;
    SELECT string_agg(oid::regprocedure::text, ', ') INTO found FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'luigi\\_%';
    IF found IS NOT NULL THEN EXECUTE 'DROP FUNCTION ' || found; END IF;
END $$;
"""
# The journal's and the mirrors' connections; commands have other names.
_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('luigi-ha journal', 'luigi-ha mirror') "
    "AND datname = current_database() AND pid <> pg_backend_pid()"
)
# libpq's parameters that a variable can give; most are called PG and their own name, without the underscores.
_VARIABLES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
_NAMED = frozenset(
    {
        "channel_binding", "gssencmode", "gsslib", "host", "hostaddr", "krbsrvname", "options", "passfile", "port",
        "require_auth", "requirepeer", "service", "sslcert", "sslcertmode", "sslcrl", "sslcrldir", "sslkey",
        "ssl_max_protocol_version", "ssl_min_protocol_version", "sslmode", "sslnegotiation", "sslrootcert", "sslsni",
        "target_session_attrs", "user", "password",
    }
)  # fmt: skip


def backup(target: Target, to: Path) -> int:
    """Write the database to a new file; its size in bytes. Unusable, with what pg_dump said."""
    try:
        os.close(os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise Unusable(f"{to} is there already; expected the name of a new file") from None
    except OSError as error:
        raise Unusable(f"{to} cannot be made: {error.strerror}") from None
    try:
        _run("pg_dump", ["--format=custom", "--no-password", f"--file={to}"], _environment(target))
        with to.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return to.stat().st_size


def examine(path: Path) -> str:
    """Return the version of a backup's schema. Unusable if it is no backup of ours, SchemaTooNew."""
    if not begins(path, MAGIC):
        expected = "what luigi-ha db backup made of a PostgreSQL database"
        raise Unusable(f"{path} is no backup by pg_dump; expected {expected}")
    told = _run("pg_restore", ["--data-only", f"--table={schema.VERSION_TABLE}", "--file=-", str(path)], {})
    version = _copied(told.splitlines())
    if version is None:
        raise Unusable(f"{path} is no backup of luigi-ha: there is no table {schema.VERSION_TABLE} in it")
    schema.require_known(version, path)
    return version


def restore(target: Target, path: Path) -> None:
    """Read a backup into the database, in place of our tables. Unusable: nothing was changed.

    pg_restore's own --clean cannot drop partitions. So it writes SQL, all of it before any is executed: psql would
    commit what it got of a script that ends too early.
    """
    with tempfile.TemporaryDirectory(prefix="luigi-ha-") as directory:  # for our user alone
        drop, script = Path(directory, "drop.sql"), Path(directory, "restore.sql")
        drop.write_text(_DROP)
        _run("pg_restore", ["--no-owner", "--no-privileges", f"--file={script}", str(path)], {})
        flags = ["--no-psqlrc", "--quiet", "--no-password", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        _run("psql", [*flags, "--output=/dev/null", f"--file={drop}", f"--file={script}"], _environment(target))


def sessions(target: Target) -> int:
    """Return how many connections nodes have to the database. DatabaseAway."""
    given: dict[str, Any] = {"connect_timeout": "5", **_parameters(target)}
    try:
        with closing(psycopg2.connect(**given)) as connection, connection.cursor() as cursor:
            cursor.execute(_SESSIONS)
            return int(cursor.fetchone()[0])
    except psycopg2.Error as error:
        raise DatabaseAway(f"{target.shown}: {' '.join(str(error).split())}") from None


def _environment(target: Target) -> dict[str, str]:
    """What libpq reads instead of arguments."""
    return {
        _VARIABLES.get(name, f"PG{name.replace('_', '').upper()}"): value
        for name, value in _parameters(target).items()
        if name in _VARIABLES or name in _NAMED
    }


def _parameters(target: Target) -> dict[str, str]:
    """As libpq names them. The writable one of several hosts is meant."""
    given = {"target_session_attrs": "read-write", **dict(target.options)}
    given["host"] = ",".join(host for host, _ in target.hosts)
    given["port"] = ",".join(str(port) for _, port in target.hosts)
    given["dbname"] = target.database
    if target.user is not None:
        given["user"] = target.user
    if target.password is not None:
        given["password"] = target.password
    return given


def _run(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    program = _program(name)
    try:
        done = subprocess.run(  # noqa: S603 - a program of PostgreSQL's, with arguments of ours
            [program, *arguments], env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise Unusable(f"{program} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:500] or f"it ended with {done.returncode}"
        raise Unusable(said if said.startswith(name) else f"{name}: {said}")
    return done.stdout


def _program(name: str) -> str:
    """The newest that is installed: an older one refuses a newer server."""
    versions = sorted((path for path in DEBIAN.glob(f"*/bin/{name}")), key=lambda path: float(path.parent.parent.name))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        raise Unusable(f"{name} is not installed; expected PostgreSQL's client programs in PATH")
    return found


def _copied(lines: Sequence[str]) -> str | None:
    """The first value of a COPY."""
    for number, each in enumerate(lines):
        if each.startswith("COPY ") and schema.VERSION_TABLE in each:
            value = lines[number + 1] if number + 1 < len(lines) else "\\."
            return None if value == "\\." else value
    return None
