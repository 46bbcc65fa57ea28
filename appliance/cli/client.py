"""Asking a running scheduler, for the commands that do.

Several URLs are several nodes of one cluster: the first that answers is used, and is asked first the next time. One
that is down, cut off from the leader (503), or no scheduler at all is passed over; only if all are, the command fails,
and says of each why.

A call that changes something carries an Idempotency-Key: when a node has died between executing and answering, the next
one gives the first answer instead of doing it again.
"""

import json
import os
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.transport import opener
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.tls import TlsError, TlsFiles, client_context

DEFAULT_URL = "http://127.0.0.1:8082"
LONG = 10_000_000  # bytes of an answer that is no JSON; nobody reads it


@dataclass(frozen=True, slots=True)
class At:
    """Which schedulers, and how they are to know us. The token is in a file, or in LUIGI_HA_TOKEN: never a flag."""

    urls: tuple[str, ...] = (DEFAULT_URL,)
    token_file: Path | None = None
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""


class _DownError(Exception):
    """This node gave no answer that counts. The message is for people, `alone` if it is the only one asked."""

    def __init__(self, reason: str, alone: str) -> None:
        super().__init__(reason)
        self.alone = alone


class _MissingError(CommandError):
    """404."""


class Scheduler:
    """The schedulers at some URLs."""

    def __init__(self, at: At) -> None:
        self._at = at
        self._urls = list(at.urls)
        self._token = token_of(at.token_file)
        self._context = _context(at)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON at a path. CommandError says why there is none."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", path + (f"?{urlencode(given)}" if given else ""), None)

    def find(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON at a path; None if there is no such thing."""
        try:
            return self.get(path, query)
        except _MissingError:
            return None

    def send(self, method: str, path: str, body: Any) -> Any:
        """Change something; return the JSON that tells what it is now."""
        return self._ask(method, path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def call(self, method: str, **arguments: Any) -> Any:
        """Call one of Luigi's own methods."""
        reply = self._ask("POST", f"/api/{method}", urlencode({"data": json.dumps(arguments)}).encode())
        if not isinstance(reply, dict) or "response" not in reply:
            raise CommandError(f"{self._urls[0]} answers, but not as a scheduler does", ExitCode.UNREACHABLE)
        return reply["response"]

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Any:
        more = {**(headers or {})}
        if self._token:
            more["Authorization"] = f"Bearer {self._token}"
        if method != "GET":
            more["Idempotency-Key"] = secrets.token_hex(16)
        down: dict[str, _DownError] = {}
        for url in self._urls:
            try:
                return self._one(url, method, path, body, more)
            except _DownError as reason:
                down[url] = reason
            finally:
                if url not in down:  # it answers, if only by a refusal: it is asked first from now on
                    self._urls = [url, *(each for each in self._urls if each != url)]
        if len(down) == 1:
            raise CommandError(next(iter(down.values())).alone, ExitCode.UNREACHABLE)
        said = "; ".join(f"{url}: {reason}" for url, reason in down.items())
        raise CommandError(f"no scheduler answers: {said}", ExitCode.UNREACHABLE)

    def _one(self, url: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Any:
        base, opens = opener(url, self._context)
        try:
            with opens.open(Request(base + path, body, dict(headers), method=method)) as response:  # noqa: S310 - checked
                return json.loads(response.read())
        except HTTPError as error:
            raise _refused(url, error) from None
        except (URLError, OSError, HTTPException) as error:
            why = getattr(error, "reason", None) or error
            if isinstance(why, ssl.SSLCertVerificationError):
                why = f"its certificate is not trusted ({why.verify_message}); expected one that --tls-ca signed"
            raise _DownError(str(why), f"no scheduler answers at {url}: {why}") from None
        except ValueError:
            what = "answers, but not as luigi-ha does"
            raise _DownError(what, f"{url} {what}") from None


def _refused(url: str, error: HTTPError) -> CommandError | _DownError:
    with error:
        try:
            said = json.loads(error.read(LONG))
            problem = said.get("error", said)
            what = problem["detail"] if problem is said else problem["what"]
            message = f"{problem['where']}: {what}; expected {problem['expected']}"
        except (ValueError, KeyError, TypeError, AttributeError, OSError, HTTPException):
            message = f"answers {error.code} {error.reason}, but not as luigi-ha does"
            return _DownError(message, f"{url} {message}")
    if error.code == 503:
        return _DownError(message, message)
    return _MissingError(message) if error.code == 404 else CommandError(message)


def token_of(file: Path | None) -> str:
    """The token in the first line of a file, or of LUIGI_HA_TOKEN; "" if there is none. CommandError."""
    if file is None:
        token, source = os.environ.get("LUIGI_HA_TOKEN", "").strip(), "LUIGI_HA_TOKEN"
    else:
        source = str(file)
        try:
            token = (file.read_text(encoding="ascii").splitlines() or [""])[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise CommandError(f"--token-file {file} cannot be read: {reason}", ExitCode.CONFIG) from None
        if not token:
            raise CommandError(f"--token-file {file} is empty; expected a token in its first line", ExitCode.CONFIG)
    if token and not (token.isascii() and token.replace("_", "").isalnum()):
        raise CommandError(f"{source}: not a token; expected what luigi-ha token create printed", ExitCode.CONFIG)
    return token


def _context(at: At) -> ssl.SSLContext | None:
    if not any(url.startswith("https:") for url in at.urls):
        return None
    try:
        return client_context(TlsFiles(at.tls_certificate, at.tls_key, ca=at.tls_ca))
    except TlsError as error:
        raise CommandError(f"--{str(error).replace('_', '-', 1)}", ExitCode.CONFIG) from None
