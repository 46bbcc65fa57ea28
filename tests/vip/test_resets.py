"""Who waits on a connection to an address that goes away is told at once."""

import asyncio
import socket
import time

import pytest

from luigi_ha.ha.clock import monotonic
from tests.support.patience import allowed, patient
from tests.vip.segment import Segment
from tests.vip.test_callers import both
from tests.vip.test_refusals import EITHER, call, listening


@EITHER
def test_who_waits_is_reset_and_who_has_its_reply_on_the_way_gets_it(net: Segment, address: str) -> None:
    async def work() -> None:
        with listening(net.a, address) as server:
            async with both(net) as (old, _):
                await old.hold(monotonic() + patient(20))
                waiting = call(net.c, address, 5)
                held, _ = server.accept()
                answered = call(net.c, address, 5)
                answering, _ = server.accept()
                answering.sendall(b"the reply")
                answering.close()
                started = time.monotonic()
                await old.drop()
                with waiting, held, pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(waiting.recv, 10)
                assert time.monotonic() - started < allowed(2.0, started)
                with answered:
                    assert answered.recv(20) == b"the reply"

    asyncio.run(work())


@EITHER
def test_connections_to_the_hosts_own_addresses_and_other_ports_are_left_alone(net: Segment, address: str) -> None:
    async def work() -> None:
        with net.a.inside():
            others = [
                socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True) for port in (8082, 8083)
            ]
        own = net.a.own6 if ":" in address else net.a.own4
        async with both(net) as (old, _):
            await old.hold(monotonic() + patient(20))
            to_own = call(net.c, own, 5)
            other_port = call(net.c, address, 5, port=8083)
            to_it = call(net.c, address, 5)
            accepted = [server.accept()[0] for server in (others[0], others[0], others[1])]
            await old.drop()
            with to_it, pytest.raises(ConnectionResetError):
                await asyncio.to_thread(to_it.recv, 10)
            accepted[0].sendall(b"alive")
            assert to_own.recv(10) == b"alive"
            for each in (to_own, other_port, *accepted, *others):
                each.close()

    asyncio.run(work())
