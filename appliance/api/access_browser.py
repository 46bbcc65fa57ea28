"""What a browser does in its user's name without asking.

A page of any site can make its visitor's browser send requests to a scheduler that the browser reaches, with the
password that it remembers, or with none where none is asked for; and Luigi's visualiser changes state by GET. So:

* What changes something must come from our own pages, or from a program: browsers say where a request comes from
  (`Sec-Fetch-Site`, `Origin`, `Referer`). Asked where a token came by Basic authentication, as a browser would send
  it, and where no tokens are asked for at all.
* Without tokens the name by which we are called must be ours: else a page could give its own name our address (DNS
  rebinding), and then read as well as write.

Not protected: a browser that says nothing of it. Over plain HTTP to another machine only `Origin` and `Referer` are
sent, and a page can leave out the latter: use tokens, and TLS.
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from luigi_ha.appliance import log
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.errors import Forbidden
from luigi_ha.appliance.cors import Cors

_OURS = ("same-origin", "none")  # none: typed, or a bookmark
REMEMBERED = 256  # names by which we were called
_log = log.get("access")


def _place(page: str) -> str | None:
    """Host and port of a page's URL; None: it is no URL."""
    try:
        return urlsplit(page).netloc.lower()
    except ValueError:
        return None


class Browsers:
    """What one node lets browsers do."""

    def __init__(self, cors: Cors, *, tokens: bool, names: Iterable[str] = ()) -> None:
        """`tokens`: callers must show one. `names`: by which this node may be called, besides its addresses."""
        self._cors = cors
        self._tokens = tokens
        own = socket.gethostname().lower()
        self._names = frozenset({"localhost", own, own.partition(".")[0], *(name.lower() for name in names if name)})
        self._hosts: dict[bytes, bool] = {}
        self._log = log.Seldom(_log)

    def is_own_host(self, host: bytes) -> bool:
        """Whether a Host header names this node; with tokens, any does."""
        if self._tokens:
            return True
        known = self._hosts.get(host)
        if known is None:
            if len(self._hosts) >= REMEMBERED:
                self._hosts.clear()
            known = self._hosts[host] = self._is_own(host.decode("latin-1"))
        return known

    def require_own_host(self, host: str) -> None:
        """Forbidden if the Host header names another."""
        if not self.is_own_host(host.encode("latin-1", "replace")):
            self._log.warning("access_refused", "foreign host", host=host[:100])
            raise Forbidden(
                f"this node is not called {host[:100]!r}",
                where="Host",
                expected="an address, localhost, this machine's name or that of `advertise`; or that name in the "
                "option allowed_hosts; or tokens (auth = on)",
            )

    def require_own_page(self, headers: Mapping[str, str], needs: Role) -> None:
        """Forbidden if another site's page made a browser send what needs more than to look."""
        if needs <= Role.VIEWER:
            return
        by_password = headers.get("Authorization", "")[:6].lower().startswith("basic")
        if self._tokens and not by_password:
            return
        origin, cors = headers.get("Origin"), self._cors
        # Without tokens there are no credentials that a page could misuse: being allowed is enough.
        allowed = cors.allowed(origin)
        if origin is not None and allowed and (not self._tokens or (cors.allow_credentials and allowed == origin)):
            return
        site = headers.get("Sec-Fetch-Site")
        page = origin if origin is not None else headers.get("Referer")
        foreign = page is not None and _place(page) != headers.get("Host", "").lower()
        if site is not None:
            foreign = site.strip().lower() not in _OURS or (foreign and origin is not None)
        if foreign:
            self._log.warning("access_refused", "foreign page", page=(page or site or "")[:100])
            raise Forbidden(
                "a page of another site made the browser ask this"
                + (", with the password it remembers" if by_password else ""),
                where="Origin",
                expected="the scheduler's own pages; or a program, which sends no Origin; or that origin in [cors]",
            )

    def _is_own(self, host: str) -> bool:
        name, _, port = host.strip().rpartition(":") if not host.endswith("]") else (host, "", "")
        if not name or not (port.isdecimal() or not port):
            name = host.strip()
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower().removesuffix(".") in self._names
        return True
