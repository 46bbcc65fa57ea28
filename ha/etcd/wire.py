"""Requests and replies of etcd's JSON gateway: keys and values in base64, 64-bit numbers as text, zeros left out."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luigi_ha.ha.errors import Fatal, Unknown
from luigi_ha.ha.etcd.failures import of_status
from luigi_ha.ha.etcd.spread import Status
from luigi_ha.ha.etcd.transport import Batch, Change, Field, Guard, Header, Item, Listing, Outcome, Put

Json = Mapping[str, Any]


def encode(text: str) -> str:
    """Text as the gateway wants bytes."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    """Bytes from the gateway as text; what is not UTF-8 was not written by us and is shown as far as possible."""
    return base64.b64decode(text).decode(errors="replace")


def prefix_range(prefix: str) -> dict[str, str]:
    """The range of all keys that begin with `prefix`."""
    raw = prefix.encode()
    end = raw[:-1] + bytes([raw[-1] + 1])  # the last byte of UTF-8 text is below 0xff
    return {"key": base64.b64encode(raw).decode(), "range_end": base64.b64encode(end).decode()}


def transaction(guards: Sequence[Guard], changes: Sequence[Change]) -> dict[str, Any]:
    """The body of a transaction."""
    names = {Field.CREATED: "create_revision", Field.MODIFIED: "mod_revision", Field.LEASE: "lease"}
    return {
        "compare": [
            {
                "key": encode(guard.key), "target": guard.field.value, "result": "EQUAL",
                names[guard.field]: str(guard.revision),
            }
            for guard in guards
        ],
        "success": [_change(change) for change in changes],
    }  # fmt: skip


def _change(change: Change) -> dict[str, Any]:
    if isinstance(change, Put):
        return {"request_put": {"key": encode(change.key), "value": encode(change.value), "lease": str(change.lease)}}
    return {"request_delete_range": {"key": encode(change.key)}}


def header(reply: Json) -> Header:
    """Every reply has one; a reply without it is not etcd's."""
    try:
        found = reply["header"]
        return Header(
            int(found["cluster_id"]), int(found["member_id"]), int(found.get("revision", 0)),
            int(found.get("raft_term", 0)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unknown("a reply without a header: not etcd's") from error


def item(found: Json) -> Item:
    return Item(
        decode(found["key"]), decode(found.get("value", "")), int(found.get("create_revision", 0)),
        int(found.get("mod_revision", 0)), int(found.get("lease", 0)),
    )  # fmt: skip


def listing(reply: Json) -> Listing:
    items = [item(found) for found in reply.get("kvs", ())]
    return Listing(header(reply), {each.key: each for each in items})


def outcome(reply: Json) -> Outcome:
    return Outcome(header(reply), bool(reply.get("succeeded", False)))


def status(reply: Json) -> Status:
    """What a member says of itself."""
    return Status(
        header(reply).member, int(reply.get("leader", 0)), int(reply.get("raftAppliedIndex", 0)),
        bool(reply.get("isLearner")), bool(reply.get("errors")),
    )  # fmt: skip


def batch(result: Json) -> Batch:
    """The events of one message of a watch."""
    events: list[Item | str] = []
    for event in result.get("events", ()):
        deleted = event.get("type") == "DELETE"
        events.append(decode(event["kv"]["key"]) if deleted else item(event["kv"]))
    revision = max((int(event["kv"]["mod_revision"]) for event in result.get("events", ())), default=0)
    return Batch(revision, events)


def understood(status: int, raw: bytes) -> Json:
    """The JSON object of a reply, or the error that it is."""
    try:
        found: Any = json.loads(raw.split(b"\n", 1)[0])  # a stream's first message is all that is asked for
    except ValueError:
        found = None
    if not isinstance(found, dict):
        if 400 <= status < 500:
            said = raw[:80].decode(errors="replace").strip()
            raise Fatal(f"HTTP {status}, {said!r}: no JSON gateway here; expected etcd 3.4 or later, with it enabled")
        raise Unknown(f"HTTP {status} without JSON")
    error = found.get("error")
    if isinstance(error, dict):  # in a stream
        raise of_status(int(error.get("grpc_code", 2)), str(error.get("message")))
    if status != 200 or error is not None:
        raise of_status(int(found.get("code", 2)), str(error or f"HTTP {status}"))
    return found
