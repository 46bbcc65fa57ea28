"""The operator's own cluster, as a node's configuration names it: nothing is killed there, and only safe faults strike.

Clients call where the configuration says that they do (the address that moves, else what this node advertises), with
the token of LUIGI_HA_TOKEN or LUIGI_HA_TOKEN_FILE if the cluster asks for one. The database is read, never written.
What a drill leaves are tasks of its own that are done; the scheduler forgets them as it does all others.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, NoReturn, Self

import psycopg2

from luigi_ha.appliance.cli import wishes
from luigi_ha.appliance.cli.client import token_of
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import shared
from luigi_ha.appliance.config.access import own_url
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import (
    ASKING,
    BIN,
    Answer,
    DrillError,
    Part,
    Strike,
    TooLong,
    led_by,
    over_http,
    started,
)
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.lab import inside
from luigi_ha.appliance.store import StoreError
from luigi_ha.appliance.store.primary import Primary
from luigi_ha.appliance.store.target import Kind, parse
from luigi_ha.appliance.tls import TlsError, TlsFiles, client_context

OK = 200
CONNECT, QUERY = 3.0, 60.0  # s
SETTLES_WITHIN = 60.0
NOT_HERE = "a drill on the operator's own hosts kills nothing"


class OnHosts:
    """A cluster that is there already, as `with OnHosts(config) as place`."""

    kind = "hosts"
    workers: Sequence[Daemon] = ()

    def __init__(self, config: Path | None) -> None:
        """CommandError or ConfigError for a configuration that names no cluster on PostgreSQL."""
        self._config = config
        serve = shared(config, {})
        try:
            target = parse(database_url(serve))
        except StoreError as error:
            raise CommandError(str(error), ExitCode.CONFIG) from error
        if target.kind is not Kind.POSTGRESQL:
            what = f"{target.shown}: a pair on one machine is drilled where it can be broken"
            raise CommandError(f"{what}; expected a cluster on PostgreSQL, or --on pair", ExitCode.CONFIG)
        self._primary = Primary(target, CONNECT, QUERY)
        address = serve.vip[0].partition("/")[0] if serve.vip else ""
        self.url = (
            own_url(serve, address) if address else (serve.advertise or own_url(serve, serve.host or "127.0.0.1"))
        )
        file = os.environ.get("LUIGI_HA_TOKEN_FILE")
        self._token = token_of(Path(file) if file else None)
        files = TlsFiles(serve.tls_certificate, serve.tls_key, ca=serve.tls_ca)
        try:
            self._context = client_context(files) if self.url.startswith("https:") else None
        except TlsError as error:
            raise CommandError(str(error), ExitCode.CONFIG) from error
        found = {"CA": serve.tls_ca, "CERTIFICATE": serve.tls_certificate, "KEY": serve.tls_key}
        self._tls = {f"LUIGI_HA_TLS_{name}": str(Path(path).absolute()) for name, path in found.items() if path}
        self._hosts = len(target.hosts)
        self.nodes: tuple[str, ...] = ()
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._addresses = wishes.addresses(self._config)
        self.nodes = tuple(sorted(self._addresses))
        self._require_operator()
        return self

    def _require_operator(self) -> None:
        """CommandError for a token that is not an operator's. It asks what each round asks, and costs as little."""
        try:
            allowed = self.once("GET", "/api/prune")
        except OSError:
            return  # nobody answers: `degraded` says so
        if allowed.status in (401, 403):
            expected = "expected the token of an operator in LUIGI_HA_TOKEN_FILE or LUIGI_HA_TOKEN"
            raise CommandError(f"{self.url} refuses: {_words(allowed)}; {expected}", ExitCode.CONFIG)

    def __exit__(self, *_error: object) -> None:
        """Nothing was made."""

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        ours = {**self._tls, **({"LUIGI_HA_TOKEN": self._token} if self._token else {})}
        command = list(argv)
        if command[0] == str(BIN / "luigi") and (self._token or self._context is not None):
            command = [str(BIN / "luigi-ha"), "exec", "--scheduler-url", self.url, "--", *command]  # shows the token
        return started(command, inside.environ(self.url, {**ours, **env}), directory, log)

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        return self._ask(self.url + path, method, body, timeout)

    def leading(self) -> tuple[str, int] | None:
        try:
            return led_by(self.once("GET", "/api/cluster").value)
        except OSError:
            return None

    # -- one node ------------------------------------------------------------------------------------------------

    def health(self, node: str) -> Mapping[str, Any] | None:
        try:
            said = self._ask(f"{self._addresses[node]}/health", "GET", None, 2.0).value
        except OSError:
            return None
        return said if isinstance(said, dict) else None

    def log_of(self, _node: str) -> Path:
        _refuse()

    def pids(self, _node: str, _part: Part) -> list[int]:
        _refuse()

    def stop(self, _node: str) -> str:
        _refuse()

    def keep_down(self, _node: str) -> None:
        _refuse()

    def start(self, _node: str) -> None:
        """Nothing was stopped."""

    def switch_to(self, node: str) -> str:
        try:
            done = wishes.switch_over(self._config, {}, node, 20.0)
        except CommandError as error:
            raise DrillError(str(error)) from error
        return f"{done['leader']} leads (epoch {done['epoch']}), after {done['seconds']:.2f} s"

    def heal(self) -> None:
        """Nothing was broken."""

    def left(self) -> list[str]:
        return []

    @property
    def lease(self) -> float | None:
        return None  # it is not watched there

    def watching(self, _directory: Path) -> AbstractContextManager[list[str]]:
        return nullcontext([])

    @property
    def named(self) -> list[str]:
        return [] if self._config is None else ["--config", str(self._config.absolute())]

    def url_of(self, node: str) -> str | None:
        return self._addresses.get(node)

    # -- all of them ---------------------------------------------------------------------------------------------

    def kill_leader(self) -> Strike:
        _refuse()

    def outage(self) -> Strike:
        _refuse()

    def restore(self) -> int:
        _refuse()

    def degraded(self) -> list[str]:
        """What is less than it should be, by the nodes' own words; and nodes that are missing."""
        try:
            said = self.once("GET", "/api/cluster")
        except OSError as error:
            return [f"nobody answers at {self.url}: {error}"]
        if said.status != OK or not isinstance(said.value, dict):
            return [f"{self.url} answers {said.status} {said.value}"]
        missing = self._hosts - len(said.value["nodes"])
        few = (
            [f"{len(said.value['nodes'])} nodes are there, and the database has {self._hosts} hosts"]
            if missing > 0
            else []
        )
        return [*few, *map(str, said.value["degraded"])]

    def wait_until_ready(self) -> None:
        """Until nothing is less than it should be."""
        until = time.monotonic() + SETTLES_WITHIN
        while degraded := self.degraded():
            if time.monotonic() > until:
                raise TooLong("; ".join(degraded))
            time.sleep(0.2)

    def rows(self, query: str) -> list[list[str]]:
        try:
            with closing(self._primary.find("luigi-ha drill")) as connection:
                connection.set_session(readonly=True, autocommit=True)
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    return [["" if cell is None else str(cell) for cell in row] for row in cursor.fetchall()]
        except (StoreError, psycopg2.Error) as error:
            raise DrillError(f"the database: {' '.join(str(error).split())}") from error

    def _ask(self, url: str, method: str, body: Any, timeout: float) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return over_http(url, method, body, timeout, headers, self._context)


def _words(answer: Answer) -> str:
    """A refusal, for people."""
    error = answer.value.get("error") if isinstance(answer.value, dict) else None
    return f"{answer.status} {error['what'] if isinstance(error, dict) and 'what' in error else answer.value}"


def _refuse() -> NoReturn:
    raise DrillError(NOT_HERE)
