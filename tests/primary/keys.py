"""A Patroni cluster as its keys in etcd say it: three members, one of them the primary, one synchronous to it."""

import json
from collections.abc import Mapping
from typing import Any

from luigi_ha.ha.etcd.transport import Item

SYSTEM = 7_123_456_789_012_345_678
NAMESPACE, PREFIX = "/service/", "/service/luigi/"
LEASES = {"n1": 11, "n2": 12, "n3": 13}


def member(name: str, api: str = "", **more: Any) -> dict[str, Any]:
    number = name[1:]
    return {
        "conn_url": f"postgres://10.9.0.{number}:5432/postgres",
        "api_url": api or f"http://10.9.0.{number}:8008/patroni",
        "state": "running",
        "role": "primary" if name == "n1" else "replica",
        "version": "4.1.5",
        **more,
    }


def values() -> dict[str, Any]:
    """Key below PREFIX -> what it holds, when all is well."""
    return {
        "initialize": str(SYSTEM),
        "leader": "n1",
        "sync": {"leader": "n1", "quorum": 0, "sync_standby": "n2"},
        "config": {"ttl": 20, "synchronous_mode": True, "postgresql": {"parameters": {"synchronous_commit": "on"}}},
        **{f"members/{name}": member(name) for name in LEASES},
    }


def lease_of(key: str, value: object) -> int:
    name = value if key == "leader" else key.removeprefix("members/")
    return LEASES.get(str(name), 0)


def items(found: Mapping[str, Any]) -> dict[str, Item]:
    return {PREFIX + key: Item(PREFIX + key, text(value), 1, 1, lease_of(key, value)) for key, value in found.items()}


def text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
