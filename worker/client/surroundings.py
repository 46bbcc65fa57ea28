"""What stock luigi's client takes from its surroundings by way of `requests`: proxies, authorities, ~/.netrc.

    http_proxy, https_proxy, all_proxy, no_proxy     also in capitals; the lower-case one counts
    REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE               a file of authorities, or a directory of them
    NETRC, ~/.netrc, ~/_netrc                        user and password of a host

Our client replaces that one, so an environment that worked goes on working. Read anew for each request, as there: a
pipeline may set them after the client was made.
"""

import base64
import contextlib
import ipaddress
import netrc
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from luigi_ha.worker.client.addresses import Address

PORTS = {"http": 80, "https": 443}


class BadProxy(ValueError):  # noqa: N818 - reads well
    """A proxy that cannot be used. The message does not repeat its password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Whom to connect to instead."""

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def proxy_for(address: Address) -> Proxy | None:
    """The proxy that the environment names for an address; None: none. BadProxy."""
    if address.unix_socket:
        return None
    named = getproxies_environment()
    url = named.get(address.scheme) or named.get("all")
    if not url or _direct(address, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return None
    return _parsed(url, address)


def authorities() -> Path | None:
    """The file or directory of authorities that the environment names; None: the system's."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return Path(named) if named else None


def netrc_authorization(address: Address) -> str:
    """Basic authorization for the address's host from the user's netrc; "": it names none, or cannot be read."""
    named = os.environ.get("NETRC")
    places = [Path(named)] if named is not None else [Path.home() / name for name in (".netrc", "_netrc")]
    with contextlib.suppress(OSError, RuntimeError, UnicodeDecodeError, netrc.NetrcParseError):
        found = next((place for place in places if place.expanduser().exists()), None)
        entry = None if found is None else netrc.netrc(str(found.expanduser())).authenticators(address.host)
        if entry is not None and any(entry):
            login, account, password = entry
            return basic(login or account or "", password or "")
    return ""


def basic(user: str, password: str) -> str:
    """The header's value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _direct(address: Address, no_proxy: str) -> bool:
    """Whether `no_proxy` names the address: by name, by the end of a name, with a port, or as a network."""
    listed = [each for each in no_proxy.replace(" ", "").split(",") if each]
    host, port = address.host.lower(), address.port
    try:
        ip = ipaddress.IPv4Address(host)
    except ValueError:
        names = [each.lower().lstrip(".") for each in listed]
        if any(one.endswith(f".{each}") or one == each for each in names for one in (host, f"{host}:{port}")):
            return True
    else:
        if any(each == host or ("/" in each and _holds(each, ip)) for each in listed):
            return True
    return bool(proxy_bypass(host))


def _holds(network: str, ip: ipaddress.IPv4Address) -> bool:
    try:
        return ip in ipaddress.IPv4Network(network, strict=False)
    except ValueError:
        return False


def _parsed(url: str, address: Address) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = unquote(parts.hostname or ""), parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if not host:
        raise BadProxy(f"{address.scheme}_proxy cannot be read; expected something like http://proxy:3128")
    if parts.scheme not in PORTS or (parts.scheme == "https" and address.secure):
        kinds = "http://" if address.secure else "http:// or https://"
        raise BadProxy(
            f"the proxy {parts.scheme}://{host} for {address}: expected one that begins with {kinds} (or the "
            f"scheduler's host in no_proxy)"
        )
    shown = "" if parts.username is None else basic(unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.scheme, host, port or PORTS[parts.scheme], shown)
