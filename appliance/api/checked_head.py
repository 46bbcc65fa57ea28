"""Heads that must not reach anything behind them: those that can be read in two ways, or are for somebody else.

The fast lane takes no such head; this is for the second one.
"""

from aiohttp import web

from luigi_ha.appliance.api.access_browser import Browsers
from luigi_ha.appliance.api.errors import BadRequest
from luigi_ha.appliance.api.heads import RELAYED

# Headers that say one thing: said twice, whoever stands between might have read the other one.
ONCE = ("Authorization", "Host", "Content-Type", "Idempotency-Key", "Origin", "Sec-Fetch-Site", RELAYED.decode())
CODINGS = ("identity", "gzip", "deflate")
LONGEST_NUMBER = 9  # digits of a header's


def check_head(request: web.BaseRequest, browsers: Browsers) -> None:
    """Refuse a head that is ambiguous (BadRequest), or that calls us by a name that is not ours (Forbidden)."""
    headers = request.headers
    for name in ONCE:
        if len(headers.getall(name, ())) > 1:
            raise BadRequest("is there twice", where=name, expected="one such header")
    if not request.rel_url.raw_path.startswith("/"):
        what = f"the request target {request.raw_path[:100]!r} has no path"
        raise BadRequest(what, where="request", expected="a path that begins with /")
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in CODINGS:
        raise BadRequest(f"is {coding[:40]!r}", where="Content-Encoding", expected="one of " + ", ".join(CODINGS))
    if "Host" in headers and not _is_local(request):
        browsers.require_own_host(headers["Host"])


def relayed_with(request: web.BaseRequest) -> int | None:
    """Return the seconds that are left to a call which another node passed on; None: its caller is here. BadRequest."""
    name = RELAYED.decode()
    text = request.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER):
        raise BadRequest(f"is {text[:40]!r}", where=name, expected="a whole number of seconds")
    return int(text)


def _is_local(request: web.BaseRequest) -> bool:
    """Whether it came by a Unix socket, which no browser reaches."""
    transport = request.transport
    return transport is not None and not isinstance(transport.get_extra_info("sockname"), tuple)
