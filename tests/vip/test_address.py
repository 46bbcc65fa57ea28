"""The address on one host: held exactly as long as asked, given up by itself, put right when others change it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.vip.configured import Vip
from luigi_ha.ha.vip.holder import Holder
from luigi_ha.ha.vip.kernel import Kernel
from luigi_ha.ha.vip.netlink import NetlinkAddress, _Thread
from luigi_ha.ha.vip.sweep import sweep
from tests.support.patience import allowed, patient
from tests.vip.conftest import Seen
from tests.vip.segment import Host, Segment, plug

V4, V6 = "10.9.0.100", "fd00:9::100"
BOTH = [f"{V4}/24", f"{V6}/64"]
LATE = 0.35  # s after its lifetime until the kernel has removed an address; measured up to 0.32


def on(host: Host, work: Coroutine[Any, Any, None]) -> None:
    with host.inside():
        try:
            asyncio.run(work)
        finally:  # a test that failed leaves nobody who would disturb the next one
            for thread in threading.enumerate():
                if isinstance(thread, _Thread):
                    thread.stop()
                    thread.join(2)


async def until(condition: Callable[[], bool], patience: float = 2.0) -> float:
    """Seconds until it holds; fails after `patience`."""
    started = monotonic()
    while not condition():
        assert monotonic() - started < allowed(patience, started), "has not happened"
        await asyncio.sleep(0.005)
    return monotonic() - started


def test_it_is_held_until_dropped_on_both_protocols(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        assert address.held == ()
        assert not net.a.has(V4)
        for _ in range(5):
            await address.hold(monotonic() + 2.9)
            assert net.a.has(V4)
            assert net.a.has(V6)
            assert address.held == (V4, V6)
            await asyncio.sleep(0.6)
        shown = net.a.ip("-6", "addr", "show", "dev", "eth0", "to", V6)
        assert "nodad" in shown
        assert "tentative" not in shown
        assert "valid_lft 2sec" in shown or "valid_lft 1sec" in shown
        await address.drop()
        assert not net.a.has(V4)
        assert not net.a.has(V6)
        assert net.a.has(net.a.own4)
        assert address.held == ()
        await address.drop()
        await address.close()

    on(net.a, work())
    assert seen.names.count("address_added") == 1  # a renewal is not an addition


def test_at_the_deadline_the_process_removes_it_to_the_millisecond(net: Segment) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        deadline = monotonic() + 1.4
        await address.hold(deadline)
        assert net.a.has(V4)
        await asyncio.sleep(0.8)
        await address.hold(deadline)  # less than a second is left: no lifetime fits, but it stays until then
        assert net.a.has(V4)
        await until(lambda: not address.held)
        assert deadline - 0.05 <= monotonic() < deadline + 0.1
        assert not net.a.has(V4)
        assert not net.a.has(V6)
        await address.close()

    on(net.a, work())


def test_a_deadline_that_has_passed_adds_nothing_and_removes_what_is_there(net: Segment) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        await address.hold(monotonic() + 3)
        await address.hold(monotonic() - 0.01)
        assert not net.a.has(V4)
        await address.hold(monotonic() + 0.9)  # the kernel counts in whole seconds: too short to begin
        assert not net.a.has(V4)
        await address.hold(monotonic() + 3)
        assert net.a.has(V4)
        await address.close()
        assert not net.a.has(V4)

    on(net.a, work())


def test_what_others_remove_comes_back_at_once(net: Segment, seen: Seen) -> None:
    """Trap 19: the network manager of the host removes what it does not know."""

    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        await address.hold(monotonic() + patient(20))
        for gone in (f"{V4}/24", f"{V6}/64"):
            net.a.ip("addr", "del", gone, "dev", "eth0")
            assert await until(lambda gone=gone: net.a.has(gone.split("/")[0])) < 0.5  # type: ignore[misc]
        await address.close()

    on(net.a, work())
    assert {"address_was_taken_away"} <= set(seen.names)
    assert seen.names.count("address_added") == 3  # announced again each time


def test_a_lifetime_that_others_made_endless_is_bound_again(net: Segment) -> None:
    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        await address.hold(monotonic() + patient(10))
        net.a.ip("addr", "change", f"{V4}/24", "dev", "eth0", "valid_lft", "forever", "preferred_lft", "forever")
        await until(lambda: "valid_lft forever" not in net.a.ip("addr", "show", "to", V4))
        await address.close()

    on(net.a, work())


def test_quick_loss_and_win_leave_what_was_asked_last(net: Segment) -> None:
    """Trap 16."""

    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        for _ in range(30):
            first = asyncio.create_task(address.hold(monotonic() + 3))
            await asyncio.sleep(0)
            await address.drop()
            await first
        assert not net.a.has(V4)
        for _ in range(30):
            first = asyncio.create_task(address.drop())
            await asyncio.sleep(0)
            await address.hold(monotonic() + 3)
            await first
        assert net.a.has(V4)
        assert net.a.has(V6)
        await address.close()

    on(net.a, work())


def test_addresses_are_compared_as_numbers(net: Segment) -> None:
    """Trap 20: 1.1.1.1/24 is no part of 11.1.1.1/24."""

    async def work() -> None:
        address = NetlinkAddress(["1.1.1.1/24", "fd00:9::10/64"], "eth0")
        await address.start()
        await address.hold(monotonic() + 3)
        assert net.a.has("1.1.1.1")
        assert address.held == ("1.1.1.1", "fd00:9::10")
        await address.close()
        assert not net.a.has("1.1.1.1")
        assert net.a.has("11.1.1.1")
        assert net.a.has("fd00:9::100")

    net.a.ip("addr", "add", "11.1.1.1/24", "dev", "eth0")
    net.a.ip("addr", "add", "fd00:9::100/64", "dev", "eth0", "nodad")
    on(net.a, work())


def test_what_an_earlier_life_left_is_swept_with_any_prefix(net: Segment) -> None:
    async def work() -> None:
        old = NetlinkAddress([f"{V4}/32", f"{V6}/128"], "eth0")
        await old.start()
        await old.hold(monotonic() + patient(30))
        assert f"{V4}/32" in net.a.ip("addr")
        new = NetlinkAddress(BOTH, "eth0")  # as after a change of the configuration and kill -9
        old._thread.holder.until, old._thread.holder._look = monotonic() + 9, monotonic() + 9  # type: ignore[union-attr]
        old._thread.stop()  # type: ignore[union-attr]
        await asyncio.sleep(0.05)
        assert net.a.has(V4)
        await new.start()
        assert not net.a.has(V4)
        assert not net.a.has(V6)
        await new.hold(monotonic() + 3)
        assert f"{V4}/24" in net.a.ip("addr")
        assert f"{V6}/64" in net.a.ip("addr")
        await new.close()

    on(net.a, work())


def test_an_address_of_the_host_itself_is_refused_and_never_swept(net: Segment) -> None:
    async def work() -> None:
        for mine in (f"{net.a.own4}/24", f"{net.a.own6}/64"):
            with pytest.raises(Unusable, match=r"belongs to this host itself.*expected an address that no host"):
                await NetlinkAddress([mine], "eth0").start()
            assert sweep([mine], "eth0") == []
        assert net.a.has(net.a.own4)
        assert net.a.has(net.a.own6)

    on(net.a, work())


def test_an_address_somebody_gives_the_host_while_it_does_not_lead_is_left_alone(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        net.a.ip("addr", "add", f"{V4}/24", "dev", "eth0")
        await until(lambda: "address_not_ours" in seen.names)
        await address.close()
        assert net.a.has(V4)

    on(net.a, work())


def test_an_address_that_duplicate_detection_refused_is_made_usable(net: Segment, seen: Seen) -> None:
    """Trap 18. The other host's address stands for one that its node has not yet given up."""

    async def work() -> None:
        address = NetlinkAddress([f"{V6}/64"], "eth0")
        await address.start()
        net.a.ip("addr", "add", f"{V6}/64", "dev", "eth0")  # with duplicate detection
        await until(lambda: "dadfailed" in net.a.ip("addr", "show", "to", V6), 4)
        await address.hold(monotonic() + 3)
        shown = net.a.ip("addr", "show", "to", V6)
        assert "dadfailed" not in shown
        assert "nodad" in shown
        await address.close()

    net.b.ip("addr", "add", f"{V6}/64", "dev", "eth0", "nodad")
    on(net.a, work())
    assert seen.fields("address_unusable")[0]["state"] == "dadfailed"


def test_an_interface_that_goes_down_and_comes_back(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        await address.start()
        await address.hold(monotonic() + patient(20))
        net.a.ip("link", "set", "eth0", "down")  # takes the IPv6 address with it
        await until(lambda: "interface_down" in seen.names)
        await address.hold(monotonic() + patient(20))  # neither fails nor blocks
        net.a.ip("link", "set", "eth0", "up")
        for one in (V4, V6):
            net.a.serve(one)
            assert net.until_at(net.a, one, 2) is not None
        assert seen.fields("interface_down")[0] == {"interface": "eth0", "holding": True}
        await address.close()

    on(net.a, work())


def test_an_interface_that_is_replaced(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        await address.hold(monotonic() + patient(20))
        net.a.ip("link", "del", "eth0")
        await until(lambda: "interface_missing" in seen.names)
        assert address.held == ()
        await address.hold(monotonic() + patient(20))  # neither fails nor blocks
        plug(net.switch, net.a)
        await until(lambda: net.a.has(V4))
        net.b.serve(V4)
        net.a.serve(V4)
        assert net.until_at(net.a, V4, 2) is not None
        await address.close()

    try:
        on(net.a, work())
    finally:
        if "eth0" not in net.a.ip("link"):
            plug(net.switch, net.a)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("10.9.0.300/24", "cannot be read.*expected the address of a host"),
        ("10.9.0.1/33", "cannot be read"),
        ("10.9.0.0/24", "network's own"),
        ("10.9.0.255/24", "broadcast"),
        ("224.0.0.1", "one host among others"),
        ("127.0.0.1", "one host among others"),
        ("fe80::1%eth0/64", "names an interface"),
        ("", "cannot be read"),
    ],
)
def test_addresses_that_no_host_can_have(wrong: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        NetlinkAddress([wrong], "eth0")


def test_the_same_address_twice() -> None:
    with pytest.raises(Unusable, match=r"10\.9\.0\.100 is given twice"):
        NetlinkAddress(["10.9.0.100/24", "10.9.0.100/32"], "eth0")


def test_an_interface_that_cannot_hold_it(net: Segment) -> None:
    async def work() -> None:
        with pytest.raises(Unusable, match="no such interface; expected one of lo, eth0"):
            await NetlinkAddress(BOTH, "eth7").start()
        net.a.ip("link", "set", "eth0", "down")
        with pytest.raises(Unusable, match="eth0 is switched off; expected it to be up"):
            await NetlinkAddress(BOTH, "eth0").start()
        assert sweep(BOTH, "eth7") == []

    on(net.a, work())


def test_what_is_not_started_does_not_pretend(net: Segment) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0")
        with pytest.raises(Unusable, match="not started"):
            await address.hold(time.monotonic() + 3)
        await address.drop()
        await address.close()

    on(net.a, work())


def test_a_kernel_that_stands_still_does_not_hold_up_the_renewals(
    net: Segment, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 11. The addition takes 2 s; meanwhile the event loop turns, the call returns, and the deadline passes."""
    put = Kernel.put

    def slow_put(self: Kernel, vip: Vip, index: int, seconds: int) -> None:
        time.sleep(2)
        put(self, vip, index, seconds)

    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        monkeypatch.setattr(Kernel, "put", slow_put)
        begun, longest = monotonic(), 0.0
        holding = asyncio.create_task(address.hold(begun + 1.5))
        while not holding.done():
            turned = monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, monotonic() - turned)
        assert 0.9 < monotonic() - begun < allowed(1.4, begun)
        assert longest < allowed(0.3, begun)
        await until(lambda: "address_too_late" in seen.names)
        await until(lambda: "address_removed" in seen.names)
        assert not net.a.has(V4)
        monkeypatch.setattr(Kernel, "put", put)
        await address.hold(monotonic() + 3)
        assert net.a.has(V4)
        await address.close()

    on(net.a, work())
    assert "address_slow" in seen.names


def test_one_address_that_cannot_be_added_does_not_keep_the_others_away(net: Segment, seen: Seen) -> None:
    async def work() -> None:
        address = NetlinkAddress([f"{V6}/64", f"{V4}/24"], "eth0")
        await address.start()
        net.a.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
        try:
            await address.hold(monotonic() + patient(10))
            assert address.held == (V4,)
        finally:
            net.a.sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")
        await until(lambda: seen.names.count("address_added") == 2)  # it was tried again and again
        assert net.a.has(V6)
        await address.close()

    on(net.a, work())
    assert "address_failed" in seen.names


def test_a_thread_that_failed_is_noticed_and_the_address_is_given_up(
    net: Segment, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Holder) -> None:
        raise RuntimeError("a defect of ours")

    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        await address.hold(monotonic() + patient(20))
        monkeypatch.setattr(Holder, "turn", broken)
        monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
        address._thread.ask(lambda: None)  # type: ignore[union-attr]  # one more turn
        await until(lambda: "address_thread_failed" in seen.names)
        await until(lambda: not net.a.has(V4))
        with pytest.raises(Unusable, match="not watched"):
            await address.hold(monotonic() + patient(20))
        await address.close()

    on(net.a, work())


def test_an_address_whose_thread_fails_in_the_middle_of_it_is_closed_all_the_same(
    net: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        address = NetlinkAddress([f"{V4}/24"], "eth0")
        await address.start()
        await address.hold(monotonic() + patient(20))
        thread = address._thread
        assert thread is not None
        ending, release = threading.Event(), threading.Event()

        def slowly(self: Holder) -> None:
            ending.set()
            release.wait(patient(10))
            raise RuntimeError("a defect of ours")

        monkeypatch.setattr(Holder, "turn", slowly)
        monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
        thread.ask(lambda: None)
        await asyncio.to_thread(ending.wait, 10)
        closing = asyncio.create_task(address.close())  # it lives, and will not come to do this
        await until(lambda: thread._asked)
        release.set()
        await closing
        await until(lambda: not net.a.has(V4))

    on(net.a, work())
