"""Options in which the nodes of one cluster, or of one pair, must not differ: who takes over would act otherwise.

Each is told to the others as a digest: they need to know whether it is the same, and whoever asks need not know what it
is. What belongs to one machine (names, addresses, files, logs) is left out.

Two kinds: with those of `LOCKS_OUT`, whoever takes over would refuse the clients, or not be where they call; a node
that differs in one of them does not join. With the others, work goes on by other rules: that is told, and no more.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from luigi_ha.appliance.config.access import auth_is_on, speaks_tls
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.options import SECRET, Options, Serve

LOCKS_OUT = frozenset({"auth", "tls", "tls_client_required", "host", "port", "vip"})
SAME = (
    "database_timeout", "call_budget", "max_body", "max_waiting", "max_waiting_bytes", "keep_alive", "prune_every",
    "history_days", "lease_ttl", "renew_every", "request_timeout", "lease_margin", "stall_after", "prefer",
    "durability", "database_failover", "max_task_body", "max_connections", "max_in_flight", "allowed_hosts",
)  # fmt: skip
Digests = Mapping[str, str]


def shared_options(options: Options) -> dict[str, str]:
    """Name -> the value as text, as it takes effect."""
    serve = options.serve
    found: dict[str, Any] = {
        "auth": "on" if auth_is_on(serve) else "off",
        "tls": "on" if speaks_tls(serve) else "off",
        "tls_client_required": serve.tls_client_required,
        **_place(serve),
        **{name: getattr(serve, name) for name in SAME},
        "resources": sorted(options.resources.items()),
    }
    for section, values in (("scheduler", options.scheduler), ("cors", options.cors), ("email", options.email)):
        for field in fields(values):
            if field.name not in SECRET:
                value = getattr(values, field.name)
                found[f"{section}.{field.name}"] = sorted(value.items()) if isinstance(value, Mapping) else value
    return {name: str(value) for name, value in found.items()}


def _place(serve: Serve) -> dict[str, Any]:
    """Where clients call, as far as that is the same for all nodes."""
    if kind(serve, serve.database) == "file":
        return {"host": serve.host, "port": serve.port}
    return {"port": serve.port, "vip": sorted(serve.vip)} if serve.vip else {"vip": []}


def digests(options: Options) -> dict[str, str]:
    """What the others are told."""
    return {
        name: hashlib.blake2b(f"{name}={value}".encode(), digest_size=6).hexdigest()
        for name, value in shared_options(options).items()
    }


def different(ours: Digests, theirs: object) -> list[str]:
    """The names in which two nodes differ, those that lock clients out first. What one of them does not know (another
    version) is no difference."""
    if not isinstance(theirs, Mapping) or not theirs:
        return []
    names = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    return sorted(names, key=lambda name: (name not in LOCKS_OUT, name))


def shown(names: list[str], here: Mapping[str, str]) -> str:
    """For people, with what they are here."""
    return ", ".join(f"{name} (here {here.get(name) or 'empty'})" for name in names)
