"""The hand-over of Patroni's leader key over the in-memory store: what it changes, and what it leaves alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from luigi_ha.ha.errors import Fatal, Unknown
from luigi_ha.ha.etcd.transport import Delete, Outcome, Put
from luigi_ha.ha.memory import Delay, Link, MemoryStore
from luigi_ha.ha.primary import LeftAlone, NotMoved, Outlook
from luigi_ha.ha.primary.patroni import PatroniMover
from tests.primary.keys import LEASES, PREFIX, SYSTEM, lease_of, member, text, values
from tests.support.patience import patient


def always() -> bool:
    return True


class Place:
    """A store with a Patroni cluster in it, whose second member's REST API answers `status`."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.status = 200
        self.asked: list[str] = []
        self.between: Callable[[], object] = lambda: None  # happens while that is asked
        self.before_txn: Callable[[], object] = lambda: None
        self.lose: str = ""  # "request" or "reply" of the transaction
        self.mover = PatroniMover(Link(self.store, self._delay), lambda: SYSTEM, 0.5)

    def _delay(self, call: str, _number: int) -> Delay:
        if call != "txn":
            return Delay()
        self.before_txn()
        return {"": Delay(), "request": Delay(request=float("inf")), "reply": Delay(reply=float("inf"))}[self.lose]

    def put(self, key: str, value: Any) -> None:
        self.store.txn([], [Put(PREFIX + key, text(value), lease_of(key, value))])

    def put_member(self, name: str, about: dict[str, str] | None) -> None:
        """One of our own nodes is present, or is not."""
        key = f"/luigi-ha/default/members/{name}"
        self.store.txn([], [Delete(key) if about is None else Put(key, text(about))])

    @property
    def api(self) -> str:
        """The URL of the second member's REST API."""
        return str(json.loads(self.of("members/n2")[0])["api_url"])

    def of(self, key: str) -> tuple[str, int]:
        item = self.store.items[PREFIX + key]
        return item.value, item.lease

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.between()
        return web.Response(status=self.status)


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    made = Place()
    app = web.Application()
    app.router.add_get("/{path}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for lease in LEASES.values():
        made.store.grant(lease, 600)
    for key, value in (values() | {"members/n2": member("n2", f"http://127.0.0.1:{port}/patroni")}).items():
        made.put(key, value)
    try:
        yield made
    finally:
        await made.mover.close()
        await runner.cleanup()


def play(what: Callable[[Place], Any]) -> None:
    async def main() -> None:
        async with place() as made, asyncio.timeout(patient(20)):
            await what(made)

    asyncio.run(main())


def test_the_key_goes_to_the_standby_under_its_own_lease_and_sync_is_written_once_more() -> None:
    async def act(p: Place) -> None:
        outlook = await p.mover.look()
        sync = p.store.items[PREFIX + "sync"]
        await p.mover.move(outlook, always)
        assert p.of("leader") == ("n2", LEASES["n2"])
        again = p.store.items[PREFIX + "sync"]
        assert (again.value, again.lease) == (sync.value, sync.lease)
        assert again.mod_revision > sync.mod_revision, "a leader that is held up could still name another standby"
        assert again.mod_revision == p.store.items[PREFIX + "leader"].mod_revision, "in one transaction"
        assert p.asked == ["/replica"]

    play(act)


@pytest.mark.parametrize("status", [503, 404, 500])
def test_a_standby_that_says_it_is_no_replica_is_not_promoted(status: int) -> None:
    async def act(p: Place) -> None:
        p.status = status
        with pytest.raises(NotMoved, match=f"/replica says n2: HTTP {status}"):
            await p.mover.move(await p.mover.look(), always)
        assert p.of("leader") == ("n1", LEASES["n1"])

    play(act)


def test_a_standby_that_says_nothing_is_not_promoted() -> None:
    async def act(p: Place) -> None:
        p.put("members/n2", member("n2", "http://127.0.0.1:9/patroni"))
        with pytest.raises(NotMoved, match="says n2: nothing"):
            await p.mover.move(await p.mover.look(), always)
        assert p.of("leader") == ("n1", LEASES["n1"])

    play(act)


MEANWHILE = {
    "the leader key is another's": lambda p: p.put("leader", "n3"),
    "the leader key is gone": lambda p: p.store.revoke(LEASES["n1"]),
    "another is synchronous": lambda p: p.put("sync", {"leader": "n1", "quorum": 0, "sync_standby": "n3"}),
    "nobody is synchronous": lambda p: p.put("sync", {"leader": "n1", "quorum": 0, "sync_standby": None}),
    "the standby is gone": lambda p: p.store.revoke(LEASES["n2"]),
    "Patroni is paused": lambda p: p.put("config", values()["config"] | {"pause": True}),
    "Patroni's mode is changed": lambda p: p.put("config", values()["config"] | {"synchronous_mode": False}),
    "a switchover is asked of Patroni": lambda p: p.put("failover", {"leader": "n1", "member": "n3"}),
}


@pytest.mark.parametrize("when", ["between", "before_txn"])
@pytest.mark.parametrize("what", MEANWHILE)
def test_nothing_is_changed_if_something_has_changed_meanwhile(when: str, what: str) -> None:
    async def act(p: Place) -> None:
        outlook, after = await p.mover.look(), {}

        def change() -> None:
            if not after:
                MEANWHILE[what](p)
                after.update(p.store.items)

        setattr(p, when, change)
        with pytest.raises(NotMoved):
            await p.mover.move(outlook, always)
        assert p.store.items == after

    play(act)


def test_a_standby_that_is_back_under_another_lease_is_not_promoted_under_the_old_one() -> None:
    async def act(p: Place) -> None:
        outlook = await p.mover.look()

        def restart() -> None:
            if LEASES["n2"] in p.store.leases:
                value, _ = p.of("members/n2")
                p.store.grant(99, 600)
                p.store.txn([], [Put(PREFIX + "members/n2", value, 99)])

        p.before_txn = restart
        with pytest.raises(NotMoved):
            await p.mover.move(outlook, always)
        assert p.of("leader") == ("n1", LEASES["n1"])

    play(act)


def test_a_reply_that_is_lost_is_settled_by_reading() -> None:
    async def act(p: Place) -> None:
        outlook = await p.mover.look()
        p.lose = "reply"
        await p.mover.move(outlook, always)
        assert p.of("leader") == ("n2", LEASES["n2"])

    play(act)


def test_a_request_that_is_lost_has_moved_nothing_and_the_next_try_does() -> None:
    async def act(p: Place) -> None:
        outlook = await p.mover.look()
        p.lose = "request"
        with pytest.raises(NotMoved):
            await p.mover.move(outlook, always)
        assert p.of("leader") == ("n1", LEASES["n1"])
        p.lose = ""
        await p.mover.move(outlook, always)
        assert p.of("leader") == ("n2", LEASES["n2"])

    play(act)


def test_two_that_move_at_once_move_once() -> None:
    async def act(p: Place) -> None:
        second = PatroniMover(Link(p.store), lambda: SYSTEM, 0.5)
        outlook = await p.mover.look()
        results = await asyncio.gather(
            p.mover.move(outlook, always), second.move(outlook, always), return_exceptions=True
        )
        await second.close()
        moved = [each for each in results if not isinstance(each, NotMoved)]
        assert [getattr(each, "name", each) for each in moved] == ["n2"] * len(moved)
        assert moved
        assert p.of("leader") == ("n2", LEASES["n2"])

    play(act)


def test_an_attempt_that_was_executed_twice_counts_as_done() -> None:
    """The transport may try a second endpoint: then the first has changed what the second compares."""

    async def act(p: Place) -> None:
        outlook = await p.mover.look()
        transport = p.mover._transport
        once = transport.txn

        async def twice(*args: Any) -> Outcome:
            await once(*args)
            return await once(*args)

        transport.txn = twice  # type: ignore[method-assign]
        await p.mover.move(outlook, always)
        assert p.of("leader") == ("n2", LEASES["n2"])

    play(act)


def test_what_etcd_does_not_answer_is_unknown() -> None:
    async def act(p: Place) -> None:
        cut = PatroniMover(Link(p.store, lambda *_: Delay(request=float("inf"))), lambda: SYSTEM, 0.1)
        with pytest.raises(Unknown):
            await cut.look()
        await cut.close()

    play(act)


def test_a_database_that_is_not_patronis_is_left_alone() -> None:
    async def act(p: Place) -> None:
        for system, said in ((lambda: None, "not been reached yet"), (lambda: 1, "no Patroni in our etcd")):
            other = PatroniMover(Link(p.store), system, 0.5)
            found = await other.look()
            assert not found.managed
            assert said in (found.why_not or "")
            with pytest.raises(NotMoved):
                await other.move(found, always)
            await other.close()
        alone = LeftAlone("database_failover = off")
        assert await alone.look() == Outlook(why_not="database_failover = off", managed=False)
        with pytest.raises(NotMoved, match="off"):
            await alone.move(Outlook(), always)
        assert not await alone.promoted((await p.mover.look()).standby, 1.0)  # type: ignore[arg-type]

    play(act)


def test_waiting_for_the_promotion_ends_when_it_has_happened_or_the_time_is_over() -> None:
    async def act(p: Place) -> None:
        standby = (await p.mover.look()).standby
        assert standby is not None
        p.status = 503
        assert not await p.mover.promoted(standby, 0.1)
        asked = len(p.asked)
        p.between = lambda: setattr(p, "status", 200) if len(p.asked) > asked + 2 else None
        assert await p.mover.promoted(standby, patient(10))
        assert set(p.asked) == {"/primary"}

    play(act)


def test_a_lease_that_has_run_out_meanwhile_moves_nothing() -> None:
    async def act(p: Place) -> None:
        valid = [True]
        p.between = lambda: valid.__setitem__(0, False)
        with pytest.raises(NotMoved, match="lease has run out"):
            await p.mover.move(await p.mover.look(), lambda: valid[0])
        assert p.of("leader") == ("n1", LEASES["n1"])

    play(act)


def test_of_several_synchronous_standbys_the_first_that_is_ready_is_promoted() -> None:
    async def act(p: Place) -> None:
        alive = p.api
        p.put("sync", {"leader": "n1", "quorum": 0, "sync_standby": "n2,n3"})
        p.put("members/n2", member("n2", "http://127.0.0.1:9/patroni"))
        p.put("members/n3", member("n3", alive))
        outlook = await p.mover.look()
        assert [each.name for each in outlook.standbys] == ["n2", "n3"]
        promoted = await p.mover.move(outlook, always)
        assert promoted.name == "n3"
        assert p.of("leader") == ("n3", LEASES["n3"])

    play(act)


def test_in_a_switchover_one_of_them_is_named() -> None:
    async def act(p: Place) -> None:
        alive = p.api
        p.put("sync", {"leader": "n1", "quorum": 0, "sync_standby": "n2,n3"})
        p.put("members/n3", member("n3", alive))
        outlook = await p.mover.look()
        assert (await p.mover.move(outlook, always, outlook.standbys[1])).name == "n3"
        with pytest.raises(NotMoved):
            await p.mover.move(await p.mover.look(), always, outlook.standbys[0])

    play(act)


def test_who_may_not_write_patronis_keys_is_not_armed_and_says_so() -> None:
    async def act(p: Place) -> None:
        transport = p.mover._transport
        once = transport.txn

        async def denied(*_args: Any) -> Outcome:
            raise Fatal("etcdserver: permission denied")

        transport.txn = denied  # type: ignore[method-assign]
        found = await p.mover.look()
        assert not found.managed
        assert "permission denied" in (found.why_not or "")
        transport.txn = once  # type: ignore[method-assign]
        before = dict(p.store.items)
        assert (await p.mover.look()).why_not is None
        assert p.store.items == before, "asking changes nothing"

    play(act)
