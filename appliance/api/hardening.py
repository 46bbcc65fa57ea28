"""What every answer tells a browser about itself, so that nothing a caller sent is ever run as a script.

Answers of the API are data: no page may frame them, sniff a type into them, or run anything out of them. Pages are
ours alone (`page_headers`): scripts come from this server, and what stands inside of a page is named by its hash.
"""

import base64
import hashlib
import re
from collections.abc import Mapping

_COMMON = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}
API_HEADERS: Mapping[str, str] = {**_COMMON, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
_INLINE_SCRIPT = re.compile(rb"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL | re.IGNORECASE)


def page_headers(html: bytes) -> dict[str, str]:
    """Return the headers of a page of ours: its scripts are this server's files, and those that stand in it now.

    Styles may stand inside of it (luigi's visualiser sets them by attribute); what a caller sent can neither load nor
    run anything.
    """
    hashes = "".join(f" 'sha256-{digest}'" for digest in _inline_digests(html))
    policy = (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    return {**_COMMON, "Content-Security-Policy": policy}


def _inline_digests(html: bytes) -> list[str]:
    """The SHA-256 of each script that stands in the page, in base64."""
    found = []
    for script in _INLINE_SCRIPT.finditer(html):
        attributes = script["attributes"].lower()
        if b"src=" in attributes or b"text/template" in attributes:
            continue
        # The browser hashes what its parser made of the text: line ends are normalised first.
        text = script["text"].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode("ascii")
        if digest not in found:
            found.append(digest)
    return found
