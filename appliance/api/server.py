"""Sockets: where the node listens, how many connections it takes, and how it stops.

Connections start in the fast lane; aiohttp takes over those that need it. Idle ones are closed after `keep_alive`
seconds, by one sweep. Stopping closes what is idle and lets what waits finish.
"""

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from socket import socket as Socket  # noqa: N812 - a class
from typing import Any

from aiohttp import web

from luigi_ha.appliance import log, memory
from luigi_ha.appliance.api import sockets
from luigi_ha.appliance.api.access_browser import Browsers
from luigi_ha.appliance.api.calls import Admit, everybody
from luigi_ha.appliance.api.cors import Cors
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.errors import Unavailable
from luigi_ha.appliance.api.fastlane import FastLane
from luigi_ha.appliance.api.heads import ReplyHead
from luigi_ha.appliance.api.lanes import Lanes, Turns
from luigi_ha.appliance.api.operations import Operations
from luigi_ha.appliance.api.rest import Rest
from luigi_ha.appliance.api.routes import Routes
from luigi_ha.appliance.api.second_lane import SecondLanes
from luigi_ha.appliance.api.tls_listener import TlsListener
from luigi_ha.appliance.api.traffic import Traffic
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.tls import Tls

SERVER = "luigi-ha"
MAX_LINE = 1 << 16  # bytes of a request's first line: as luigid, whose calls may come in the URL
UNREAD_EVERY = 5.0  # s between two looks at clients that do not read
LOOKED_AT = 64  # of the oldest connections, when one has to go
IDLE = 5.0  # s after which a connection may be closed for a new one
_log = log.get("api")


@dataclass(frozen=True, slots=True)
class Listen:
    """Addresses. An empty host means all of them; port 0 lets the system choose."""

    host: str = ""
    port: int = 8082
    unix_socket: str = ""  # a path, or "": none. Instead of host and port, as luigid's --unix-socket
    metrics_host: str = ""
    metrics_port: int | None = None  # a port of its own for /metrics, /health and /ready
    keep_alive: float = 75.0  # s a connection may be idle
    shared: bool = False  # other processes of this machine listen on the same port
    for_peers: str = ""  # also on this Unix socket, where the other processes reach this one
    tls: Tls | None = None  # host and port speak HTTPS; sockets and the metrics' port do not
    tokens: bool = False  # callers must show one
    names: tuple[str, ...] = ()  # by which we may be called where no token is asked for, besides our own
    max_connections: int = 50_000
    max_in_flight: int = 128 << 20  # bytes of requests and replies together, beyond what is ordinary


class ApiServer:
    """Listens from `start` until `stop`."""

    def __init__(
        self, listen: Listen, dispatcher: Dispatcher, operations: Operations, cors: Cors, admit: Admit = everybody
    ) -> None:
        self._listen = listen
        self._dispatcher = dispatcher
        self._admit = admit
        self._traffic = Traffic(listen.max_connections, listen.max_in_flight, everybody_known=not listen.tokens)
        self._browsers = Browsers(cors, tokens=listen.tokens, names=listen.names)
        self._rest = Rest(dispatcher, operations, self._traffic)
        self._routes = Routes(
            dispatcher, operations, self._rest, cors, SERVER, admit, self._browsers, self._traffic
        )  # fmt: skip
        self._http: SecondLanes | None = None
        self._monitor: web.Server | None = None
        self._heads = ReplyHead(SERVER)
        self._connections: dict[FastLane, None] = {}  # oldest first
        self._lanes: Lanes | None = None
        self._servers: list[asyncio.Server] = []
        self._tls_listeners: list[TlsListener] = []
        self._sweeps: list[asyncio.TimerHandle] = []
        self._public: list[Socket] = []  # what clients connect to
        self.addresses: list[str] = []  # what it really listens on, for the log and for tests

    async def start(self) -> None:
        """Open the sockets; OSError if an address cannot be had."""
        where = self._listen
        options: dict[str, Any] = {"access_log": None, "keepalive_timeout": where.keep_alive, "max_line_size": MAX_LINE}
        self._http = SecondLanes(self._routes.handle, self._traffic, **options)
        self._monitor = SecondLanes(self._routes.monitor, self._traffic, access_log=None)
        self._lanes = Lanes(
            self._dispatcher, self._heads, self._connections, self._http, self._admit, self._browsers, self._traffic,
            self._has_room, Turns(),
        )  # fmt: skip
        self._traffic.fit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if where.unix_socket:
            await self._serve_unix(where.unix_socket)
        else:
            self._public = sockets.listen(where.host, where.port, shared=where.shared)
            if where.tls is None:
                await self._serve(self._lane, self._public, "http")
            else:
                self._serve_tls(where.tls)
        if where.metrics_port is not None:
            own = sockets.listen(where.metrics_host, where.metrics_port)
            await self._serve(self._monitor, own, "metrics")
        if where.for_peers:
            await self._serve_unix(where.for_peers)
        self._dispatcher.start()
        self._close_idle()
        self._close_unread()

    async def _serve(self, factory: Callable[[], asyncio.Protocol], listening: list[Socket], kind: str) -> None:
        loop = asyncio.get_running_loop()
        for sock in listening:
            self._servers.append(await loop.create_server(factory, sock=sock, backlog=sockets.BACKLOG))
            self.addresses.append(f"{kind}://{sockets.shown(sock)}")

    def _serve_tls(self, tls: Tls) -> None:
        for sock in self._public:
            listener = TlsListener(sock, self._lane, tls)
            self.addresses.append(f"https://{sockets.shown(sock)}")
            self._tls_listeners.append(listener)
            listener.start()

    async def _serve_unix(self, path: str) -> None:
        await _remove_stale_socket(path)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._lane, path, backlog=sockets.BACKLOG))
        self.addresses.append(f"unix:{path}")

    def _lane(self) -> asyncio.Protocol:
        assert self._lanes is not None  # noqa: S101 - made before the sockets were opened
        return FastLane(self._lanes)

    @property
    def connections(self) -> int:
        """Connections open now, both lanes, and those whose handshake is not done."""
        beginning = sum(listener.beginning for listener in self._tls_listeners)
        return beginning + len(self._connections) + (self._http.count if self._http is not None else 0)

    def stop_listening(self) -> None:
        """Accept no new connection; close idle ones; the others close with their reply."""
        for server in self._servers:
            server.close()
        for listener in self._tls_listeners:
            listener.close()
        self._rest.hang_up()
        for connection in list(self._connections):
            connection.shut()

    async def become_quiet(self, longest: float) -> bool:
        """Take no new connection, finish those there are; whether none is left after at most so many seconds.

        Nobody is refused: who asks to connect meanwhile asks again by itself, after `resume` or elsewhere.
        """
        self.hold_back()
        self._rest.hang_up()
        began = monotonic()
        if self._http is not None:
            self._http.pre_shutdown()
        while True:
            await asyncio.sleep(0.002)  # what is connected already is accepted
            for connection in list(self._connections):
                if connection.served or monotonic() - began > longest / 4:
                    connection.shut()
            if monotonic() - began > longest / 4:
                for listener in self._tls_listeners:
                    listener.drop_silent()
            if not self.connections or monotonic() - began > longest:
                break
        return not self.connections

    def hold_back(self) -> None:
        """Take no new connection until `resume`; who asks for one asks again by itself."""
        for sock in self._public:
            sockets.hold_back(sock)

    def resume(self) -> None:
        """Take connections again."""
        for sock in self._public:
            sockets.let_in(sock)

    @property
    def busy(self) -> int:
        """Calls in flight."""
        return self._dispatcher.parked + self._dispatcher.waiting + len(self._dispatcher.large)

    async def stop(self, grace: float) -> None:
        """Close everything that is left; calls still waiting get a 503."""
        self.stop_listening()
        for sweep in self._sweeps:
            sweep.cancel()
        reply = Unavailable("the scheduler is stopping", where="server", expected="to be asked again").reply()
        for connection in list(self._connections):
            connection.shut(reply)
        for listener in self._tls_listeners:
            await listener.stop()
        for server in (self._http, self._monitor):
            if server is not None:
                await server.shutdown(grace)
        self._dispatcher.stop()
        for path in (self._listen.unix_socket, self._listen.for_peers):
            if path:
                _unlink(path)

    def _close_idle(self) -> None:
        idle_since = monotonic() - self._listen.keep_alive
        for connection in [c for c in self._connections if c.used < idle_since and not c.busy]:
            connection.shut()
        self._again(max(1.0, self._listen.keep_alive / 10), self._close_idle)

    def _close_unread(self) -> None:
        now = monotonic()
        for connection in list(self._connections):
            connection.close_if_unread(now)
        if self._http is not None:
            self._http.close_unread(now)
        if self._traffic.was_burst(self.connections):
            asyncio.get_running_loop().run_in_executor(None, memory.trim)
        self._again(UNREAD_EVERY, self._close_unread)

    def _again(self, after: float, sweep: Callable[[], None]) -> None:
        now = asyncio.get_running_loop().time()
        self._sweeps = [timer for timer in self._sweeps if timer.when() > now and not timer.cancelled()]
        self._sweeps.append(asyncio.get_running_loop().call_later(after, sweep))

    def _has_room(self) -> bool:
        self._traffic.opened(self.connections)
        return self._traffic.has_room(self.connections, self._close_one_idle)

    def _close_one_idle(self) -> bool:
        """Make room for a new connection: close an old one on which nothing happens; whether there was one."""
        before = monotonic() - IDLE
        for connection in list(islice(self._connections, LOOKED_AT)):
            if not connection.busy and connection.used < before:
                self._connections.pop(connection, None)
                connection.abort()
                return True
        return False


async def _remove_stale_socket(path: str) -> None:
    """Remove a socket file nobody listens on; if somebody does, binding fails and says so."""
    try:
        _reader, writer = await asyncio.open_unix_connection(path)
    except FileNotFoundError:
        return
    except OSError:
        _unlink(path)
    else:
        writer.close()
        raise OSError(f"another process listens on {path}")


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def raise_open_files_limit() -> int:
    """Allow as many open files as the system grants this process; the new soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.warning("open_files_limit_not_raised", soft=soft, hard=hard, error=str(error))
            return soft
    return hard
