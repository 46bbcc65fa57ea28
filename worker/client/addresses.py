"""Where schedulers are: URLs as people write them, taken apart once.

http://host:8082/prefix, https://..., http+unix://%2Frun%2Fluigi.sock; user:password@ becomes Basic authorization. What
is shown of an address (`str`) has neither user nor password.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

SCHEMES = {"http": 80, "https": 443, "http+unix": 0}


class BadAddress(ValueError):  # noqa: N818 - reads well
    """A URL that is none of a scheduler. The message does not repeat its password."""


@dataclass(frozen=True, slots=True)
class Address:
    """One scheduler."""

    scheme: str
    host: str  # "" for a Unix socket
    port: int
    prefix: str = ""  # before /api/...
    unix_socket: str = ""
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        if self.unix_socket:
            return f"http+unix://{self.unix_socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"


def parse_address(url: str) -> Address:
    """One URL. BadAddress."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise BadAddress("a scheduler URL has a host and a port that is a number: http://host:8082") from None
    host = unquote(parts.hostname or "")
    where = f"{parts.scheme or '(no scheme)'}://{host}"
    if parts.scheme not in SCHEMES:
        raise BadAddress(f"{where}: a scheduler URL begins with http://, https:// or http+unix://")
    if not host:
        raise BadAddress(f"{where}: a scheduler URL names a host: http://host:8082")
    if parts.query or parts.fragment:
        raise BadAddress(f"{where}: a scheduler URL has no ? and no #")
    if parts.scheme == "http+unix":  # the netloc as it stands: hostname is in lower case
        path = unquote(parts.netloc.rpartition("@")[2])
        return Address("http+unix", "", 0, parts.path.rstrip("/"), path, _basic(parts))
    return Address(parts.scheme, host, port or SCHEMES[parts.scheme], parts.path.rstrip("/"), "", _basic(parts))


def _basic(parts: SplitResult) -> str:
    if parts.username is None and parts.password is None:
        return ""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def parse_addresses(texts: Iterable[str]) -> list[Address]:
    """URLs, each text with one or several of them, separated by commas or spaces; repeated ones once. BadAddress."""
    found = dict.fromkeys(parse_address(url) for text in texts for url in text.replace(",", " ").split())
    if not found:
        raise BadAddress("no scheduler URL given")
    return list(found)
