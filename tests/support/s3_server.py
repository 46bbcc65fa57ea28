"""An S3 to test with: moto's server in a process of its own, on a free port, which can be told to misbehave.

    with s3_server() as s3:
        s3.url                                    # http://127.0.0.1:40123
        s3.client()                               # boto3's
        s3.fault("lose_reply", "PUT")             # the next PUT is executed, and its connection dropped
        s3.requests()                             # ["PUT /bucket/key", ...] since the last time

    python -m tests.support.s3_server             # prints its port; ends when its standard input closes

One request at a time: moto checks a condition and stores in two steps.
"""

import contextlib
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from tests.support.patience import patient

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
# lose_reply: executed, then the connection is dropped. cut: half of the body of the reply. 500, 501, 503: refused with
# that. ignore_condition: without its If-None-Match.
FAULTS = ("lose_reply", "cut", "500", "501", "503", "ignore_condition")
_CODES = {"500": "InternalError", "501": "NotImplemented", "503": "SlowDown"}


class S3:
    """A running server, seen from the test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._client: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3 use it."""
        return {**KEYS, "AWS_ENDPOINT_URL_S3": self.url}

    def client(self) -> Any:
        if self._client is None:
            import boto3

            keys = {name.lower(): value for name, value in KEYS.items() if "KEY" in name}
            self._client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def fault(self, kind: str, method: str, times: int = 1, query: str = "") -> None:
        """Let the next `times` requests with that method, and `query` in their query string, go wrong."""
        assert kind in FAULTS
        self._control({"fault": [kind, method, times, query]})

    def forgive(self) -> None:
        """No more faults."""
        self._control({"forgive": True})

    def requests(self) -> list[str]:
        """What was asked since the last time."""
        found: list[str] = self._control({"requests": True})
        return found

    def _control(self, what: dict[str, Any]) -> Any:
        with urllib.request.urlopen(f"{self.url}/_control", json.dumps(what).encode(), timeout=patient(30)) as reply:
            return json.load(reply)


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """A server that is gone afterwards."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.s3_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            server = S3(int(process.stdout.readline()))
            yield server
            server.close()
        finally:
            process.stdin.close()
            process.wait(patient(30))


class Misbehaving:
    """WSGI around moto's application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._faults: list[list[Any]] = []
        self._seen: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_control":
            return self._control(environ, start)
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        self._seen.append(f"{method} {environ['PATH_INFO']}" + (f"?{query}" if query else ""))
        kind = self._next_fault(method, query)
        if kind in _CODES:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{kind} {_CODES[kind]}", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{_CODES[kind]}</Code><Message>told to</Message></Error>".encode()]
        if kind == "ignore_condition":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        reply = self._application(environ, start)
        if kind == "lose_reply":
            b"".join(reply)
            raise ConnectionAbortedError
        if kind == "cut":
            whole = b"".join(reply)
            return _cut(whole)
        return reply

    def _next_fault(self, method: str, query: str) -> str | None:
        for fault in self._faults:
            kind, wanted, times, part = fault
            if method == wanted and times > 0 and part in query:
                fault[2] -= 1
                return str(kind)
        return None

    def _control(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        answer: Any = None
        if "fault" in asked:
            self._faults.append(asked["fault"])
        elif "forgive" in asked:
            self._faults.clear()
        else:
            answer, self._seen = self._seen, []
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def _cut(whole: bytes) -> Iterator[bytes]:
    yield whole[: len(whole) // 2]
    raise ConnectionAbortedError


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_words: Any) -> None:
            pass

    application = Misbehaving(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main()
