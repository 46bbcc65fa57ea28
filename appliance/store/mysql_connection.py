"""MariaDB and MySQL connections that cannot hang: every read and write on the socket has a deadline."""

from collections.abc import Callable
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from luigi_ha.appliance.store.errors import BadUrl, DatabaseAway, Unusable
from luigi_ha.appliance.store.target import Target

DEFINITE = (1044, 1045, 1049, 1698)  # not allowed, wrong password, no such database
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "ssl_ca": str,
    "ssl_cert": str,
    "ssl_key": str,
    "ssl_verify_cert": lambda v: v != "0",
    "unix_socket": str,
}


def connect(
    target: Target, *, connect_timeout: float, call_timeout: float, cursor: type[Any] = pymysql.cursors.Cursor
) -> "pymysql.connections.Connection[Any]":
    """Open a session on the first host that answers. Autocommit is on; isolation is REPEATABLE READ."""
    problems = []
    definite = True
    for host, port in target.hosts:
        place: dict[str, Any] = {"unix_socket": host} if host.startswith("/") else {"host": host, "port": port}
        try:
            connection = pymysql.connect(
                **place,
                **check_options(target),
                user=target.user,
                password=target.password or "",
                database=target.database,
                charset="utf8mb4",
                autocommit=True,
                client_flag=CLIENT.FOUND_ROWS,  # an UPDATE counts the rows it matched, as elsewhere
                connect_timeout=max(1, round(connect_timeout)),
                read_timeout=call_timeout,
                write_timeout=call_timeout,
                cursorclass=cursor,
            )
        except pymysql.err.OperationalError as error:
            definite &= error.args[0] in DEFINITE
            problems.append(f"{host}:{port}: {error.args[-1]}")
            continue
        with connection.cursor() as session:
            session.execute(
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', "
                f"innodb_lock_wait_timeout = {max(1, int(call_timeout * 0.4))}, "
                "transaction_isolation = 'REPEATABLE-READ'"
                if not _is_mariadb(connection)
                else "SET SESSION sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00', "
                f"innodb_lock_wait_timeout = {max(1, int(call_timeout * 0.4))}, "
                f"tx_isolation = 'REPEATABLE-READ', idle_transaction_timeout = {max(2, int(call_timeout * 2))}"
            )
        return connection
    raise (Unusable if definite else DatabaseAway)(f"cannot connect to {target.shown}: " + "; ".join(problems))


def _is_mariadb(connection: "pymysql.connections.Connection[Any]") -> bool:
    return "mariadb" in str(connection.get_server_info()).lower()  # type: ignore[no-untyped-call]


def check_options(target: Target) -> dict[str, Any]:
    """The URL's options as the driver's arguments; BadUrl names one it does not have."""
    unknown = [name for name, _ in target.options if name not in _OPTIONS]
    if unknown:
        raise BadUrl(f"database URL: unknown option {', '.join(unknown)}; mysql has {', '.join(_OPTIONS)}")
    return {name: _OPTIONS[name](value) for name, value in target.options}
