"""Asking a running scheduler, for the commands that do."""

import json
import os
import ssl
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.tls import TlsError, TlsFiles, client_context

DEFAULT_URL = "http://127.0.0.1:8082"
TIMEOUT = 10.0  # s


@dataclass(frozen=True, slots=True)
class At:
    """Which scheduler, and how it is to know us. The token itself is in a file, or in LUIGI_HA_TOKEN: never a flag."""

    url: str = DEFAULT_URL
    token_file: Path | None = None
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""


def ask(at: At, path: str, *, post: bool = False) -> Any:
    """The JSON reply of the scheduler's `path`; CommandError says why there is none."""
    url = _checked(at.url)
    token = _token(at.token_file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(url.rstrip("/") + path, b"data=%7B%7D" if post else None, headers)  # noqa: S310 - scheme checked
    try:
        with urlopen(request, timeout=TIMEOUT, context=_context(at)) as response:  # noqa: S310
            return json.loads(response.read())
    except HTTPError as error:
        raise _refused(url, error) from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted ({reason.verify_message}); expected one that --tls-ca signed"
        raise CommandError(f"no scheduler answers at {url}: {reason}", ExitCode.UNREACHABLE) from None
    except ValueError:
        raise CommandError(f"{url} answers, but not as luigi-ha does", ExitCode.UNREACHABLE) from None


def _refused(url: str, error: HTTPError) -> CommandError:
    with error:
        try:
            said = json.loads(error.read())
            problem = said.get("error", said)
            what = problem["detail"] if problem is said else problem["what"]
            message = f"{problem['where']}: {what}; expected {problem['expected']}"
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            message = f"{url} answers {error.code} {error.reason}, but not as luigi-ha does"
            return CommandError(message, ExitCode.UNREACHABLE)
    return CommandError(message, ExitCode.UNREACHABLE if error.code == 503 else ExitCode.FAILED)


def _checked(url: str) -> str:
    """CommandError for what is no URL of a scheduler. A password in it is not repeated."""
    if "@" in url:
        what = "--url, or LUIGI_HA_URL, holds a user or a password"
        raise CommandError(f"{what}; expected the token in --token-file or LUIGI_HA_TOKEN", ExitCode.CONFIG)
    parts = urlsplit(url)
    if not parts.netloc or parts.scheme not in ("http", "https"):
        raise CommandError(f"--url {url!r}: expected something like {DEFAULT_URL}", ExitCode.CONFIG)
    return url


def _token(file: Path | None) -> str:
    """ "": none."""
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
    if not at.url.startswith("https:"):
        return None
    try:
        return client_context(TlsFiles(at.tls_certificate, at.tls_key, ca=at.tls_ca))
    except TlsError as error:
        raise CommandError(f"--{str(error).replace('_', '-', 1)}", ExitCode.CONFIG) from None
