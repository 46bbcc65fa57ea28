"""etcd's protobuf messages from and to the transport's values. The messages have no types: `Any`."""

from collections.abc import Sequence
from typing import Any

from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.spread import Status
from luigi_ha.ha.etcd.transport import Batch, Change, Field, Guard, Header, Item, Listing, Outcome, Put

# Fields of StatusResponse that are younger than the stubs.
APPLIED, ERRORS, LEARNER = 7, 8, 10


def prefix_range(prefix: str) -> dict[str, bytes]:
    """The range of all keys that begin with `prefix`."""
    raw = prefix.encode()
    return {"key": raw, "range_end": raw[:-1] + bytes([raw[-1] + 1])}  # the last byte of UTF-8 text is below 0xff


def transaction(guards: Sequence[Guard], changes: Sequence[Change]) -> Any:
    rpc = library().rpc
    return rpc.TxnRequest(compare=[_compare(guard) for guard in guards], success=[_change(each) for each in changes])


def _compare(guard: Guard) -> Any:
    rpc, key = library().rpc, guard.key.encode()
    if guard.field is Field.CREATED:
        return rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.CREATE, key=key, create_revision=guard.revision)
    if guard.field is Field.LEASE:
        return rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.LEASE, key=key, lease=guard.revision)
    return rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=key, mod_revision=guard.revision)


def _change(change: Change) -> Any:
    rpc, key = library().rpc, change.key.encode()
    if isinstance(change, Put):
        put = rpc.PutRequest(key=key, value=change.value.encode(), lease=change.lease)
        return rpc.RequestOp(request_put=put)
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def header(reply: Any) -> Header:
    found = reply.header
    return Header(found.cluster_id, found.member_id, found.revision, found.raft_term)


def item(found: Any) -> Item:
    return Item(_text(found.key), _text(found.value), found.create_revision, found.mod_revision, found.lease)


def listing(reply: Any) -> Listing:
    return Listing(header(reply), {each.key: each for each in map(item, reply.kvs)})


def outcome(reply: Any) -> Outcome:
    return Outcome(header(reply), reply.succeeded)


def batch(reply: Any) -> Batch:
    """The events of one message of a watch."""
    put = 0  # the other is DELETE
    events = [item(event.kv) if event.type == put else _text(event.kv.key) for event in reply.events]
    return Batch(max((event.kv.mod_revision for event in reply.events), default=0), events)


def status(reply: Any) -> Status:
    """What a member says of itself."""
    newer = {field.field_number: field.data for field in library().unknown_fields(reply)}
    applied = newer.get(APPLIED, reply.raftIndex)
    return Status(header(reply).member, reply.leader, int(applied), bool(newer.get(LEARNER)), ERRORS in newer)


def _text(raw: bytes) -> str:
    """What is not UTF-8 was not written by us and is shown as far as possible."""
    return raw.decode(errors="replace")
