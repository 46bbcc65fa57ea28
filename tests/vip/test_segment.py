"""The address between hosts: a client follows it, and whoever else claims it is seen and contradicted."""

import asyncio
import statistics

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.vip.frames import announcements, claim, question
from luigi_ha.ha.vip.netlink import NetlinkAddress
from luigi_ha.ha.vip.wire import Wire
from tests.support.patience import allowed, patient
from tests.vip.conftest import Seen
from tests.vip.segment import Host, Segment
from tests.vip.test_address import BOTH, V4, V6, on, until

MOVES = 8


async def started(host: Host, *addresses: str) -> NetlinkAddress:
    with host.inside():
        address = NetlinkAddress(addresses or BOTH, "eth0")
        await address.start()
        return address


async def known(net: Segment, host: Host) -> None:
    """The client talks with `host` under both addresses, and has every reason to go on doing so."""
    for one in (V4, V6):
        assert net.until_at(host, one, 2) is not None
        assert host.mac in net.c.ip("neigh", "show", "to", one)


def test_a_client_follows_it_at_once(net: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap 17. Measured from the call that adds it on the new host; the median is printed with -s."""
    took: dict[str, list[float]] = {V4: [], V6: []}

    async def work() -> None:
        holders = [(net.a, await started(net.a)), (net.b, await started(net.b))]
        await holders[0][1].hold(monotonic() + 3)
        for _ in range(MOVES):
            (old_host, old), (host, new) = holders
            await known(net, old_host)
            await old.drop()
            begun = monotonic()
            await new.hold(monotonic() + 3)
            for one, times in took.items():
                assert net.until_at(host, one, 3) is not None
                times.append(monotonic() - begun)
            holders.reverse()
        for _, address in holders:
            await address.close()

    for host in (net.a, net.b):
        host.serve(V4, V6)
    on(net.c, work())
    with capsys.disabled():
        print()
        for one, times in took.items():
            print(
                f"{one} moved {MOVES} times: median {1e3 * statistics.median(times):.1f} max {1e3 * max(times):.1f} ms"
            )
    assert statistics.median(took[V4]) < 0.5
    assert statistics.median(took[V6]) < 0.5


def test_without_an_announcement_the_client_goes_on_with_the_old_host(net: Segment) -> None:
    """The check above can fail: this is what it looks like, and the announcement is what cures it."""

    async def work() -> None:
        old = await started(net.a)
        await old.hold(monotonic() + patient(10))
        await known(net, net.a)
        await old.close()
        net.b.ip("addr", "add", f"{V4}/24", "dev", "eth0")
        net.b.ip("addr", "add", f"{V6}/64", "dev", "eth0", "nodad")
        assert net.until_at(net.b, V4, 1.0) is None
        assert net.until_at(net.b, V6, 1.0) is None
        net.b.ip("addr", "del", f"{V4}/24", "dev", "eth0")
        net.b.ip("addr", "del", f"{V6}/64", "dev", "eth0")
        new = await started(net.b)
        await new.hold(monotonic() + patient(10))
        assert net.until_at(net.b, V4, 1.0) is not None
        assert net.until_at(net.b, V6, 1.0) is not None
        await new.close()

    for host in (net.a, net.b):
        host.serve(V4, V6)
    on(net.c, work())


def test_it_is_announced_in_a_burst(net: Segment) -> None:
    """At once, and again, in both forms of ARP: a switch may drop one."""
    heard: list[tuple[float, str]] = []

    async def work() -> None:
        with net.c.inside():
            ears = Wire("eth0", bytes(6), [one.ip for one in (await started(net.c))._vips])
        address = await started(net.a)
        await address.hold(monotonic() + patient(20))
        held = monotonic()
        while monotonic() < held + 2.5:  # the fourth comes after 5 s
            heard.extend((monotonic() - held, str(ip)) for ip, _ in ears.heard())
            await asyncio.sleep(0.01)
        ears.close()
        await address.close()

    on(net.c, work())
    for one, forms in ((V4, 2), (V6, 1)):
        when = [at for at, ip in heard if ip == one]
        assert 3 * forms <= len(when) < 5 * forms, when  # its kernel also answers a host that asks
        assert when[0] < 0.6
        assert when[-1] - when[0] > 0.8


def test_another_host_that_has_it_is_named_and_contradicted(net: Segment, seen: Seen) -> None:
    """Trap 14, seen from the holder: two have the address, and the client follows the one with the lease."""

    async def work() -> None:
        address = await started(net.a)
        await address.hold(monotonic() + patient(20))
        await known(net, net.a)
        other = await started(net.b)
        await other.hold(monotonic() + patient(20))  # as after a lease that was lost without anybody noticing
        await until(lambda: "address_conflict" in seen.names)
        conflict = seen.fields("address_conflict")
        assert {one["mac"] for one in conflict} <= {net.a.mac, net.b.mac}
        await other.close()
        for one in (V4, V6):
            assert net.until_at(net.a, one, 2) is not None
        before = len(seen.fields("address_conflict"))
        await asyncio.sleep(1.2)
        assert len(seen.fields("address_conflict")) <= before + 1  # it is quiet again
        await address.close()

    for host in (net.a, net.b):
        host.serve(V4, V6)
    on(net.c, work())


def test_a_false_claim_is_contradicted_at_once(net: Segment, seen: Seen) -> None:
    """Between two announcements of a burst, so that only the contradiction brings the client back."""

    async def work() -> None:
        address = await started(net.a)
        await address.hold(monotonic() + patient(20))
        await asyncio.sleep(1.3)  # the next announcement is at 5 s
        await known(net, net.a)
        with net.b.inside():
            liar = Wire("eth0", bytes.fromhex(net.b.mac.replace(":", "")), [vip.ip for vip in address._vips])
        for vip in address._vips:
            liar.announce(vip.ip)
            assert net.until_at(net.a, str(vip.ip), 2) is not None
            await asyncio.sleep(0)
        liar.close()
        assert net.b.mac in {fields["mac"] for fields in seen.fields("address_conflict")}
        await address.close()

    net.a.serve(V4, V6)
    on(net.c, work())


@pytest.mark.parametrize("one", [V4, V6])
def test_a_silent_second_holder_is_found_by_asking(net: Segment, seen: Seen, one: str) -> None:
    """It announces nothing: nothing is heard, unless somebody asks. Asked one second after the address was taken."""

    async def work() -> None:
        net.b.ip("addr", "add", one, "dev", "eth0", *(["nodad"] if one == V6 else []))
        address = await started(net.a, one)
        await address.hold(monotonic() + patient(20))
        await until(lambda: "address_conflict" in seen.names, 3)
        assert seen.fields("address_conflict")[0] == {"address": one, "mac": net.b.mac, "interface": "eth0"}
        await address.close()

    on(net.a, work())


@pytest.mark.parametrize("one", [V4, V6])
def test_who_answers_is_asked_before_the_address_is_taken(net: Segment, one: str) -> None:
    async def work() -> None:
        address = await started(net.a)
        begun = monotonic()
        assert await address.answering() is None
        assert 0.09 < monotonic() - begun < allowed(0.5, begun)
        net.b.ip("addr", "add", one, "dev", "eth0", *(["nodad"] if one == V6 else []))
        begun = monotonic()
        assert await address.answering() == net.b.mac
        assert monotonic() - begun < allowed(0.09, begun)
        net.b.ip("addr", "del", one, "dev", "eth0")
        assert await address.answering() is None
        await address.hold(monotonic() + 3)
        assert await address.answering() is None  # we ourselves are nobody else
        await address.close()

    on(net.a, work())


def test_frames_say_what_they_mean(net: Segment) -> None:
    mac = bytes.fromhex("020000000001")
    for vip in NetlinkAddress(BOTH, "eth0")._vips:
        for frame in announcements(vip.ip, mac):
            assert claim(frame.kind, frame.content) == (vip.ip, mac)
            for length in range(len(frame.content)):  # cut short: nothing, or at least no other address
                assert claim(frame.kind, frame.content[:length]) in (None, (vip.ip, b""))
        asked = question(vip.ip, mac)
        assert claim(asked.kind, asked.content) is None  # a question claims nothing
