"""Under which conditions Patroni's leader key may be handed on: each one alone forbids it, and says so."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.ha.primary import Outlook, Server
from luigi_ha.ha.primary.patroni_keys import Keys, outlook, scopes
from tests.primary.keys import NAMESPACE, PREFIX, SYSTEM, items, member, values

Change = Callable[[dict[str, Any]], object]


def seen(change: Change = lambda _: None) -> Outlook:
    found = values()
    change(found)
    return outlook(items(found), Keys(PREFIX))


def test_the_synchronous_standby_follows_the_primary() -> None:
    assert seen() == Outlook(
        Server("n1", "10.9.0.1", 5432, "http://10.9.0.1:8008"),
        (Server("n2", "10.9.0.2", 5432, "http://10.9.0.2:8008"),),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("leader"), "no leader now"),
        (lambda v: v.pop("members/n1"), "leader n1 is not among its members"),
        (lambda v: v.update(leader="n3"), "sync key is of n1, its leader is n3"),
        (lambda v: v.pop("sync"), "sync key is of nobody"),
        (lambda v: v.update(sync={"leader": None, "sync_standby": None}), "sync key is of nobody"),
        (lambda v: v["sync"].update(sync_standby=None), "no synchronous standby"),
        (lambda v: v["sync"].update(sync_standby=""), "no synchronous standby"),
        (lambda v: v["sync"].update(quorum=1), "by quorum"),
        (lambda v: v.update(sync="not JSON"), "sync key is of nobody"),
        (lambda v: v.update(sync="[]"), "sync key is of nobody"),
        (lambda v: v.pop("members/n2"), "n2"),
        (lambda v: v["members/n2"].pop("conn_url"), "n2"),
        (lambda v: v["members/n2"].update(tags={"nofailover": True}), "n2"),
        (lambda v: v["members/n2"].update(tags={"failover_priority": 0}), "n2"),
        (lambda v: v["members/n2"].update(tags={"noloadbalance": True}), "n2"),
        (lambda v: v["members/n2"].update(version="4.2.0"), "Patroni 4.2.0 is not known; expected 4.1"),
        (lambda v: v["members/n3"].update(version="3.3.4"), "Patroni 3.3.4 is not known"),
        (lambda v: v["members/n3"].pop("version"), "Patroni None is not known"),
        (lambda v: v["members/n1"].update(version="41.1"), "Patroni 41.1 is not known"),
        (lambda v: v["config"].update(synchronous_mode=False), "synchronous_mode is False"),
        (lambda v: v["config"].update(synchronous_mode="quorum"), "synchronous_mode is 'quorum'"),
        (lambda v: v["config"].pop("synchronous_mode"), "synchronous_mode is False"),
        (lambda v: v.pop("config"), "synchronous_mode is False"),
        (lambda v: v["config"].update(pause=True), "paused"),
        (lambda v: v["config"].update(standby_cluster={"host": "x"}), "standby cluster"),
        (lambda v: v["config"]["postgresql"]["parameters"].update(synchronous_commit="local"), "= local"),
        (lambda v: v["config"]["postgresql"]["parameters"].update(synchronous_commit=False), "= False"),
        (lambda v: v["config"]["postgresql"]["parameters"].update(synchronous_commit="remote_write"), "remote_write"),
        (lambda v: v["members/n2"].update(conn_url="postgres://[fd00::2:5432/x"), "n2"),
        (lambda v: v["members/n2"].update(api_url="http://10.9.0.2:port/"), "n2"),
        (lambda v: v.update(failover={"leader": "n1", "member": "n3"}), "switchover has been asked"),
    ],
)
def test_each_of_these_alone_forbids_it(change: Change, said: str) -> None:
    found = seen(change)
    assert found.why_not is not None
    assert said in found.why_not


@pytest.mark.parametrize(
    ("change", "standby"),
    [
        (lambda v: v["sync"].update(sync_standby="n2,n3"), "n2"),
        (lambda v: (v["sync"].update(sync_standby="n2,n3"), v["members/n2"].update(tags={"nofailover": True})), "n3"),
        (lambda v: v["config"].pop("postgresql"), "n2"),  # PostgreSQL's default is on
        (lambda v: v["config"].update(synchronous_mode="on"), "n2"),
        (lambda v: v["members/n2"].update(tags={"nosync": False}), "n2"),
        (lambda v: v["members/n2"].update(version="4.1.9"), "n2"),
        (lambda v: v["members/n2"].update(tags=["odd"]), "n2"),
        (lambda v: v["config"].update(postgresql=["odd"]), "n2"),
        (lambda v: v["config"].update(postgresql={"parameters": "odd"}), "n2"),
        (lambda v: v.update({"members/n3": "not JSON", "members/n4": member("n4")}) or v.pop("members/n3"), "n2"),
    ],
)
def test_none_of_these_does(change: Change, standby: str) -> None:
    found = seen(change)
    assert found.why_not is None
    assert found.standby is not None
    assert found.standby.name == standby


def test_addresses_of_any_form_are_understood() -> None:
    def change(v: dict[str, Any]) -> None:
        v["members/n2"] = member("n2", "https://[fd00::2]:8008/patroni", conn_url="postgres://[fd00::2]/postgres")

    assert seen(change).standby == Server("n2", "fd00::2", 5432, "https://[fd00::2]:8008")


def test_a_cluster_is_known_by_the_database_that_it_manages() -> None:
    other = {f"/service/other/{key}": item for key, item in items(values()).items()}
    found = items(values()) | {key.replace(PREFIX, "/service/other/"): other[f"/service/other/{key}"] for key in ()}
    assert scopes(found, NAMESPACE, SYSTEM) == [Keys(PREFIX)]
    assert scopes(found, NAMESPACE, SYSTEM + 1) == []
    assert scopes({}, NAMESPACE, SYSTEM) == []
    twice = found | {"/service/b/initialize": found[PREFIX + "initialize"]}
    assert scopes(twice, NAMESPACE, SYSTEM) == [Keys(PREFIX), Keys("/service/b/")]
    assert scopes(found | {"/service/c/members/initialize": found[PREFIX + "leader"]}, NAMESPACE, SYSTEM) == [
        Keys(PREFIX)
    ]
