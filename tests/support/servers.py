"""Throw-away database servers: real ones, in a temporary directory, on a free port of the loopback address.

    with postgres_server() as server:
        server.url()      # postgresql://luigi@127.0.0.1:40123/luigi
        server.kill()     # SIGKILL to every process of it
        server.start()
        server.freeze()   # SIGSTOP to every process of it; thaw() continues
        server.stop()     # orderly

    with postgres_server() as primary, postgres_standby(primary, "two") as standby:
        primary.synchronous("two")   # commits wait for it from now on
        standby.promote()

Commits are flushed as in production (fsync is on). The servers run as their own unprivileged users when the tests run
as root. Needs Debian's postgresql and mariadb-server packages; `available()` says whether they are there.
"""

import atexit
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.server_process import (
    DISK,
    MEMORY,
    START_SECONDS,
    Server,
    ServerError,
    own_directory,
    program,
)

__all__ = [
    "DISK",
    "MEMORY",
    "START_SECONDS",
    "MariadbServer",
    "PostgresServer",
    "Server",
    "ServerError",
    "available",
    "mariadb_server",
    "postgres_program",
    "postgres_server",
    "postgres_standby",
]

_directory = own_directory  # its earlier name here
STANDBY = ("-c", "wal_retrieve_retry_interval=200ms")  # how soon it looks for its primary again


class PostgresServer(Server):
    """PostgreSQL with a superuser `luigi` who needs no password from this machine."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: does not wait for sessions
    host = "127.0.0.1"  # where it listens, besides a socket in its directory
    _empty: Path | None = None  # a data directory to copy: making one takes a second

    def create(self) -> None:
        if PostgresServer._empty is None:
            directory = Path(tempfile.mkdtemp(prefix="lha-", dir=MEMORY))
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            if self.account is not None:
                shutil.chown(directory, self.account, self.account)
            self.run(
                postgres_program("initdb"), "-D", str(directory / "data"), "-U", "luigi", "-A", "trust", "-E", "UTF8",
                "--locale=C.UTF-8", "--no-sync",
            )  # fmt: skip
            PostgresServer._empty = directory / "data"
        self.run("cp", "-a", str(PostgresServer._empty), str(self.data))

    def command(self) -> list[str]:
        return [
            postgres_program("postgres"), "-D", str(self.data), "-h", self.host, "-p", str(self.port),
            "-k", str(self.directory), "-c", "max_connections=50", "-c", "shared_buffers=128MB",
            "-c", "dynamic_shared_memory_type=mmap",  # files of its directory: /dev/shm keeps those of a killed server
        ]  # fmt: skip

    def ready(self) -> bool:
        with contextlib.suppress(ServerError):
            self.run(postgres_program("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port))
            return True
        return False

    def url(self, database: str = "luigi") -> str:
        return f"postgresql://luigi@{self.host}:{self.port}/{database}"

    def clone(self, primary: "PostgresServer", name: str) -> None:
        """Become a standby of a running server, known to it as `name`."""
        place = f"host={primary.host} port={primary.port} user=luigi application_name={name}"
        self.run(
            postgres_program("pg_basebackup"), "-d", place, "-D", str(self.data), "-X", "stream", "-c", "fast", "-R",
            "--no-sync",
        )  # fmt: skip

    def catch_up(self, primary: "PostgresServer") -> None:
        """Return when this standby has replayed all that the primary has written until now."""
        end = primary.sql("SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + START_SECONDS
        while self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") != "t":
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}: has not replayed {end} of its primary")
            time.sleep(0.02)

    def promote(self) -> None:
        """Make a standby a primary, on a new timeline; returns when it accepts writes."""
        self.run(postgres_program("pg_ctl"), "promote", "-D", str(self.data), "-w")

    def synchronous(self, *names: str) -> None:
        """Make commits wait for these standbys (none: for nobody); returns when one of them counts."""
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{', '.join(names)}'")
        self.sql("SELECT pg_reload_conf()")
        wanted = "t" if names else "f"
        asked = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        deadline = time.monotonic() + START_SECONDS
        while self.sql(asked) != wanted:
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}: no standby became synchronous")
            time.sleep(0.02)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run SQL through psql; its output, unaligned."""
        return self.run(
            postgres_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory),
            "-p", str(self.port), "-U", "luigi", "-d", database, "-c", statement,
        ).stdout.strip()  # fmt: skip


class MariadbServer(Server):
    """MariaDB with a user `luigi` who may do everything and needs no password."""

    name = "mariadb"

    def create(self) -> None:
        self.run(
            program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
            "--auth-root-authentication-method=normal",
        )  # fmt: skip

    def command(self) -> list[str]:
        return [
            program("mariadbd"), "--no-defaults", f"--datadir={self.data}", "--bind-address=127.0.0.1",
            f"--port={self.port}", f"--socket={self.socket}", "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=1",
        ]  # fmt: skip

    @property
    def socket(self) -> Path:
        return self.directory / "m.sock"

    def ready(self) -> bool:
        with contextlib.suppress(ServerError):
            self.sql("SELECT 1", "")
            return True
        return False

    def url(self, database: str = "luigi") -> str:
        return f"mysql://luigi@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "mysql") -> str:
        """Run SQL as root; its output, tab-separated."""
        return self.run(
            program("mariadb"), "--no-defaults", f"--socket={self.socket}", "-u", "root", "-N", "-B", "-e", statement,
            *([database] if database else []),
        ).stdout.strip()  # fmt: skip


def postgres_program(name: str) -> str:
    """The path of one of PostgreSQL's programs, of the newest version installed."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    return str(versions[0]) if versions else program(name)


def available(name: str) -> bool:
    """Whether "postgres" or "mariadbd" is installed."""
    try:
        postgres_program(name) if name == "postgres" else program(name)
    except ServerError:
        return False
    return True


@contextlib.contextmanager
def postgres_server(options: Sequence[str] = (), parent: Path = DISK) -> Iterator[PostgresServer]:
    """A running PostgreSQL with an empty database `luigi`; `options` like ("-c", "fsync=off").

    With `parent` MEMORY it starts several times faster, and its disk does not survive the machine.
    """
    with own_directory(parent) as directory:
        server = PostgresServer(directory, "postgres", options)
        server.create()
        server.start()
        try:
            server.sql("CREATE DATABASE luigi")
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def postgres_standby(primary: PostgresServer, name: str, options: Sequence[str] = STANDBY) -> Iterator[PostgresServer]:
    """A running standby of a running server; asynchronous until `primary.synchronous(name)`."""
    with own_directory(primary.directory.parent) as directory:
        server = PostgresServer(directory, "postgres", options)
        server.clone(primary, name)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def mariadb_server(options: Sequence[str] = (), parent: Path = DISK) -> Iterator[MariadbServer]:
    """A running MariaDB with an empty database `luigi`; `options` like ("--max-allowed-packet=64M",).

    `parent` as for `postgres_server`.
    """
    with own_directory(parent) as directory:
        server = MariadbServer(directory, "mysql", options)
        server.create()
        server.start()
        try:
            server.sql("CREATE USER luigi@'127.0.0.1'; GRANT ALL ON *.* TO luigi@'127.0.0.1'; CREATE DATABASE luigi")
            yield server
        finally:
            server.kill()
