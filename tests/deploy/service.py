"""What a Service of Kubernetes does: leads each connection to one of the pods whose readiness probe succeeds.

    python -m tests.deploy.service 18082 /ready http://10.9.0.1:8082 http://10.9.0.2:8082 ...

Each pod is asked for the path once a second, with a second to answer; one that fails gets no new connections until it
succeeds. Where no pod is ready, connections are refused. Ends with SIGTERM.
"""

import asyncio
import contextlib
import random
import signal
import socket
import struct
import sys
from urllib.parse import urlsplit

EVERY = TIMEOUT = 1.0  # s


class Service:
    def __init__(self, path: str, pods: list[tuple[str, int]]) -> None:
        self._path = path
        self._pods = pods
        self._ready: set[tuple[str, int]] = set()

    async def probe(self, pod: tuple[str, int]) -> None:
        while True:
            if await self._answers(pod):
                self._ready.add(pod)
            else:
                self._ready.discard(pod)
            await asyncio.sleep(EVERY)

    async def _answers(self, pod: tuple[str, int]) -> bool:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(*pod)
                with contextlib.closing(writer):
                    writer.write(f"GET {self._path} HTTP/1.1\r\nHost: {pod[0]}\r\nConnection: close\r\n\r\n".encode())
                    return (await reader.readline()).startswith(b"HTTP/1.1 200")
        return False

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            pod = random.choice(sorted(self._ready))
            there, back = await asyncio.open_connection(*pod)
        except (IndexError, OSError):
            refuse(writer)
            return
        with contextlib.closing(writer), contextlib.closing(back):
            await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async def run(self, port: int) -> None:
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        probes = [asyncio.create_task(self.probe(pod)) for pod in self._pods]
        async with await asyncio.start_server(self.lead, "127.0.0.1", port):
            await over.wait()
            for probe in probes:
                probe.cancel()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()


def refuse(writer: asyncio.StreamWriter) -> None:
    """By a reset, as far as one can who has accepted."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


if __name__ == "__main__":
    port, path, *urls = sys.argv[1:]
    pods = [(str(parts.hostname), parts.port or 80) for parts in map(urlsplit, urls)]
    asyncio.run(Service(path, pods).run(int(port)))
