"""What a client may meet: a real node that can be killed and started again, and servers that misbehave on purpose."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from luigi_ha.appliance.lab.ports import free_port
from tests.support.patience import patient

ROOT = str(Path(__file__).resolve().parents[2])


class Node:
    """One `luigi-ha serve` on SQLite, always on the same port."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port = free_port()
        self.directory = directory
        self._environment = {f"LUIGI_HA_{name.upper()}": value for name, value in environment.items()}
        self.log = directory / f"node-{self.port}.log"
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--election", "none", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--database", f"sqlite:///{self.directory}/luigi.db"]
        with self.log.open("ab") as out:
            environment = {**os.environ, "PYTHONPATH": ROOT, **self._environment}
            self.popen = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=self.directory)
        eventually(self.answers, lambda: f"the node answers: {self.log.read_text()[-2000:]}")
        return self

    def answers(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.log.read_text()[-2000:]
        try:
            self.call("is_paused")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        assert self.popen is not None
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def freeze(self) -> None:
        assert self.popen is not None
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.popen is not None
        self.popen.send_signal(signal.SIGCONT)

    def call(self, method: str, **arguments: Any) -> Any:
        body = urlencode({"data": json.dumps(arguments)})
        return self.ask("POST", f"/api/{method}", body, "application/x-www-form-urlencoded")["response"]

    def rest(self, path: str, value: Any = None) -> Any:
        return self.ask("GET" if value is None else "POST", path, "" if value is None else json.dumps(value))

    def ask(self, verb: str, path: str, body: str, kind: str = "application/json") -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=patient(10))
        try:
            connection.request(verb, path, body, {"Content-Type": kind})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status not in (200, 201, 204):
            raise OSError(f"{reply.status} {text!r}")
        return json.loads(text) if text else None

    def tasks(self, status: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.call("task_list", status=status, limit=False)
        return found


@contextlib.contextmanager
def node(directory: Path, **environment: str) -> Iterator[Node]:
    """A running node."""
    one = Node(directory, **environment)
    try:
        yield one.start()
    finally:
        if one.popen is not None and one.popen.poll() is None:
            one.thaw()
            one.kill()


def eventually(holds: Callable[[], Any], what: Callable[[], str], seconds: float = 90.0) -> Any:
    until = time.monotonic() + patient(seconds)
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < until, what()
        time.sleep(0.02)


Behaviour = Callable[[socket.socket], None]


class Misbehaving:
    """A server that treats each connection in its own way, the last way for all that follow."""

    def __init__(self, *behaviours: Behaviour, unix_socket: str = "") -> None:
        self._behaviours = list(behaviours)
        self._unix_socket = unix_socket
        self._listener = _listening(unix_socket)
        self.port: int = 0 if unix_socket else self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        # Ended, not closed, while the thread is at it: a number that is closed may be another's by then.
        limit = time.monotonic() + patient(10)
        while self._thread.is_alive() and time.monotonic() < limit:
            for sock in list(self._open):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(0.005)
        self._listener.close()
        for sock in self._open:
            sock.close()
        if self._unix_socket:
            Path(self._unix_socket).unlink()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                sock.settimeout(patient(5))
                behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
                with contextlib.suppress(OSError):
                    self.requests.append(whole_request(sock))
                    behaviour(sock)

    def keys(self) -> list[str]:
        """The Idempotency-Keys of the requests, in their order."""
        return [
            line.partition(b": ")[2].decode()
            for request in self.requests
            for line in request.split(b"\r\n")
            if line.startswith(b"Idempotency-Key")
        ]


def whole_request(sock: socket.socket) -> bytes:
    text = b""
    while b"\r\n\r\n" not in text:
        more = sock.recv(65536)
        if not more:
            return text
        text += more
    head, _, body = text.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length")), 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def says(status: str, body: bytes = b"", *headers: str, cut: int | None = None, close: bool = True) -> Behaviour:
    """Answers so; with `cut`, closes after so many bytes of the body."""

    def behave(sock: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        lines += ["Connection: close"] if close else []
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:cut])
        if close or cut is not None:
            sock.close()

    return behave


def hangs_up(sock: socket.socket) -> None:
    sock.close()


def drips(sock: socket.socket) -> None:
    """A byte every 50 ms, so that no single wait is long."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(200):
        sock.sendall(b" ")
        time.sleep(0.05)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A URL that takes no connection and refuses none: a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(where)
            waiting.append(sock)
        time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{where[1]}"
        finally:
            for sock in waiting:
                sock.close()


def _listening(unix_socket: str) -> socket.socket:
    if not unix_socket:
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(unix_socket)
    listener.listen()
    return listener
