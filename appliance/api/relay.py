"""Passing calls on to the leader, for a node that does not lead.

Invariants
* A call is sent again only if it certainly was not executed (no connection was made, or the other node said that it
  does not lead), or if it has an Idempotency-Key: then whoever leads gives the first answer again. Of any other, once
  bytes were sent and no answer came, its client is told so.
* Each is sent with the seconds that are left of its budget, and never passed on twice.

A relay is for one leader. When another leads, `retarget` says where; when nobody does, or this node itself, `retarget`
with None gives everything that waits for a connection back to the dispatcher.
"""

import asyncio
import ssl
from collections.abc import Callable

import aiohttp

from luigi_ha.appliance import log
from luigi_ha.appliance.api import large_text
from luigi_ha.appliance.api.calls import Call
from luigi_ha.appliance.api.errors import Reply, Unavailable
from luigi_ha.appliance.api.heads import RELAYED
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.tls import Tls

AGAIN_AFTER = 0.03  # s until a leader that could not be reached is tried again
CONNECT = 1.0  # s
LEAST = 0.2  # s of budget below which a call is not sent any more
CONNECTIONS = 64  # at once; hundreds of calls that had waited would spend CONNECT on connecting, and begin anew
_log = log.get("relay")
_HEADER = RELAYED.decode("ascii")


def trust(tls: Tls | None) -> ssl.SSLContext | bool:
    """For aiohttp: how another node is verified."""
    return True if tls is None else tls.client


def why_not_trusted(error: aiohttp.ClientSSLError) -> str:
    """For people."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else error.__cause__
    reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(error).__name__
    return str(reason)


class HttpRelay:
    """See `luigi_ha.appliance.api.calls.Relay`. Needs a running event loop; `close` it."""

    def __init__(self, budget: float, take_back: Callable[[Call], None], tls: Tls | None = None) -> None:
        """`tls`: with which certificates the other nodes are verified."""
        self._budget = budget
        self._tls = tls
        self._log = log.Seldom(_log)
        self._take_back = take_back
        self._address: str | None = None
        self._changed = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._session_for = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.relayed = 0  # calls answered by another node

    @property
    def in_flight(self) -> int:
        """Calls that are with the leader, or on their way."""
        return len(self._tasks)

    def retarget(self, address: str | None) -> None:
        """The leader's URL from now on; None: there is none to pass anything on to."""
        if address != self._address:
            self._address = address
            self._changed.set()
            self._changed = asyncio.Event()

    def carry(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is on its way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _carry(self, call: Call) -> None:
        body = await large_text.form(call.data)
        while True:
            address, changed = self._address, self._changed
            left = call.arrived + self._budget - monotonic()
            if address is None or call.caller.gone() or left < LEAST:
                self._take_back(call)
                return
            reply = await self._try(address, call, body, left)
            if reply is not None:
                self.relayed += 1
                call.caller.answer(reply)
                return
            try:
                async with asyncio.timeout(AGAIN_AFTER):
                    await changed.wait()
            except TimeoutError:
                pass

    async def _session_to(self, address: str) -> aiohttp.ClientSession:
        """Kept connections to the leader; those to the one before are closed."""
        if self._session is None or self._session_for != address:
            before, self._session_for = self._session, address
            path = address.removeprefix("unix:")
            unix = path != address
            connector = (
                aiohttp.UnixConnector(path, limit=CONNECTIONS) if unix else aiohttp.TCPConnector(limit=CONNECTIONS)
            )
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
            if before is not None:
                await before.close()
        return self._session

    async def _try(self, address: str, call: Call, body: bytes, left: float) -> Reply | None:
        """The reply; None: it may be sent again."""
        session = await self._session_to(address)
        if address.startswith("unix:"):
            address = "http://localhost"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "luigi-ha",
            _HEADER: str(max(1, int(left))),
        }
        if call.terms.key is not None:
            headers["Idempotency-Key"] = call.terms.key
        if call.terms.authorization:
            headers["Authorization"] = call.terms.authorization.decode("latin-1")
        url = f"{address}/api/{call.method}"
        timeout = aiohttp.ClientTimeout(total=left, sock_connect=min(CONNECT, left))
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout, ssl=trust(self._tls)) as response:
                if response.status == 421:
                    await response.read()
                    return None
                after = response.headers.get("Retry-After", "")
                return Reply(response.status, await response.read(), int(after) if after.isdigit() else None)
        except aiohttp.ClientSSLError as error:
            self._log.warning("leader_not_trusted", address, error=why_not_trusted(error), help="tls_ca, advertise")
            return None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("relay_broken", method=call.method, leader=address, error=f"{type(error).__name__}: {error}")
            if call.terms.key is not None:
                return None
            what = "passed on to the leader, which did not answer; it may have taken effect"
            return Unavailable(what, where="relay", expected="to be asked again: repeating is harmless").reply()
