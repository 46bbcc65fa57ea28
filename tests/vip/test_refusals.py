"""Who calls an address whose listener has died is not refused: the caller's kernel asks again, and reaches the next.

The listener is a socket on host a, which dies while the address is still there; host b takes the address.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.vip import refusals
from luigi_ha.ha.vip.configured import configured
from luigi_ha.ha.vip.netlink import NetlinkAddress
from luigi_ha.ha.vip.refusals import Refusals, RefusalsError
from tests.support.patience import allowed, patient
from tests.vip.conftest import Seen
from tests.vip.segment import Host, Segment
from tests.vip.test_address import BOTH, V4, V6, on
from tests.vip.test_process import nobody, node

PORT = 8082
EITHER = pytest.mark.parametrize("address", [V4, V6])


@pytest.fixture
def rules(net: Segment) -> Iterator[Refusals]:
    """A rule for both addresses, wherever it is put in place; gone afterwards."""
    made = Refusals(configured(BOTH), "lhv", PORT)
    yield made
    with net.a.inside():
        made.allow()
    for host in (net.a, net.b):
        nft(host, "flush", "ruleset")


def nft(host: Host, *command: str) -> str:
    with host.inside():
        done = subprocess.run(
            ["/usr/sbin/nft", *command], check=True, capture_output=True, text=True, timeout=patient(10)
        )
    return done.stdout


def dropped(host: Host, table: str) -> list[int]:
    """Packets dropped so far, by each rule."""
    words = nft(host, "list", "table", "inet", table).split()
    return [int(words[at + 1]) for at, word in enumerate(words) if word == "packets"]


def put(host: Host, address: str) -> None:
    length, *options = ("24",) if "." in address else ("64", "nodad")
    host.ip("addr", "add", f"{address}/{length}", "dev", "eth0", *options)


@contextlib.contextmanager
def listening(host: Host, address: str) -> Iterator[socket.socket]:
    """Whether the host has the address or not, as a node that listens on all."""
    six = ":" in address
    with host.inside():
        server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    with server:
        server.setsockopt(*((socket.IPPROTO_IPV6, 78) if six else (socket.IPPROTO_IP, 15)), 1)  # *_FREEBIND
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, PORT))
        server.listen()
        yield server


def call(host: Host, address: str, patience: float, port: int = PORT) -> socket.socket:
    """A connection from this host; the waiting is done outside of its namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.inside():
        calling = socket.socket(family, socket.SOCK_STREAM)
    calling.settimeout(patience)
    try:
        calling.connect((address, port))
    except OSError:
        calling.close()
        raise
    return calling


def listener_dies(host: Host, address: str) -> None:
    put(host, address)
    with listening(host, address):
        pass


@EITHER
def test_without_the_rule_the_caller_is_refused(net: Segment, address: str) -> None:
    listener_dies(net.a, address)
    started = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        call(net.c, address, 3)
    assert time.monotonic() - started < allowed(0.5, started)


@EITHER
def test_with_it_the_caller_reaches_who_has_the_address_next(net: Segment, rules: Refusals, address: str) -> None:
    with net.a.inside():
        assert rules.suppress()
    listener_dies(net.a, address)

    async def take() -> None:
        taking = NetlinkAddress(BOTH, "eth0")  # it announces
        await taking.start()
        net.a.ip("addr", "del", f"{address}/{24 if '.' in address else 64}", "dev", "eth0")
        await taking.hold(monotonic() + patient(20))
        call(net.c, address, 3).close()  # who calls now is answered at once
        await asyncio.wrap_future(waiting)
        await taking.close()

    def wait() -> float:
        started = time.monotonic()
        call(net.c, address, 5).close()
        return time.monotonic() - started

    with listening(net.b, address), ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(wait)
        until = time.monotonic() + patient(5)
        while sum(dropped(net.a, rules.table)) == 0:
            assert time.monotonic() < until, "nothing was dropped"
            time.sleep(0.05)
        on(net.b, take())
    assert 0.9 < waiting.result() < 2.5  # its kernel repeats the SYN after 1 s


@EITHER
def test_a_connection_that_the_new_holder_does_not_know_is_reset_at_once(
    net: Segment, rules: Refusals, address: str
) -> None:
    with net.b.inside():
        assert rules.suppress()
    put(net.a, address)
    with listening(net.a, address), call(net.c, address, 3) as connection:
        net.a.ip("addr", "del", f"{address}/{24 if '.' in address else 64}", "dev", "eth0")
        put(net.b, address)
        net.c.ip("neigh", "flush", "dev", "eth0")
        started = time.monotonic()
        connection.send(b"are you still there?")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert time.monotonic() - started < allowed(1.0, started)
    assert sum(dropped(net.b, rules.table)) == 0


def test_other_addresses_and_ports_refuse_as_ever(net: Segment, rules: Refusals) -> None:
    with net.a.inside():
        assert rules.suppress()
    for address in (net.a.own4, net.a.own6):
        with pytest.raises(ConnectionRefusedError):
            call(net.c, address, 2)
    put(net.a, V4)
    with pytest.raises(ConnectionRefusedError):
        call(net.c, V4, 2, PORT + 1)


def test_put_in_place_again_it_is_replaced(net: Segment, rules: Refusals) -> None:
    with net.a.inside():
        assert rules.suppress()  # it is the one that wants it
        assert Refusals(configured(["10.9.0.200/24"]), "lhv", PORT).suppress()
        assert "10.9.0.200" in nft(net.a, "list", "ruleset")
        assert rules.suppress()
    shown = nft(net.a, "list", "ruleset")
    assert shown.count("table inet") == 1
    assert "10.9.0.200" not in shown
    assert shown.count("counter") == len(BOTH)


def test_taken_away_again_and_again(net: Segment, rules: Refusals) -> None:
    with net.a.inside():
        rules.allow()
        assert rules.suppress()
        rules.allow()
        rules.allow()
    assert nft(net.a, "list", "ruleset") == ""


def test_it_stays_while_a_process_wants_it(net: Segment, rules: Refusals) -> None:
    """The stop hook on a live node: it takes the address and the lease, but the node lives on, and may lead again."""
    hook = Refusals(configured(BOTH), "lhv", PORT)
    with net.a.inside():
        assert rules.suppress()
        hook.allow()
        assert rules.table in nft(net.a, "list", "ruleset")
        rules.allow()
        hook.allow()
    assert nft(net.a, "list", "ruleset") == ""


@pytest.mark.parametrize("cluster", ["default", "prod-1", "a b", "ä", "x" * 300, "}; flush ruleset; #", "a_b", "a.b"])
def test_any_name_of_a_cluster_is_a_table(net: Segment, cluster: str) -> None:
    rule = Refusals(configured([V4]), cluster, PORT)
    with net.a.inside():
        assert rule.suppress()
        assert nft(net.a, "list", "ruleset").count(f"table inet {rule.table} ") == 1
        rule.allow()
    assert nft(net.a, "list", "ruleset") == ""


def test_different_clusters_have_different_tables() -> None:
    names = [Refusals((), cluster, PORT).table for cluster in ("a_b", "a.b", "a b", "x" * 300, "x" * 301)]
    assert len(set(names)) == len(names)


def test_the_address_has_it_from_its_start_until_its_close(net: Segment, rules: Refusals) -> None:
    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0", refusals=rules)
        await address.start()
        assert rules.table in nft(net.a, "list", "ruleset")
        assert not net.a.has(V4)
        await address.hold(monotonic() + patient(10))
        await address.drop()
        assert rules.table in nft(net.a, "list", "ruleset")
        await address.close()
        assert nft(net.a, "list", "ruleset") == ""

    on(net.a, work())


def test_it_outlives_kill_9(net: Segment, rules: Refusals) -> None:
    with node(net.a, "env", f"REFUSALS={PORT}") as holder:
        assert holder.do("start") is None
        assert holder.do("hold 20") is None
        holder.signal(signal.SIGKILL)
        holder.process.wait(patient(5))
        assert net.a.has(V4)
        with pytest.raises(TimeoutError):
            call(net.c, V4, 0.3)
        assert sum(dropped(net.a, rules.table)) == 1
        with net.a.inside():
            rules.allow()  # the dead process does not want it any more
    with pytest.raises(ConnectionRefusedError):
        call(net.c, V4, 2)


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "nft"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "is not installed"),
        ("echo 'Error: Operation not permitted' >&2; exit 1", "Operation not permitted"),
        ("exit 3", "exit code 3"),
        ("exec sleep 20", "has not ended within 1 s"),
    ],
)
def test_without_nft_everything_else_works_and_one_event_says_so(
    net: Segment, seen: Seen, tmp_path: Path, text: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LIMIT", 1.0)  # as it is, however busy the machine
    program = "nft-that-nobody-has" if text is None else script(tmp_path, text)
    rule = Refusals(configured(BOTH), "lhv", PORT, program)

    async def work() -> None:
        address = NetlinkAddress(BOTH, "eth0", refusals=rule)
        started = monotonic()
        await address.start()
        assert monotonic() - started < allowed(1.9, started)
        await address.hold(monotonic() + patient(10))
        assert net.a.has(V4)
        await address.close()
        assert not net.a.has(V4)

    on(net.a, work())
    (said,) = seen.fields("refusals_not_suppressed")
    assert reason in str(said["error"])
    assert "refusals_still_suppressed" not in seen.names


def test_a_rule_that_nft_will_not_take_away_is_told(net: Segment, tmp_path: Path) -> None:
    rule = Refusals(configured(BOTH), "lhv", PORT, script(tmp_path, "echo no >&2; exit 1"))
    with net.a.inside(), pytest.raises(RefusalsError, match=r"no$"):
        rule.allow()


def test_the_capabilities_of_a_service_are_enough(net: Segment, rules: Refusals) -> None:
    """As systemd starts it: AmbientCapabilities are handed on to nft."""
    given = "+net_admin,+net_raw"
    with node(net.a, "env", f"REFUSALS={PORT}", *nobody(), f"--inh-caps={given}", f"--ambient-caps={given}") as holder:
        assert holder.do("start") is None
        assert rules.table in nft(net.a, "list", "ruleset")
