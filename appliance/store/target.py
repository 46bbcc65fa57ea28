"""A database URL, understood. The password stays inside; `shown` is for people and logs."""

import enum
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from luigi_ha.appliance.store.errors import BadUrl

FORMS = "sqlite:///file.db, sqlite:////absolute/file.db, postgresql://user@host1,host2/database or mysql://user@host/database"


class Kind(enum.Enum):
    """The database families. The value is SQLAlchemy's name."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"  # and MariaDB


_SCHEMES = {
    "sqlite": Kind.SQLITE,
    "postgresql": Kind.POSTGRESQL,
    "postgres": Kind.POSTGRESQL,
    "mysql": Kind.MYSQL,
    "mariadb": Kind.MYSQL,
}
_PORTS = {Kind.POSTGRESQL: 5432, Kind.MYSQL: 3306}


@dataclass(frozen=True, slots=True)
class Target:
    """Which database, where, as whom."""

    kind: Kind
    path: Path = Path()  # SQLite
    hosts: tuple[tuple[str, int], ...] = ()  # tried in order; a name starting with "/" is a socket directory (or file)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    options: tuple[tuple[str, str], ...] = ()  # for the driver, from the URL's query

    @property
    def shown(self) -> str:
        """The URL without the password and the options."""
        if self.kind is Kind.SQLITE:
            return f"sqlite:///{self.path}"
        user = f"{self.user}@" if self.user else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.kind.value}://{user}{hosts}/{self.database}"


def parse(url: str) -> Target:
    """Read a database URL; BadUrl says what is wrong with it, and never repeats a password."""
    scheme, separator, rest = url.partition("://")
    kind = _SCHEMES.get(scheme.partition("+")[0].lower())
    if not separator or kind is None:
        raise BadUrl(f"database URL: {scheme.partition(':')[0]!r} is no kind of database we know; expected {FORMS}")
    if kind is Kind.SQLITE:
        return _sqlite(rest)
    account = rest.rpartition("@")[0]
    if any(character in account for character in "/?#@"):
        # Whatever is read out of such a URL may be a piece of the password: nothing of it is repeated.
        odd = "an @ after a / ? # or another @; in a user or a password these are written %2F %3F %23 %40"
        raise BadUrl(f"database URL: it has {odd}; expected {FORMS}")
    try:
        return _server(kind, urlsplit(url))
    except ValueError as error:
        raise BadUrl(f"database URL: {error}; expected {FORMS}") from None


def _sqlite(rest: str) -> Target:
    path, _, query = rest.partition("?")
    if query:
        raise BadUrl("database URL: sqlite takes no options (after the question mark)")
    if not path.startswith("/") or path == "/" or ":memory:" in path:
        raise BadUrl("database URL: sqlite needs a file: sqlite:///relative.db or sqlite:////absolute/path.db")
    return Target(Kind.SQLITE, path=Path(unquote(path[1:])))


def _server(kind: Kind, parts: SplitResult) -> Target:
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    try:
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("the options after ? are not name=value&name=value, percent-encoded") from None
    if parts.fragment:
        raise ValueError("there is a #; in a password it is written %23")
    named = [value for name, value in options if name == "host"]
    hosts = tuple(_host(kind, place) for place in (",".join(named) or unquote(places) or "localhost").split(","))
    database = unquote(parts.path.removeprefix("/")) or (unquote(user) if kind is Kind.POSTGRESQL else "")
    if not database:
        raise ValueError("the database's name is missing")
    return Target(
        kind,
        hosts=hosts,
        user=unquote(user) or None,
        password=unquote(password) or None,
        database=database,
        options=tuple((name, value) for name, value in options if name != "host"),
    )


def _host(kind: Kind, place: str) -> tuple[str, int]:
    if place.startswith("/"):
        return place, _PORTS[kind]
    name, _, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not name and port:
        name, port = port, ""
    if not name:
        raise ValueError(f"a host's name is missing in {place!r}")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is no port")
    return name.strip("[]"), int(port) if port else _PORTS[kind]
