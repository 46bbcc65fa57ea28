"""Presence on virtual time in etcd's way, and with real processes in the file lock's."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luigi_ha.ha.elector import Member
from luigi_ha.ha.errors import Unknown, Unusable
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.transport import Delete
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.memory import Delay, Link, MemoryStore, memory_elector
from tests.ha.conftest import TIMING
from tests.ha.test_election import LOST_REQUEST, PREFIX
from tests.ha.virtual import virtually
from tests.ha.worlds import candidate


def pair() -> tuple[MemoryStore, EtcdElector, EtcdElector, list[bool]]:
    """Two electors, the first behind a network that loses everything while the switch is on."""
    store, cut = MemoryStore(), [False]
    link = Link(store, lambda _call, _number: LOST_REQUEST if cut[0] else Delay())
    return (
        store,
        memory_elector(link, candidate("a"), TIMING),
        memory_elector(Link(store), candidate("bb"), TIMING),
        cut,
    )


def test_presence_lasts_vanishes_with_the_network_and_comes_back() -> None:
    async def play() -> None:
        _, a, b, cut = pair()
        await a.register({"able": "yes"})
        await asyncio.sleep(60)
        assert await b.members() == [Member("a", {"able": "yes"})]
        cut[0] = True
        with pytest.raises(Unknown):
            await a.register({"able": "no"})
        assert await b.members() == [Member("a", {"able": "yes"})]
        await asyncio.sleep(TIMING.ttl)  # who moves the primary away from a dead host waits for it, as for a lease
        assert await b.members() == []
        cut[0] = False
        await asyncio.sleep(2)
        assert await b.members() == [Member("a", {"able": "no"})]
        cut[0] = True
        await a.close()

    virtually(play)


def test_a_key_or_a_lease_that_somebody_removed_is_made_again() -> None:
    async def play() -> None:
        store, a, b, _ = pair()
        await a.register({})
        store.txn([], [Delete(PREFIX + "members/a")])
        await asyncio.sleep(TIMING.ttl + 0.1)
        assert len(await b.members()) == 1
        store.revoke(a._presence._id)
        assert await b.members() == []
        await asyncio.sleep(TIMING.ttl + 0.1)
        assert len(await b.members()) == 1
        await a.close()
        assert not store.leases

    virtually(play)


def test_registering_may_be_cancelled_and_closing_ends_who_waits() -> None:
    async def play() -> None:
        _, a, b, cut = pair()
        cut[0] = True
        waiting = [asyncio.create_task(a.register({"n": str(number)})) for number in range(3)]
        await asyncio.sleep(0.1)
        waiting[1].cancel()
        await asyncio.sleep(0.1)
        await a.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in results] == [Unknown, asyncio.CancelledError, Unknown]
        await b.close()

    virtually(play)


PRESENT = """
import asyncio, sys
from pathlib import Path
from luigi_ha.ha.filelock import FileLockElector
from tests.ha.conftest import TIMING
from tests.ha.worlds import candidate

async def main():
    await FileLockElector(Path(sys.argv[1]), candidate("other"), TIMING).register({"pid": "1"})
    print("registered", flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


@contextmanager
def present(directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has registered as `other`."""
    command = [sys.executable, "-c", PRESENT, str(directory)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"registered\n"
            yield process
        finally:
            process.kill()


def test_a_killed_process_is_not_present_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        one, same = (FileLockElector(tmp_path, candidate(name), TIMING) for name in ("one", "other"))
        with present(tmp_path) as process:
            assert await one.members() == [Member("other", {"pid": "1"})]
            with pytest.raises(Unusable, match="has this name"):
                await same.register({})
            process.kill()
            process.wait()
            assert await one.members() == []
            await same.register({})
        for each in (one, same):
            await each.close()

    asyncio.run(main())
