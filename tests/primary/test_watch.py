"""When the primary is moved, and by whom: one node, with everything real but its life (it is not run), and others as
far as they can be heard."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.config import load
from luigi_ha.appliance.node import Node, NodeOptions
from luigi_ha.appliance.node.primary_evidence import Hosts, Silence, all_silent, plain
from luigi_ha.appliance.node.primary_watch import PrimaryAccess, PrimaryWatch
from luigi_ha.ha.errors import Fatal
from luigi_ha.ha.keeper.cells import Cells
from luigi_ha.ha.keeper.channel import Channel
from luigi_ha.ha.keeper.link import Link
from luigi_ha.ha.keeper.why import silent_one
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.memory import Link as ToStore
from luigi_ha.ha.memory import memory_elector
from luigi_ha.ha.primary import PrimaryMover, Server
from tests.api.serving import eventually
from tests.ha.worlds import candidate
from tests.primary.keys import member
from tests.primary.test_patroni_mover import Place, place
from tests.support.patience import patient

EPOCH = 7
ABOUT = {"n1": "127.0.9.1", "n2": "127.0.9.2", "n3": "127.0.0.1"}
NOBODY = 1  # a port on which nobody listens
SILENT = {"primary": "n1", "primary_silent_for": 2.0}


def primary_at(host: str) -> dict[str, Any]:
    """What Patroni's member n1 says, with nobody to answer there."""
    return member("n1", f"http://{host}:{NOBODY}/patroni", conn_url=f"postgres://{host}:{NOBODY}/postgres")


class Scene:
    """This is n2; n1 has the primary, on ports where nobody listens; n3's node says `said`."""

    def __init__(self, there: Place, node: Node, cells: Cells, mover: PrimaryMover | None) -> None:
        self.place, self.node, self.cells = there, node, cells
        self.said: dict[str, Any] = dict(SILENT)
        self.present = memory_elector(ToStore(there.store), candidate("seen"), Timing())
        access = PrimaryAccess(lambda _system: mover or there.mover, lambda: self.present)
        self.watch = PrimaryWatch(node, access)

    def lead(self, seconds: float = 60.0) -> None:
        self.cells.lead(EPOCH, monotonic() + seconds)

    def are_present(self, *names: str) -> None:
        """In etcd, from now on."""
        for name in ABOUT:
            self.place.put_member(name, self.about(name) if name in names else None)

    def about(self, name: str) -> dict[str, str]:
        port = self.port if name == "n3" else 8082
        return {"address": f"http://{ABOUT[name]}:{port}", "host": name, "able": "yes"}

    port = 0

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"database_failover": self.said})

    @property
    def leader(self) -> str:
        return self.place.of("leader")[0]

    async def runs(self, seconds: float) -> None:
        """Let the watch run for so long, or until the key has moved."""
        running = asyncio.create_task(self.watch.run())
        until = monotonic() + seconds
        try:
            while monotonic() < until and self.leader == "n1":
                assert not running.done(), running.exception()
                await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def scene(mover: PrimaryMover | None = None, **options: Any) -> AsyncIterator[Scene]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cells = Cells.create()
    loaded = load({"database": "postgresql://luigi@10.9.0.1,10.9.0.2/luigi", "name": "n2", **options}, None, {})
    node = Node(NodeOptions(loaded.options, "postgresql://luigi@10.9.0.1/luigi", "n2", Link(Channel(ours), cells)))
    async with place() as there:
        app = web.Application()
        made = Scene(there, node, cells, mover)
        app.router.add_get("/health", made.health)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        node.peers.update({name: made.about(name) for name in ABOUT})
        made.are_present("n2", "n3")
        there.put("members/n1", primary_at(ABOUT["n1"]))
        try:
            yield made
        finally:
            await runner.cleanup()
            theirs.close()
            ours.close()


def play(what: Callable[[Scene], Coroutine[Any, Any, None]], mover: PrimaryMover | None = None, **options: Any) -> None:
    async def main() -> None:
        async with scene(mover, **options) as made, asyncio.timeout(patient(60)):
            await what(made)

    asyncio.run(main())


LONG, NEVER_WITHIN = 60.0, 1.8  # s: for what must happen; for what must not


def test_the_leader_moves_it_when_its_host_is_silent_and_its_keeper_gone() -> None:
    async def act(s: Scene) -> None:
        s.lead()
        await s.runs(patient(LONG))
        assert s.leader == "n2"

    play(act)


AGAINST: dict[str, Callable[[Scene], object]] = {
    "this node does not lead": lambda s: s.cells.end(),
    "its lease has run out": lambda s: s.lead(-0.001),
    "the keeper there lives": lambda s: s.are_present("n1", "n2", "n3"),
    "another node is answered": lambda s: s.said.update(primary_silent_for=None),
    "another node has not looked yet": lambda s: s.said.clear(),
    "another node sees another primary": lambda s: s.said.update(primary="n3"),
    "automatic failover is paused": lambda s: setattr(s.node.link, "keeps", "n1"),
    "nobody of ours is known there": lambda s: s.place.put(
        "members/n1", member("n1", conn_url="postgres://10.8.8.8/x")
    ),
    "it is on our own host": lambda s: s.place.put("members/n1", primary_at("127.0.9.2")),
    "Patroni is not synchronous": lambda s: s.place.put("config", {"synchronous_mode": False}),
}


@pytest.mark.parametrize("what", AGAINST)
def test_it_is_left_alone_if(what: str) -> None:
    async def act(s: Scene) -> None:
        s.lead()
        AGAINST[what](s)
        await s.runs(NEVER_WITHIN)
        assert s.leader == "n1"

    play(act)


def test_a_primary_that_takes_connections_is_left_alone() -> None:
    async def act(s: Scene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            s.place.put("members/n1", member("n1", conn_url=f"postgres://127.0.0.1:{port}/x"))
            s.node.peers.update({"n1": {"address": "http://127.0.0.1:1", "host": "n1"}, "n2": s.about("n2")})
            s.lead()
            await s.runs(NEVER_WITHIN)
            assert s.leader == "n1"
            assert s.watch.said()["armed"]
            assert s.watch.said()["primary_silent_for"] is None

    play(act)


def test_the_end_of_a_leaders_lease_counts_for_as_long_as_a_lease() -> None:
    """Its presence ends a moment later; and it may be back before that."""

    async def act(s: Scene) -> None:
        s.are_present("n1", "n2", "n3")
        s.lead()
        s.watch.leads_after("no word from n1: its lease ended")
        await s.runs(patient(LONG))
        assert s.leader == "n2"

    play(act, lease_ttl=60.0, renew_every=1.0)

    async def later(s: Scene) -> None:
        s.are_present("n1", "n2", "n3")
        s.lead()
        s.watch.leads_after("no word from n1: its lease ended")
        await s.runs(NEVER_WITHIN)
        assert s.leader == "n1", "a lease later it is as present as it says"

    play(later, lease_ttl=0.6, renew_every=0.05, request_timeout=0.05, lease_margin=0.3)


def test_what_fails_in_etcd_or_is_no_name_does_not_end_the_watch() -> None:
    async def act(s: Scene) -> None:
        s.place.put("members/n1", member("n1", conn_url="postgres://" + "x" * 80 + "..y/x", api_url="http://.a./"))
        s.lead()
        await s.runs(1.5)
        assert s.leader == "n1"

    play(act)

    def refuses(_system: Callable[[], int | None]) -> PrimaryMover:
        raise Fatal("etcd_ca_file: cannot be read")

    async def main() -> None:
        async with scene() as made:
            watch = PrimaryWatch(made.node, PrimaryAccess(refuses, lambda: made.present))
            running = asyncio.create_task(watch.run())
            await asyncio.sleep(0.2)
            assert not running.done()
            assert "cannot be read" in (watch.why_not or "")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_patronis_own_failover_is_seen_while_the_old_host_is_silent() -> None:
    async def act(s: Scene) -> None:
        running = asyncio.create_task(s.watch.run())
        await eventually(lambda: s.watch.said()["primary_silent_for"] is not None)
        s.place.put("leader", "n3")
        s.place.put("sync", {"leader": "n3", "quorum": 0, "sync_standby": "n2"})
        await eventually(lambda: s.watch.said()["primary"] == "n3")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(act)


@pytest.mark.parametrize(
    ("options", "to", "moved"),
    [
        ({}, "n2", True),
        ({"prefer": "any"}, "n2", False),
        ({}, "n3", False),  # the synchronous standby is on another host than ours
    ],
)
def test_in_a_planned_switchover_the_primary_comes_along(options: dict[str, str], to: str, moved: bool) -> None:
    async def act(s: Scene) -> None:
        alive = s.place.api
        s.place.put("sync", {"leader": "n1", "quorum": 0, "sync_standby": to})
        s.place.put(f"members/{to}", member(to, alive, conn_url=f"postgres://{ABOUT[to]}:{NOBODY}/postgres"))
        s.lead()
        s.watch._hosts.update(s.node.peers.known)
        await s.watch.bring_along(EPOCH)
        assert (s.leader == to) is moved
        s.place.put("leader", "n1")
        s.cells.end()
        await s.watch.bring_along(EPOCH)
        assert s.leader == "n1", "not without the lease"

    play(act, **options)


# -- what speaks for it ------------------------------------------------------------------------------------------


def test_silence_must_last_longer_if_its_node_was_not_there_before() -> None:
    silence = Silence()
    assert not silence.long_enough(100.0)
    silence.broken(witnessed=True)
    silence.lasts(100.0)
    silence.lasts(100.5)
    assert silence.seconds(101.2) == pytest.approx(1.2)
    assert not silence.long_enough(100.9)
    assert silence.long_enough(101.1)
    silence.broken(witnessed=False)
    silence.lasts(100.0)
    assert not silence.long_enough(104.9)
    assert silence.long_enough(105.1)
    silence.over()
    assert not silence.long_enough(200.0)


@pytest.mark.parametrize(
    ("said", "seconds", "all_of_them"),
    [
        ([], 1.0, True),
        ([{"database_failover": SILENT}], 1.0, True),
        ([{"database_failover": {**SILENT, "primary_silent_for": None}}], 100.0, False),
        ([{"database_failover": SILENT}, {"database_failover": {**SILENT, "primary_silent_for": None}}], 100.0, False),
        ([None], 1.0, False),  # it does not answer: not known, for a while
        ([None], 6.0, True),
        ([{}], 1.0, False),  # a node of an earlier version
        ([{}], 6.0, True),
        ([{"database_failover": None}], 1.0, False),
    ],
)
def test_the_others_must_say_so(said: list[Any], seconds: float, all_of_them: bool) -> None:
    assert all_silent("n1", said, seconds) is all_of_them


def test_a_host_is_known_in_any_spelling_and_no_server_by_its_name_alone() -> None:
    hosts = Hosts()
    hosts.update(
        {"one": {"address": "http://[FD00:0::1]:8082", "host": "Db1.Example."}, "two": {"address": "http://[x"}}
    )
    for host in ("fd00::1", "[fd00::1]", "db1.example", "DB1.example.", "one"):
        assert hosts.node_on(Server("other", host, 5432)) == "one", host
    assert hosts.node_on(Server("one", "10.0.0.9", 5432)) is None, "a name in Patroni is no name of ours"
    assert plain("[FD00::0001]") == "fd00::1"


@pytest.mark.parametrize(
    ("cause", "name"),
    [
        ("no word from n1: its lease ended", "n1"),
        ("no word from host:4711: its process has ended", "host:4711"),
        ("no word from n1: its lease ended; then n2 was stopped", "n1"),
        ("switchover", None),
        ("the scheduler of n1 died (SIGKILL)", None),
    ],
)
def test_who_fell_silent_is_told_by_the_cause(cause: str, name: str | None) -> None:
    assert silent_one(cause) == name
