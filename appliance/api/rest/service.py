"""The REST API: finds what is asked, reads and checks it, and has it answered.

    request -> router (path) -> body, query (JSON, schema) -> answers -> dispatcher: gate -> engine -> journal -> answer

Invariants
* What reaches the engine is as the table of routes says.
* Bodies are read as JSON whatever the Content-Type says: curl calls everything a form.
* Whatever is refused, is refused with a problem (RFC 9457).
"""

import json
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from luigi_ha.appliance.api import large_text, wire
from luigi_ha.appliance.api.body import read_body
from luigi_ha.appliance.api.calls import Call, FutureCaller, Terms
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.errors import BadRequest, Refusal, Reply, Unavailable
from luigi_ha.appliance.api.operations import Operations
from luigi_ha.appliance.api.rest import openapi, page, problems, requests, router
from luigi_ha.appliance.api.rest.answers import failed
from luigi_ha.appliance.api.rest.asked import Answer, Asked
from luigi_ha.appliance.api.rest.logs import Logs
from luigi_ha.appliance.api.rest.polls import Polls
from luigi_ha.appliance.api.rest.schema import Schema, check, unknown
from luigi_ha.appliance.api.rest.table import Route
from luigi_ha.appliance.api.traffic import Share, Traffic
from luigi_ha.appliance.clock import monotonic

_OBJECT = "a JSON object"
MAX_QUERY = 50  # parameters


class Rest:
    """The REST API of one node."""

    def __init__(self, dispatcher: Dispatcher, operations: Operations, traffic: Traffic) -> None:
        self.operations = operations
        self._traffic = traffic
        self.polls = Polls(dispatcher)
        self._dispatcher = dispatcher
        logs = Logs(lambda: dispatcher.executor.engine)
        dispatcher.executor.own = {"rest_log": logs.rest_log, "rest_put_log": logs.rest_put_log}

    @staticmethod
    def knows(request: web.BaseRequest) -> bool:
        """Whether the request's path is the REST API's."""
        return router.is_ours(request.rel_url.raw_path)

    async def answer(self, request: web.BaseRequest, terms: Terms) -> web.Response:
        """Answer a request whose path is ours. Raises Refusal: `refuse` says it to the client."""
        arrived = monotonic()
        found = router.find(request.method, request.rel_url.raw_path)
        route = found.route
        share = self._traffic.share()
        try:
            fields, text = await self._fields(request, route, found.fields, share, known=terms.actor is not None)
            if request.method in ("GET", "HEAD"):
                terms = terms._replace(key=None)
            asked = Asked(route.call, fields, text, terms, lambda: _gone(request))
            return _response(await route.answer(self, asked))
        except Refusal as refusal:
            self._dispatcher.metrics.call(route.call, refusal.status, monotonic() - arrived)
            raise
        finally:
            share.close()

    @staticmethod
    def refuse(refusal: Refusal) -> web.Response:
        """A refusal, as the REST API says it."""
        answer = failed(problems.of_refusal(refusal), refusal.reply().retry_after)
        return _response(answer._replace(headers={**answer.headers, **refusal.headers}))

    async def call(self, asked: Asked) -> Reply:
        """One call of the engine, like any other: it waits at the gate, or is passed on, and for its commit."""
        if asked.gone():
            raise Unavailable("the client has gone", where="connection", expected="nothing")
        caller = FutureCaller(asked.gone)
        text = asked.text if asked.text is not None else json.dumps(asked.fields)
        self._dispatcher.submit(Call(asked.call, text, caller, monotonic(), asked.terms), asked.fields)
        return await caller.reply

    def hang_up(self) -> None:
        """Answer those who wait for work: there is none here."""
        self.polls.hang_up()

    @cached_property
    def document(self) -> bytes:
        """The OpenAPI document."""
        return json.dumps(openapi.document(), indent=1).encode()

    @cached_property
    def page(self) -> bytes:
        """The same for people."""
        return page.render(openapi.document()).encode()

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _fields(
        self, request: web.BaseRequest, route: Route, of_path: dict[str, str], share: Share, *, known: bool
    ) -> tuple[dict[str, Any], str | None]:
        """The arguments, checked; and their text, if that is the body's as it stands."""
        for name, value in of_path.items():
            check(requests.PATH_PARAMETERS[name], value, name)
        fields = {**of_path, **_query(request, route)}
        if route.body is None:
            return fields, None
        raw = await read_body(request, self._dispatcher.limits.body_of(route.call), share, known)
        if not raw.strip() and "required" not in route.body:
            return fields, None
        text = _text(raw)
        if len(text) <= large_text.LARGE:
            body = _decode(text)
        else:
            body = await large_text.by_and_by(large_text.decoded(text, _DECODER.raw_decode, "body"))
        check(route.body, body)
        if route.own:
            return {**body, **fields}, None
        if fields:  # what the path says wins over the body, here as there: it comes last
            text = f"{text.rstrip()[:-1]}{', ' if body else ''}{json.dumps(fields)[1:]}"
        return {**body, **fields}, text


def _query(request: web.BaseRequest, route: Route) -> dict[str, Any]:
    """What the URL says after the question mark."""
    raw = request.rel_url.raw_query_string
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY) if raw else []
    except ValueError as error:
        raise BadRequest(str(error)[:200], where="query", expected="name=value&..., percent-encoded UTF-8") from None
    fields: dict[str, Any] = {}
    for name, value in pairs:
        schema = route.query.get(name)
        if schema is None:
            raise unknown(name, list(route.query), "query", what="parameter")
        if name in fields:
            raise BadRequest("is there twice", where=name, expected="one value")
        fields[name] = _typed(schema, value)
        check(schema, fields[name], name)
    return fields


def _typed(schema: Schema, value: str) -> str | int:
    """Everything in a URL is text; what is to be a number and looks like one is one."""
    digits = value.removeprefix("-")
    return int(value) if schema["type"] == "integer" and digits.isdecimal() and len(digits) < 20 else value


def _text(raw: bytes) -> str:
    if not raw.strip():
        raise BadRequest("is empty", where="body", expected=_OBJECT)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8 at byte {error.start}", where="body", expected=_OBJECT + " in UTF-8") from None


def _decode(text: str) -> dict[str, Any]:
    """A JSON object, strictly: no Infinity, no NaN, and no number too large to be one."""
    try:
        value = _DECODER.decode(text)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}"[:300], where="body", expected=_OBJECT) from None
    except RecursionError:
        raise wire.too_deep("body") from None
    if type(value) is not dict:
        raise BadRequest(f"JSON, but no object ({type(value).__name__})", where="body", expected=_OBJECT)
    wire.check_depth(text, value, "body")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:30]} is too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_constant)


def _gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _response(answer: Answer) -> web.Response:
    if answer.status == 204:
        return web.Response(status=204, headers=answer.headers)
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.kind, **answer.headers})
