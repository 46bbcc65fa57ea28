"""From a path to its route. Segments are percent-decoded one by one, so an id may hold slashes, as %2F."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from luigi_ha.appliance.api.errors import BadRequest, MethodNotAllowed, NotFound
from luigi_ha.appliance.api.rest.table import ROUTES, Route

_DOCS = "a path of /api/docs"


class Found(NamedTuple):
    route: Route
    fields: dict[str, str]  # what the path says


def _branches() -> Mapping[int, list[tuple[tuple[str, ...], dict[str, Route]]]]:
    """Patterns by their number of segments, the more definite first; each with its routes by HTTP method."""
    patterns: dict[tuple[str, ...], dict[str, Route]] = {}
    for route in ROUTES:
        patterns.setdefault(tuple(route.path.removeprefix("/api/").split("/")), {})[route.method] = route
    by_length: dict[int, list[tuple[tuple[str, ...], dict[str, Route]]]] = {}
    for pattern in sorted(patterns, key=lambda pattern: [part.startswith("{") for part in pattern]):
        by_length.setdefault(len(pattern), []).append((pattern, patterns[pattern]))
    return by_length


_BRANCHES = _branches()
_ROOTS = frozenset(route.path.removeprefix("/api/").split("/", maxsplit=1)[0] for route in ROUTES)


def is_ours(raw_path: str) -> bool:
    """Whether this path, percent-encoded, belongs to the REST API."""
    return raw_path.startswith("/api/") and raw_path.removeprefix("/api/").split("/", maxsplit=1)[0] in _ROOTS


def find(method: str, raw_path: str) -> Found:
    """The route of a request; NotFound, MethodNotAllowed, or BadRequest for a path that is no text."""
    parts = raw_path.removeprefix("/api/").split("/")
    for pattern, routes in _BRANCHES.get(len(parts), ()):
        if not all(
            part == wanted or (wanted.startswith("{") and part) for part, wanted in zip(parts, pattern, strict=True)
        ):
            continue
        route = routes.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted(routes) + (["HEAD"] if "GET" in routes else [])
            raise MethodNotAllowed(f"{method[:20]} is not allowed here", where="path", expected=", ".join(allowed))
        pairs = zip(parts, pattern, strict=True)
        return Found(route, {wanted[1:-1]: _decoded(part) for part, wanted in pairs if wanted.startswith("{")})
    raise NotFound("no such path", where="path", expected=_DOCS)


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("not UTF-8", where="path", expected="percent-encoded UTF-8") from None
