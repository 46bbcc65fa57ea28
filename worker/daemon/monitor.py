"""/health and /metrics of a worker on a port of its own. One thread, one request at a time, five seconds each."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from luigi_ha.worker.daemon.status import State, Status

REQUEST_SECONDS = 5.0


class Monitor:
    """Listens from the beginning."""

    def __init__(self, host: str, port: int, status: Status) -> None:
        """OSError if the port cannot be had."""

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path in ("/health", "/ready"):
                    # A worker without a scheduler is well: it waits. Ready is whether it takes work.
                    good = path == "/health" or (status.state is State.WORKING and status.connected)
                    self._say(200 if good else 503, "application/json", json.dumps(status.shown()) + "\n")
                elif path == "/metrics":
                    self._say(200, "text/plain; version=0.0.4; charset=utf-8", status.metrics())
                else:
                    self._say(404, "text/plain", "/health, /ready or /metrics\n")

            def _say(self, code: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Requests are not logged."""

        class Server(HTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away."""

        self._server = Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="monitor", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """The socket that a task's process must not keep open."""
        return self._server.fileno()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
