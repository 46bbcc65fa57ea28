"""How a command reaches a scheduler: http, https, or a Unix socket (http+unix://%2Frun%2Fluigi-ha.sock).

A machine that is gone answers nothing, not even "refused": connecting has a deadline of its own, far shorter than that
of a call, which may wait for a leader for as long as its budget lasts.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from luigi_ha.appliance.config.access import is_loopback

CONNECT = 3.0  # s
ANSWER = 10.0  # s; more than the longest wait at the gate
UNIX = "http+unix://"


def opener(url: str, context: ssl.SSLContext | None) -> tuple[str, OpenerDirector]:
    """Return the URL as it is requested, and what opens it. `context` is for https."""
    if url.startswith(UNIX):
        return "http://localhost", build_opener(ProxyHandler({}), _Plain(_on(unquote(url.removeprefix(UNIX)))))
    here = is_loopback(urlsplit(url).hostname or "")
    direct = [ProxyHandler({})] if here else []  # no proxy knows this machine's own address
    return url.rstrip("/"), build_opener(*direct, _Plain(_Connection), _Secure(context))


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.timeout = CONNECT
        super().connect()
        self.sock.settimeout(ANSWER)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.timeout = CONNECT
        super().connect()
        self.sock.settimeout(ANSWER)


class _UnixConnection(http.client.HTTPConnection):
    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT)
        try:
            self.sock.connect(self.path)
        except BaseException:
            self.sock.close()
            raise
        self.sock.settimeout(ANSWER)


def _on(path: str) -> Callable[..., http.client.HTTPConnection]:
    return type("_UnixConnectionHere", (_UnixConnection,), {"path": path})


class _Plain(HTTPHandler):
    def __init__(self, kind: Callable[..., http.client.HTTPConnection]) -> None:
        super().__init__()
        self._kind = kind

    def http_open(self, req: Request) -> Any:
        return self.do_open(self._kind, req)


class _Secure(HTTPSHandler):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._with = context

    def https_open(self, req: Request) -> Any:
        return self.do_open(_SecureConnection, req, context=self._with)
