"""PostgreSQL connections that cannot hang.

libpq waits for ever for a server that is frozen or cut off, and no server-side timeout ends a synchronous commit's
wait. So psycopg2 is put into its cooperative mode: a callback waits for the socket, by a deadline of ours, and when
that has passed the connection is dropped. The callback is one for the whole process; it reads the budget from the
connection, and leaves connections that are not ours without a deadline.

A machine that vanishes is noticed sooner than that: the kernel gives up on what it does not acknowledge.

Not covered: looking up a host's name blocks inside libpq for as long as the resolver takes.
"""

import select
from typing import Any, NamedTuple

import psycopg2
import psycopg2.extensions as pg
from psycopg2.extensions import parse_dsn

from luigi_ha.appliance import clock
from luigi_ha.appliance.store.target import Target

JOURNAL_NAME = "luigi-ha journal"
# Until a peer that acknowledges nothing is given up (ms). A silent one is probed after 1 s and given up after 2.
UNACKNOWLEDGED_MS = 1500
_LINEAGE = "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()"
_NO_LINEAGE = ("42883", "42501", "0A000")  # a service that hides these functions


class CallTimeout(psycopg2.OperationalError):
    """The server did not answer in time. The connection is gone; what it was asked may still happen."""


class Lineage(NamedTuple):
    """Which cluster a server belongs to, and the timeline that it writes (each promotion starts a higher one)."""

    system: int
    timeline: int


class Connection(pg.connection):
    """A connection whose every call ends within `budget` seconds."""

    budget: float
    place: tuple[str, int]
    lineage: Lineage | None = None  # None: the server does not tell
    opened: float = 0.0  # clock.monotonic

    def __init__(self, dsn: str, budget: float) -> None:
        self.budget = budget
        super().__init__(dsn)


def shown(place: tuple[str, int]) -> str:
    """A server as "host:port"."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wait(connection: pg.connection) -> None:
    budget = getattr(connection, "budget", None)
    deadline = None if budget is None else clock.monotonic() + budget
    while True:
        state = connection.poll()
        if state == pg.POLL_OK:
            return
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == pg.POLL_READ else select.POLLOUT)
        if deadline is None:
            poller.poll()
            continue
        left = deadline - clock.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            # Raising makes psycopg2 close the socket: the only way out that does not need the server.
            raise CallTimeout(f"no answer within {budget:g} s")


pg.set_wait_callback(_wait)


def connect(
    target: Target, place: tuple[str, int], *, connect_timeout: float, call_timeout: float, name: str
) -> Connection:
    """Open a session on one host if it accepts writes. Raises psycopg2.Error."""
    connection: Any = psycopg2.connect(
        connection_factory=lambda dsn, **_: Connection(dsn, connect_timeout),
        **_parameters(target, *place, call_timeout, name),
    )
    try:
        connection.autocommit = True
        connection.place = place
        with connection.cursor() as cursor:
            cursor.execute(_session(call_timeout))
            connection.lineage = _lineage(cursor)
    except BaseException:
        connection.close()
        raise
    connection.budget = call_timeout
    connection.opened = clock.monotonic()
    return connection  # type: ignore[no-any-return]


def _lineage(cursor: Any) -> Lineage | None:
    try:
        # Not what the last checkpoint says: that lags behind a promotion.
        cursor.execute(_LINEAGE)
    except psycopg2.Error as error:
        if error.pgcode in _NO_LINEAGE:
            return None
        raise
    system, segment = cursor.fetchone()
    return Lineage(int(system), int(segment[:8], 16))


def _parameters(target: Target, host: str, port: int, call_timeout: float, name: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "application_name": name,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": min(UNACKNOWLEDGED_MS, int(call_timeout * 1000)),
    }
    parameters.update(target.options)
    parameters |= {"host": host, "port": port, "dbname": target.database, "client_encoding": "UTF8"}
    parameters["target_session_attrs"] = "read-write"
    if target.user is not None:
        parameters["user"] = target.user
    if target.password is not None:
        parameters["password"] = target.password
    return parameters


def _session(call_timeout: float) -> str:
    """What every session of ours runs under. A lock is given up well before the client gives up on the call."""
    lock = max(1, int(call_timeout * 400))
    idle = max(1000, int(call_timeout * 2000))
    return (
        f"SET standard_conforming_strings = on; SET synchronous_commit = on; SET client_min_messages = warning; "
        f"SET lock_timeout = {lock}; SET idle_in_transaction_session_timeout = {idle}; SET timezone = 'UTC'; "
        f"SET default_transaction_isolation = 'read committed'; SET datestyle = 'ISO'"
    )


def check_options(target: Target) -> None:
    """Raise psycopg2.ProgrammingError if libpq does not know one of the URL's options."""
    if target.options:
        parse_dsn(" ".join(f"{name}='{_quoted(value)}'" for name, value in target.options))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
