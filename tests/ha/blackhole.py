"""A TCP proxy in front of one endpoint that can swallow everything: connections stay open, and nobody answers.

Also those made meanwhile, as far as a client can tell from the next byte: on the loopback the kernel accepts them.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Hole:
    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.swallowed = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def swallow(self) -> None:
        self._open.clear()

    def release(self) -> None:
        """What was held is delivered, late."""
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        with suppress(OSError):
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._ends.add(there)
            for source, sink in ((reader, there), (there_reader, writer)):
                pump = asyncio.create_task(self._pump(source, sink))
                self._pumps.add(pump)
                pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if not self._open.is_set():
                    self.swallowed += len(data)
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
