"""The OpenAPI document as one HTML page, with nothing to load and nothing to execute."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from luigi_ha.appliance.api.rest.problems import KINDS

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: #2563eb }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 6rem }
h1 { margin-bottom: 0 } h2 { border-bottom: 1px solid var(--line); margin-top: 3rem } a { color: var(--link) }
code, pre { font: 13px/1.45 ui-monospace, monospace } pre { background: var(--soft); overflow-x: auto; padding: .7rem }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .8rem }
summary { cursor: pointer } summary b { display: inline-block; width: 3.5rem } summary span { opacity: .75 }
table { border-collapse: collapse; width: 100% } td, th { border-top: 1px solid var(--line); padding: .25rem .6rem;
text-align: left; vertical-align: top } td:first-child { white-space: nowrap }
"""
_CODE = re.compile(r"`([^`]+)`")


def render(document: Mapping[str, Any]) -> str:
    """The page."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['summary'])}. <a href=openapi.json>OpenAPI {escape(document['openapi'])}</a></p>",
        *_prose(info["description"]),
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts += _operation(method.upper(), path, operation)
    parts.append("<h2>Objects</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"<details id='{name}'><summary><code>{name}</code></summary>{''.join(_object(schema))}</details>")
    parts.append("<h2>Problems</h2><table><tr><th>status<th>type<th>")
    for status, kind in KINDS.items():
        parts.append(f"<tr id='{kind.name}'><td>{status}<td><code>{kind.name}</code><td>{_text(kind.text)}")
    parts.append("</table></html>")
    return "".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details id='{operation['operationId']}'><summary><b>{method}</b> <code>{escape(path)}</code> "
    yield f"<span>{escape(operation['summary'])}</span></summary><p>{_text(operation['description'])}</p>"
    if operation["parameters"]:
        yield "<table><tr><th>parameter<th>in<th>"
        for parameter in operation["parameters"]:
            said = parameter.get("description") or parameter["schema"].get("description", "")
            kind = _kind(parameter["schema"])
            yield f"<tr><td><code>{parameter['name']}</code><td>{parameter['in']}<td>{kind}. {_text(said)}"
        yield "</table>"
    body = operation.get("requestBody")
    if body is not None:
        media = body["content"]["application/json"]
        yield f"<p>Body: {_kind(media['schema'])}</p>"
        if not _reference(media["schema"]):
            yield from _object(media["schema"])
        if "example" in media:
            yield f"<pre>{escape(json.dumps(media['example'], indent=2))}</pre>"
    yield "<table><tr><th>answer<th>"
    for status, reply in operation["responses"].items():
        kinds = [_kind(media["schema"]) for media in reply.get("content", {}).values()]
        yield f"<tr><td>{status} {' '.join(kinds)}<td>{_text(reply['description'])}"
    yield "</table></details>"


def _object(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        yield f"<p>{_text(schema['description'])}</p>"
    if schema.get("properties"):
        yield "<table>"
        required = schema.get("required", ())
        for name, inner in schema["properties"].items():
            star = " *" if name in required and schema.get("additionalProperties") is False else ""
            yield f"<tr><td><code>{name}</code>{star}<td>{_kind(inner)}<td>{_text(inner.get('description', ''))}"
        yield "</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in a few words."""
    name = _reference(schema)
    if name:
        return f"<a href='#{name}'>{name}</a>"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(inner) for inner in schema["anyOf"])
    kinds = schema.get("type", "any")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "items" in schema:
        return f"{escape(kind)} of {_kind(schema['items'])}"
    return escape(kind)


def _reference(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else ""


def _prose(text: str) -> Iterator[str]:
    """Paragraphs and lists."""
    for block in text.strip().split("\n\n"):
        if block.startswith("* "):
            items = "".join(f"<li>{_text(item)}" for item in block.removeprefix("* ").split("\n* "))
            yield f"<ul>{items}</ul>"
        else:
            yield f"<p>{_text(block)}</p>"


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
