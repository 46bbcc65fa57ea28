"""What can be configured, each option once: its type, default, bounds and meaning.

An option's name is the same in every source: the flag `--call-budget`, the variable `LUIGI_HA_CALL_BUDGET`, the TOML
key `call_budget`. Durations are seconds, sizes bytes.

Invariant: an `Options` object has passed every check, including the relations between options; a node is started
with nothing else.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from luigi_ha.appliance.config.access import check_access
from luigi_ha.appliance.config.election import Election, check_election
from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.option import option
from luigi_ha.appliance.cors import Cors
from luigi_ha.appliance.engine.errors import BadArgument
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.mail import MailOptions

LARGEST_WHOLE = 10**15  # what is counted with, as times and sizes, stays exact in a float
LUIGI_RPC_TIMEOUT = 10.0  # s; [core] rpc-connect-timeout of a stock client


@dataclass(frozen=True, slots=True)
class Serve(Election):
    """The options of the server itself."""

    database: str = option(
        "sqlite:///luigi-ha.db", "where the state is kept: sqlite:///, postgresql:// or mysql:// URL"
    )
    database_password: str = option("", "password for the database; not accepted as a flag, so that no `ps` shows it")
    database_password_file: str = option("", "file whose first line is the database password")
    database_timeout: float = option(5.0, "a database call that takes longer is given up and asked again", least=0.1)
    upgrade: bool = option(False, "upgrade an older database schema at start (SQLite: always done)")
    host: str = option("", "address to listen on; empty: all, as luigid")
    port: int = option(8082, "port to listen on", least=0, most=65535)
    metrics_host: str = option("", "address for metrics_port; empty: all")
    metrics_port: int | None = option(
        None, "serve /metrics, /health and /ready on a port of their own too", least=0, most=65535
    )
    auth: str = option(
        "auto",
        "whether callers must show a token (`luigi-ha token`); auto: on, unless only this machine reaches us (host is "
        "a loopback address, or there is a unix_socket instead)",
        choices=("auto", "on", "off"),
    )
    tls_certificate: str = option(
        "", "PEM file: our certificate and those between it and its authority; the port is HTTPS"
    )
    tls_key: str = option("", "PEM file: its key, without a passphrase")
    tls_client_ca: str = option("", "PEM file: the authorities whose client certificates are accepted")
    tls_client_required: bool = option(False, "callers must show such a certificate, besides their token")
    tls_ca: str = option(
        "",
        "PEM file: the authorities that signed the nodes' certificates, for calls between nodes; empty: the system's",
    )
    call_budget: float = option(9.0, "longest time a call waits for leader, database and commit", least=0.05)
    max_body: int = option(4 << 20, "largest request body, of calls that do not add tasks", least=1024)
    max_task_body: int = option(
        32 << 20, "largest body of calls that add tasks, which may name many thousands of them", least=1024
    )
    max_connections: int = option(
        50_000,
        "most connections open at once, as far as the system allows so many files; beyond it an idle one is closed, "
        "else the new one",
        least=16,
    )
    max_in_flight: int = option(
        128 << 20,
        "most bytes of requests and replies on their way, all together, beyond 64 KB each; callers who have not shown "
        "a token may use a quarter",
        least=1 << 20,
    )
    allowed_hosts: tuple[str, ...] = option(
        (), "names by which clients may call this node where no tokens are asked for, besides addresses, localhost, "
        "this machine's name and that of advertise"
    )
    max_waiting: int = option(20_000, "most calls that wait at once; more get a 503", least=1)
    max_waiting_bytes: int = option(256 << 20, "most bytes of waiting calls' arguments", least=1024)
    keep_alive: float = option(75.0, "an idle connection is closed after this", least=1)
    prune_every: float = option(60.0, "how often forgotten workers and finished tasks are cleaned up", least=0.05)
    drain_timeout: float = option(10.0, "longest time SIGTERM waits for calls in flight", least=0)
    position_check_every: float = option(
        2.0, "how often an idle node asks the database whether it still leads", least=0.1
    )
    history_days: float = option(30.0, "days the log of state changes is kept; 0: for ever", least=0)
    drill_reports: str = option(
        "/var/lib/luigi-ha/drills", "where drills of this cluster leave their reports, of which `status` shows the last"
    )
    log_format: str = option("keyvalue", "keyvalue or json", choices=("keyvalue", "json"))
    log_level: str = option("info", "debug, info, warning or error", choices=("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class Options:
    """Everything a node is started with."""

    serve: Serve = field(default_factory=Serve)
    scheduler: Settings = field(default_factory=Settings)
    resources: Mapping[str, float] = field(default_factory=dict)
    cors: Cors = field(default_factory=Cors)
    email: MailOptions = field(default_factory=MailOptions)


SECRET = frozenset({"database_password", "etcd_password", "password"})


# What luigid takes below this, from its own files, is no error; in ours it is one.
_LEAST = {
    "remove_delay": 0, "worker_disconnect_delay": 0, "disable_window": 0, "disable_persist": 0, "retry_count": 0,
    "disable_hard_timeout": 0, "stable_done_cooldown_secs": 0, "max_shown_tasks": 0, "max_graph_nodes": 1,
}  # fmt: skip
# Durations that may be `inf`: never.
_UNENDING = frozenset({"retry_delay", "retry_delay_max", "remove_delay", "worker_disconnect_delay", "worker_grace"})


def names(owner: type) -> frozenset[str]:
    """The option names of one section."""
    return frozenset(f.name for f in fields(owner))


def coerce(owner: type, name: str, value: Any, where: str) -> Any:
    """The value in the option's type, from TOML or from text; ConfigError says what would be right."""
    hint = get_type_hints(owner)[name]
    kinds = tuple(k for k in getattr(hint, "__args__", (hint,)) if k in _COERCE) or (hint,)
    if getattr(hint, "__origin__", None) in (tuple, Mapping):
        kinds = (hint.__origin__,)
    if hint == Mapping[str, int]:
        kinds = (Mapping,)
    try:
        result = _unending(value) if owner is Settings and name in _UNENDING else None
        result = _COERCE[kinds[0]](value) if result is None else result
    except (ValueError, TypeError):
        raise ConfigError(where, f"{name} = {value!r}", f"expected {_KIND[kinds[0]]}") from None
    if owner is Settings and name in _LEAST and result < _LEAST[name]:
        raise ConfigError(where, f"{name} = {value!r}", f"expected {_LEAST[name]} or more")
    metadata = next(f.metadata for f in fields(owner) if f.name == name)
    if metadata:
        _check(metadata, name, result, where)
    return result


def build(owner: type, values: dict[str, Any], where: Callable[[str], str]) -> Any:
    """An object of the section's class; its own checks speak as ConfigError with the source of the key."""
    try:
        return owner(**values)
    except BadArgument as error:
        raise ConfigError(where(error.argument.split(".")[0]), str(error)) from None


def check_relations(options: Options, where: Callable[[str], str]) -> None:
    """The timeouts must fit each other; a set that does not is refused with its numbers."""
    serve, scheduler = options.serve, options.scheduler
    if serve.call_budget >= LUIGI_RPC_TIMEOUT:
        raise ConfigError(
            where("call_budget"),
            f"call_budget = {serve.call_budget:g} s",
            f"must be less than luigi's rpc timeout ({LUIGI_RPC_TIMEOUT:g} s): a later reply finds nobody",
        )
    if scheduler.worker_disconnect_delay and scheduler.worker_grace < scheduler.worker_disconnect_delay:
        raise ConfigError(
            where("worker_grace"),
            f"worker_grace = {scheduler.worker_grace:g} s but worker_disconnect_delay = "
            f"{scheduler.worker_disconnect_delay:g} s",
            "worker_grace must not be less: a restart must not forget workers sooner than silence does",
        )
    check_election(serve, serve.database, where)
    check_access(serve, where)
    if serve.database_password and serve.database_password_file:
        raise ConfigError(where("database_password_file"), "database_password is set too", "give one of them")


def _check(metadata: Mapping[str, Any], name: str, value: Any, where: str) -> None:
    if metadata["choices"] and value not in metadata["choices"]:
        raise ConfigError(where, f"{name} = {value!r}", f"expected one of {', '.join(metadata['choices'])}")
    if isinstance(value, (int, float)) and not metadata["least"] <= value <= metadata["most"]:
        bounds = f"at least {metadata['least']:g}" + (
            f" and at most {metadata['most']:g}" if metadata["most"] < math.inf else ""
        )
        raise ConfigError(where, f"{name} = {value!r}", f"expected {bounds}")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    result = int(value)
    if abs(result) > LARGEST_WHOLE:
        raise ValueError(value)
    return result


def number(value: Any) -> float:
    """A finite number; whole ones stay whole."""
    result = math.nan if isinstance(value, bool) else float(value)
    if not math.isfinite(result):
        raise ValueError(value)
    return result


def _unending(value: Any) -> float | None:
    """Infinity if it is said in so many words; None otherwise."""
    return math.inf if str(value).strip().lower() in ("inf", "+inf", "infinity") else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith(("[", "(")):  # luigi's ListParameter writes JSON
            stripped = stripped.strip("[]()").replace('"', "").replace("'", "")
        return tuple(part.strip() for part in stripped.split(",") if part.strip())
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ValueError(value)


def _counts(value: Any) -> dict[str, int]:
    if isinstance(value, str):  # marketing=5,finance=2
        value = dict(part.split("=", 1) for part in value.replace(" ", "").split(",") if part)
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return {str(key).strip(): _int(amount) for key, amount in value.items()}


_COERCE: dict[Any, Callable[[Any], Any]] = {
    bool: _bool,
    int: _int,
    float: number,
    str: _text,
    tuple: _texts,
    Mapping: _counts,
}
_KIND = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of texts",
    Mapping: "a table of whole numbers, such as { marketing = 5 } (as text: marketing=5,finance=2)",
}
