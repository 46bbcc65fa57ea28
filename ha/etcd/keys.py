"""The keys of one election, and what they say.

Under one prefix: `leader` (under the leader's lease), `successor` and `address` (under a lease that lasts as long as
the reservation), `asked` (under one as long as the request), `pause`, `farewell`, `served` and `offset` (under none),
and `members/<name>` (each under a lease of its own).

The epoch of a leadership is the create revision of its key plus the offset that its value carries. The offset grows
when etcd has lost its past: the revisions of a new one begin at 1, and epochs must not.
"""

import json
from collections.abc import Mapping
from typing import Any

from luigi_ha.ha.elector import Asked, Candidate, Epoch, Farewell, Leader, Member, View
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.etcd.transport import Item

Items = Mapping[str, Item]


class Keys:
    """Names of keys under `prefix`, and how to read what is there."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.leader = prefix + "leader"
        self.successor = prefix + "successor"
        self.pause = prefix + "pause"
        self.offset = prefix + "offset"
        self.farewell = prefix + "farewell"
        self.address = prefix + "address"
        self.asked = prefix + "asked"
        self.served = prefix + "served"
        self.members = prefix + "members/"

    def view(self, items: Items) -> View:
        leader, keeps, successor = (items.get(key) for key in (self.leader, self.pause, self.successor))
        address = items.get(self.address)
        return View(
            leader_of(leader) if leader else None,
            keeps.value if keeps else None,
            successor.value if successor else None,
            farewell_of(items.get(self.farewell)),
            address.value if address else None,
            asked_of(items.get(self.asked)),
            served_of(items.get(self.served)),
        )

    def offset_of(self, items: Items) -> int:
        """What is added to revisions; Unusable if the key holds anything but a number."""
        item = items.get(self.offset)
        try:
            return int(item.value) if item else 0
        except ValueError as error:
            raise Unusable(f"the key {self.offset} holds {item.value[:40]!r}; expected a number") from error  # type: ignore[union-attr]

    def members_of(self, items: Items) -> list[Member]:
        found = [item for key, item in items.items() if key.startswith(self.members)]
        return [Member(item.key.removeprefix(self.members), _texts(item.value)) for item in sorted(found, key=_name)]


def leader_value(candidate: Candidate, offset: int) -> str:
    about: dict[str, Any] = {"name": candidate.name, "address": candidate.address, "meta": dict(candidate.meta)}
    return json.dumps(about | ({"offset": offset} if offset else {}), sort_keys=True)


def leader_of(item: Item) -> Leader:
    """Who the key says leads; whatever it holds, somebody leads."""
    try:
        about = json.loads(item.value)
        meta = {str(key): str(value) for key, value in about["meta"].items()}
        epoch = Epoch(item.create_revision + int(about.get("offset", 0)))
        return Leader(str(about["name"]), str(about["address"]), epoch, meta)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Leader("(unreadable)", "", Epoch(item.create_revision))


def farewell_value(name: str, epoch: int, reason: str) -> str:
    return json.dumps({"name": name, "epoch": epoch, "reason": reason}, sort_keys=True)


def farewell_of(item: Item | None) -> Farewell | None:
    try:
        about = json.loads(item.value) if item else None
        return Farewell(str(about["name"]), Epoch(int(about["epoch"])), str(about["reason"])) if about else None
    except (ValueError, KeyError, TypeError):  # only words for people
        return None


def asked_value(asked: Asked) -> str:
    return json.dumps({"to": asked.to, "id": asked.id, "refused": asked.refused}, sort_keys=True)


def asked_of(item: Item | None) -> Asked | None:
    try:
        about = json.loads(item.value) if item else None
        if not about:
            return None
        refused = about.get("refused")
        return Asked(str(about["to"]), str(about["id"]), None if refused is None else str(refused))
    except (ValueError, KeyError, TypeError, AttributeError):  # not ours: nobody has asked
        return None


def served_of(item: Item | None) -> int:
    return int(item.value) if item is not None and item.value.isdecimal() else 0


def _name(item: Item) -> str:
    return item.key


def _texts(value: str) -> Mapping[str, str]:
    try:
        return {str(key): str(each) for key, each in json.loads(value).items()}
    except (ValueError, AttributeError):
        return {}
