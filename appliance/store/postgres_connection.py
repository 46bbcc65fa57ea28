"""PostgreSQL connections that cannot hang.

libpq waits for ever for a server that is frozen or cut off, and no server-side timeout ends a synchronous commit's
wait. So psycopg2 is put into its cooperative mode: a callback waits for the socket, by a deadline of ours, and when
that has passed the connection is dropped. The callback is one for the whole process; it reads the budget from the
connection, and leaves connections that are not ours without a deadline.

Not covered: looking up a host's name blocks inside libpq for as long as the resolver takes.
"""

import select
from typing import Any

import psycopg2
import psycopg2.extensions as pg
from psycopg2.extensions import parse_dsn

from appliance import clock
from appliance.store.errors import DatabaseAway, Unusable
from appliance.store.target import Target

# The driver does not tell the SQLSTATE of a refused connection; a server that speaks another language is retried.
DEFINITE = ("does not exist", "authentication failed", "no password supplied", "no pg_hba.conf entry", "not permitted")
JOURNAL_NAME = "luigi-ha journal"


class CallTimeout(psycopg2.OperationalError):
    """The server did not answer in time. The connection is gone; what it was asked may still happen."""


class Connection(pg.connection):
    """A connection whose every call ends within `budget` seconds."""

    budget: float

    def __init__(self, dsn: str, budget: float) -> None:
        self.budget = budget
        super().__init__(dsn)


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


def connect(target: Target, *, connect_timeout: float, call_timeout: float, name: str) -> Connection:
    """Open a session on the first host that accepts writes. `connect_timeout` is for each host."""
    problems = []
    for host, port in target.hosts:
        try:
            connection: Any = psycopg2.connect(
                connection_factory=lambda dsn, **_: Connection(dsn, connect_timeout),
                **_parameters(target, host, port, call_timeout, name),
            )
        except psycopg2.OperationalError as error:
            problems.append(f"{host}:{port}: {str(error).strip() or type(error).__name__}")
            continue
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_session(call_timeout))
        connection.budget = call_timeout
        return connection  # type: ignore[no-any-return]
    definite = all(any(words in problem for words in DEFINITE) for problem in problems)
    raise (Unusable if definite else DatabaseAway)(f"cannot connect to {target.shown}: " + "; ".join(problems))


def _parameters(target: Target, host: str, port: int, call_timeout: float, name: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "application_name": name,
        "target_session_attrs": "read-write",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": int(call_timeout * 1000),
    }
    parameters.update(target.options)
    parameters |= {"host": host, "port": port, "dbname": target.database, "client_encoding": "UTF8"}
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
