"""The smallest HTTP client that tells a call that was never sent from one whose fate is unknown.

One connection, kept alive, one call at a time, never repeated. Not a stock client: those get `Connection: close`.
"""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import quote_plus

CALL_SECONDS = 20.0  # twice what the scheduler may take to answer


class NotSentError(Exception):
    """Nobody listens: the call was not sent."""


class BrokenError(Exception):
    """The connection broke, or no answer came, after the call was sent."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any


class Connection:
    """One connection to the scheduler, opened when first used."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, arguments: dict[str, Any]) -> Answer:
        """One RPC. Raises NotSentError or BrokenError."""
        body = b"data=" + quote_plus(json.dumps(arguments)).encode()
        head = (
            f"POST /api/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: drill\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._exchange(head.encode() + body)

    async def get(self, path: str) -> Answer:
        """A GET of one path."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: drill\r\n\r\n".encode())

    async def _exchange(self, request: bytes) -> Answer:
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 26)
            except OSError as error:
                raise NotSentError(str(error)) from error
        reader, writer = self._streams
        try:
            async with asyncio.timeout(CALL_SECONDS):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length(head)
                return Answer(int(head[9:12]), json.loads(await reader.readexactly(length)))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise BrokenError(f"{type(error).__name__}: {error}") from error

    def forget_dead(self) -> None:
        """Drop a connection that ended while it was idle: the next call opens one, instead of being lost on it."""
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()

    def close(self) -> None:
        """Give the connection up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("an answer without Content-Length")
