"""What a browser does in its user's name without asking.

A browser that knows a password for this server sends it with every request, also with those that another site's page
makes it send; and Luigi's visualiser changes state by GET. So a request that changes something, and shows its token as
a browser would, must come from our own pages: modern browsers say where a request comes from.

Not protected: a browser that says nothing of it. Over plain HTTP only `Origin` and `Referer` are sent, and a page can
leave out the latter: use TLS.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from appliance.api.access_roles import Role
from appliance.api.errors import Forbidden
from appliance.cors import Cors

_OURS = ("same-origin", "none")  # none: typed, or a bookmark


def require_own_page(headers: Mapping[str, str], needs: Role, cors: Cors) -> None:
    """Forbidden if another site's page made a browser send this."""
    if needs <= Role.VIEWER or not headers.get("Authorization", "")[:6].lower().startswith("basic"):
        return
    origin = headers.get("Origin")
    if origin is not None and cors.allow_credentials and cors.allowed(origin) == origin:
        return
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        foreign = site not in _OURS
    else:
        page = origin if origin is not None else headers.get("Referer")
        foreign = page is not None and urlsplit(page).netloc != headers.get("Host", "")
    if foreign:
        raise Forbidden(
            "a page of another site made the browser ask this, with the password it remembers",
            where="Origin",
            expected="the scheduler's own pages; or a program, with Authorization: Bearer; or that origin in [cors]",
        )
