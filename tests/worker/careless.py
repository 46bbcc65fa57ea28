"""A scheduler that hands out whatever it has: a real node, behind a proxy that hides from it what a worker takes."""

import json
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

from tests.support.patience import patient
from tests.worker.peers import Node

OFFER = ("namespaces", "families", "capabilities", "modules", "only_modules", "cannot_load")


class Careless:
    """The node and the address at which it is careless."""

    def __init__(self, directory: Path) -> None:
        self.node = Node(directory)

    def __enter__(self) -> Self:
        self.node.start()
        node = self.node

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, reply = _asked(node, self.path, body, self.headers["Content-Type"])
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_PUT = do_POST  # noqa: N815 - its name

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.node.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def _asked(node: Node, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    if path == "/api/get_work":
        told = json.loads(parse_qs(body.decode())["data"][0])
        body = urlencode({"data": json.dumps({name: told[name] for name in told if name not in OFFER})}).encode()
    connection = HTTPConnection("127.0.0.1", node.port, timeout=patient(10))
    try:
        connection.request("POST" if not path.endswith("/log") else "PUT", path, body, {"Content-Type": kind})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
