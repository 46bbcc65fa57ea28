"""What Patroni keeps in etcd, as far as moving its leader key needs it; pure.

Below `<namespace>/<scope>/`: `leader` (a member's name, under that member's lease), `members/<name>` (under the same
lease), `sync` (who is synchronous to whom), `config`, `initialize` (the database's system identifier), `failover` (a
switchover that somebody has asked for). None of this is an interface that Patroni promises to anybody: hence VERSIONS.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from luigi_ha.ha.etcd.transport import Item
from luigi_ha.ha.primary.port import Outlook, Server

VERSIONS = ("4.1",)  # major.minor of the Patroni that this was tested with
COMMITS = ("on", "true", "True", "remote_apply")  # synchronous_commit, as JSON and YAML have it
POSTGRES_PORT = 5432

Items = Mapping[str, Item]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one Patroni cluster. `prefix` ends in a slash."""

    prefix: str

    @property
    def leader(self) -> str:
        return self.prefix + "leader"

    @property
    def config(self) -> str:
        return self.prefix + "config"

    @property
    def failover(self) -> str:
        return self.prefix + "failover"

    @property
    def sync(self) -> str:
        return self.prefix + "sync"

    def member(self, name: str) -> str:
        return f"{self.prefix}members/{name}"


def scopes(items: Items, namespace: str, system: int) -> list[Keys]:
    """The Patroni clusters below `namespace` (which ends in a slash) that manage the database with this identifier."""
    found = []
    for key, item in items.items():
        scope, _, rest = key.removeprefix(namespace).partition("/")
        if rest == "initialize" and item.value.strip() == str(system):
            found.append(Keys(f"{namespace}{scope}/"))
    return found


def outlook(items: Items, keys: Keys) -> Outlook:
    """Who is the primary, who would follow, and why not. The conditions are those under which nothing is lost."""
    leader, sync = items.get(keys.leader), _json(items.get(keys.sync))
    primary = _server(items, keys, leader.value) if leader is not None else None
    if leader is None:
        return Outlook(why_not="Patroni has no leader now")
    if primary is None:
        return Outlook(why_not=f"Patroni's leader {leader.value} is not among its members now")
    names = [name for name in str(sync.get("sync_standby") or "").split(",") if name]
    candidates = [server for name in names if (server := _server(items, keys, name)) is not None]
    standbys = tuple(each for each in candidates if not _bars_failover(items, keys, each.name))
    return Outlook(primary, standbys, _against(items, keys, leader, sync, names, standbys))


def _against(
    items: Items, keys: Keys, leader: Item, sync: Json, names: list[str], standbys: tuple[Server, ...]
) -> str | None:
    """What speaks against making one of `standbys` the primary: the first of these."""
    config = _json(items.get(keys.config))
    parameters = _object(_object(config.get("postgresql")).get("parameters"))
    commit, unknown = str(parameters.get("synchronous_commit", "on")), _unknown_versions(items, keys)
    objections = (
        (bool(unknown), f"Patroni {', '.join(unknown)} is not known; expected {' or '.join(VERSIONS)}"),
        (
            config.get("synchronous_mode") not in (True, "on"),
            f"Patroni's synchronous_mode is {config.get('synchronous_mode', False)!r}; expected true",
        ),
        (commit not in COMMITS, f"Patroni sets synchronous_commit = {commit}; expected on"),
        (bool(config.get("pause")), "Patroni is paused"),
        (bool(config.get("standby_cluster")), "this is a standby cluster of Patroni's"),
        (keys.failover in items, "a switchover has been asked of Patroni"),
        (
            sync.get("leader") != leader.value,
            f"Patroni's sync key is of {sync.get('leader') or 'nobody'}, its leader is {leader.value}",
        ),
        (bool(sync.get("quorum")), "Patroni commits by quorum: not each synchronous standby has everything"),
        (not names, "there is no synchronous standby"),
        (not standbys, f"no synchronous standby ({', '.join(names)}) is a member that may be promoted"),
    )
    return next((said for true, said in objections if true), None)


def lease_of(items: Items, keys: Keys, server: Server) -> int:
    """The lease that Patroni's member hangs on; 0: it is gone."""
    item = items.get(keys.member(server.name))
    return item.lease if item is not None else 0


def _server(items: Items, keys: Keys, name: str) -> Server | None:
    """A member of Patroni's, unless it does not say where its PostgreSQL is."""
    about = _json(items.get(keys.member(name)))
    try:
        parts = urlsplit(str(about["conn_url"]))
        if not parts.hostname:
            return None
        api = urlsplit(str(about.get("api_url") or ""))
        usable = api.scheme in ("http", "https") and api.hostname and api.port != 0  # ValueError: no port
        url = f"{api.scheme}://{api.netloc}" if usable else ""
        return Server(name, parts.hostname, parts.port or POSTGRES_PORT, url)
    except (KeyError, ValueError):
        return None


def _bars_failover(items: Items, keys: Keys, name: str) -> bool:
    tags = _object(_json(items.get(keys.member(name))).get("tags"))
    barred = bool(tags.get("nofailover")) or str(tags.get("failover_priority", "1")) == "0"
    return barred or bool(tags.get("noloadbalance"))  # its REST API would not say that it is a replica


def _unknown_versions(items: Items, keys: Keys) -> list[str]:
    found = [_json(item).get("version") for key, item in items.items() if key.startswith(keys.prefix + "members/")]
    return sorted({str(each) for each in found if not _known(str(each))})


def _known(version: str) -> bool:
    return ".".join(version.split(".")[:2]) in VERSIONS


def _json(item: Item | None) -> Json:
    """What the key holds; empty if that is no object."""
    try:
        found = json.loads(item.value) if item is not None else {}
    except ValueError:
        return {}
    return _object(found)


def _object(value: Any) -> Json:
    """The object that this is, or an empty one: what stands there was not written by us."""
    return value if isinstance(value, dict) else {}
