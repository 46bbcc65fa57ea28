"""Who calls while the address moves from host a to host b reaches b at once, and not only when its kernel asks again.

The listener on a takes no new connections from some moment on, as a node that hands over; the caller is on host c.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_ha.appliance.api.sockets import hold_back
from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.vip.configured import configured
from luigi_ha.ha.vip.netlink import NetlinkAddress
from luigi_ha.ha.vip.refusals import Refusals
from luigi_ha.ha.vip.segments import checksum, finished, parsed
from tests.support.patience import allowed, patient
from tests.vip.conftest import Seen
from tests.vip.segment import Segment
from tests.vip.test_address import BOTH, V4, on
from tests.vip.test_refusals import EITHER, PORT, call, listening

AGAIN = 1.0  # s after which a caller's kernel repeats a SYN


@contextlib.contextmanager
def listeners(net: Segment, address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with listening(net.a, address) as at_a, listening(net.b, address) as at_b:
        yield at_a, at_b


@contextlib.asynccontextmanager
async def both(net: Segment, port: int | None = PORT) -> AsyncIterator[tuple[NetlinkAddress, NetlinkAddress]]:
    """The addresses as host a knows them, which passes callers of `port` on, and as host b does."""
    with net.a.inside():
        old = NetlinkAddress(BOTH, "eth0", port=port)
        await old.start()
    with net.b.inside():
        new = NetlinkAddress(BOTH, "eth0")
        await new.start()
    yield old, new
    await new.close()
    await old.close()


async def moved(net: Segment, address: str, at_a: socket.socket, port: int | None, ahead: int = 1) -> list[float]:
    """The address moves from a to b; how long `ahead` callers have waited who called between the two."""

    def wait() -> float:
        started = time.monotonic()
        call(net.c, address, 5).close()
        return time.monotonic() - started

    async with both(net, port) as (old, new):
        await old.hold(monotonic() + patient(20))
        call(net.c, address, 3).close()  # knows now where the address is
        await old.leaving()
        with ThreadPoolExecutor(ahead) as callers:
            assert hold_back(at_a)
            waiting = [callers.submit(wait) for _ in range(ahead)]
            await asyncio.sleep(0.1)
            await old.drop()
            await asyncio.sleep(0.1)
            assert not any(each.done() for each in waiting)
            await new.hold(monotonic() + patient(20))
            seconds = [await asyncio.wrap_future(each) for each in waiting]
    return seconds


@EITHER
def test_the_next_holder_gets_them_at_once(net: Segment, seen: Seen, address: str) -> None:
    async def work() -> None:
        seconds = await moved(net, address, at_a, PORT, ahead=20)
        assert min(seconds) >= 0.2
        assert max(seconds) < AGAIN - 0.1

    with listeners(net, address) as (at_a, _):
        on(net.a, work())
    assert [fields["requests"] >= 20 for fields in seen.fields("callers_passed_on")] == [True]


@EITHER
def test_without_it_their_kernel_asks_again_after_a_second(net: Segment, address: str) -> None:
    async def work() -> None:
        assert min(await moved(net, address, at_a, None)) >= AGAIN - 0.1

    with listeners(net, address) as (at_a, _):
        on(net.a, work())


def test_a_caller_who_has_not_heard_of_the_move_is_sent_on(net: Segment) -> None:
    async def work() -> None:
        async with both(net) as (old, new):
            await old.hold(monotonic() + patient(20))
            await old.drop()
            await new.hold(monotonic() + patient(20))
            await asyncio.sleep(0.2)  # it is announced twice by then
            net.c.ip("neigh", "replace", V4, "lladdr", net.a.mac, "dev", "eth0", "nud", "permanent")
            started = monotonic()
            (await asyncio.to_thread(call, net.c, V4, 3)).close()
            assert monotonic() - started < allowed(AGAIN / 2, started)

    with listeners(net, V4):
        on(net.a, work())


@EITHER
def test_who_was_answered_before_the_move_is_not_passed_on(net: Segment, seen: Seen, address: str) -> None:
    async def work() -> None:
        async with both(net) as (old, new):
            await old.hold(monotonic() + patient(20))
            await old.leaving()
            for _ in range(5):
                call(net.c, address, 3).close()
            await old.drop()
            await new.hold(monotonic() + patient(20))
            await asyncio.sleep(0.3)

    with listeners(net, address):
        on(net.a, work())
    assert seen.fields("callers_passed_on") == []


@EITHER
def test_so_do_those_whose_listener_had_died_before_anybody_knew(net: Segment, address: str) -> None:
    async def work() -> None:
        rules = Refusals(configured(BOTH), "lhv", PORT)
        assert rules.suppress()
        async with both(net) as (old, new):
            await old.hold(monotonic() + patient(20))
            await asyncio.sleep(0.5)
            waiting = asyncio.create_task(asyncio.to_thread(call, net.c, address, 5))  # nobody listens on a
            await asyncio.sleep(0.05)
            await old.drop()
            began = monotonic()
            await new.hold(monotonic() + patient(20))
            (await waiting).close()
            assert monotonic() - began < allowed(AGAIN - 0.3, began)
        rules.allow()

    with listening(net.b, address):
        on(net.a, work())


@EITHER
def test_so_do_those_who_call_in_the_last_moments_of_a_lease(net: Segment, address: str) -> None:
    """Nobody has said that the address will go: no renewal came."""

    async def work() -> None:
        async with both(net) as (old, new):
            end = monotonic() + 1.5
            await old.hold(end)
            await asyncio.sleep(end - 0.2 - monotonic())
            assert hold_back(at_a)
            waiting = asyncio.create_task(asyncio.to_thread(call, net.c, address, 5))
            await asyncio.sleep(end + 0.2 - monotonic())
            assert not waiting.done()
            began = monotonic()
            await new.hold(monotonic() + patient(20))
            (await waiting).close()
            # not 0.6: the second after which the caller's kernel would have asked again
            assert monotonic() - began < allowed(0.4, began)

    with listeners(net, address) as (at_a, _):
        on(net.a, work())


def test_other_ports_and_addresses_are_none_of_its_business(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        with net.a.inside():
            old = NetlinkAddress(BOTH, "eth0", port=PORT)
            await old.start()
        await old.hold(monotonic() + patient(20))
        await old.leaving()
        for where, port in ((V4, PORT + 1), (net.a.own4, PORT)):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(call, net.c, where, 2, port)
        await old.drop()
        with net.b.inside():
            new = NetlinkAddress(BOTH, "eth0")
            await new.start()
        await new.hold(monotonic() + patient(20))
        await asyncio.sleep(0.2)
        await new.close()
        await old.close()

    on(net.a, work())
    assert seen.fields("callers_passed_on") == []


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_left_alone(packet: bytes) -> None:
    segment = parsed(packet)
    if segment is not None:
        assert len(finished(packet, segment)) == len(packet)


@given(st.binary(min_size=20, max_size=60), st.sampled_from(BOTH))
def test_a_finished_packet_has_a_checksum_that_holds(content: bytes, where: str) -> None:
    to = configured([where])[0].ip
    tcp = struct.pack("!HHIIBB", 4711, PORT, 7, 0, 0x50, 0x02) + content
    if to.version == 4:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, bytes(4), to.packed)
        ends = head[12:20]
    else:
        head = struct.pack("!IHBB16s16s", 6 << 28, len(tcp), 6, 64, bytes(16), to.packed)
        ends = head[8:40]
    segment = parsed(head + tcp)
    assert segment is not None
    assert segment.to == to
    assert segment.syn
    done = finished(head + tcp, segment)[len(head) :]
    assert checksum(ends + struct.pack("!II", 6, len(done)) + done) == bytes(2)
