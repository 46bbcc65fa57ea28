"""The race that loses rows, played with Patroni's own access to a real etcd.

A leader of Patroni's lives, and is held up in the middle of its turn: it has read the keys. Meanwhile its leader key is
handed to the synchronous standby. When it goes on, it writes `sync` as it had meant to, naming another standby, and
commits would be acknowledged that the promoted one never had. The hand-over must make that write fail.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.primary import patroni
from luigi_ha.ha.primary.patroni import PatroniMover
from tests.primary.held_up import SYSTEM
from tests.support.etcd import etcd_cluster
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]


async def replica(_: web.Request) -> web.Response:
    return web.Response()


async def hand_over_while_the_leader_is_held_up(endpoints: tuple[str, ...], via: str) -> dict[str, Any]:
    """What the first member's process says in the end."""
    app = web.Application()
    app.router.add_get("/replica", replica)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hosts = ",".join(each.removeprefix("http://") for each in endpoints)
    api = f"http://127.0.0.1:{runner.addresses[0][1]}/patroni"
    command = [sys.executable, "-m", "tests.primary.held_up", hosts, "/race/", api]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    mover = PatroniMover(etcd_transport(EtcdConfig(endpoints), via), lambda: SYSTEM, 5.0, "/race/")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(patient(60)):
            assert await process.stdout.readline() == b"read\n"
            await mover.move(await mover.look(), lambda: True)
            process.stdin.write(b"\n")
            said: dict[str, Any] = json.loads(await process.stdout.readline())
            return said
    finally:
        process.kill()
        await process.wait()
        await mover.close()
        await runner.cleanup()


def played(via: str) -> dict[str, Any]:
    with etcd_cluster() as cluster:
        return asyncio.run(hand_over_while_the_leader_is_held_up(tuple(cluster.endpoints), via))


@pytest.mark.parametrize("via", ["gateway", "grpc"])
def test_a_leader_that_was_held_up_cannot_name_another_standby(via: str) -> None:
    assert played(via) == {
        "named_another_standby": False,
        "leader": "n2",
        "sync_standby": "n2",
        "second_keeps_it": True,
        "first_takes_it_back": False,
    }


def test_without_the_second_put_it_could(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: n3 counts as synchronous, and n2 is promoted."""
    whole = patroni.changes
    monkeypatch.setattr(patroni, "changes", lambda *args: whole(*args)[:1])
    said = played("gateway")
    assert (said["named_another_standby"], said["leader"], said["sync_standby"]) == (True, "n2", "n3")
