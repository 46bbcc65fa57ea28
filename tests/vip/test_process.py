"""The address and the life of the process that holds it: killed, frozen, frozen at the worst moment, without root."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_ha.ha.vip.sweep import sweep
from tests.support.patience import allowed, patient
from tests.vip.segment import Host, Segment
from tests.vip.test_address import BOTH, LATE, V4, V6

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable.removeprefix(f"{ROOT}/")  # from where it is started
NOBODY = 65534
# This repository, where it may be read by all: a clone in /root may not.
OPEN = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && cd "$1" && shift && exec "$@"', str(ROOT), "/mnt")


class Node:
    """tests.vip.host on a host."""

    def __init__(self, host: Host, *prefix: str) -> None:
        command = [*prefix, PYTHON, "-m", "tests.vip.host", "eth0", *BOTH]
        with host.inside():
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")

    def answer(self) -> object:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def do(self, command: str) -> object:
        self.tell(command)
        return self.answer()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def await_stopped(self) -> None:
        pid, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert pid == self.process.pid
        assert os.WIFSTOPPED(status)


def nobody() -> tuple[str, ...]:
    """The prefix of a command that is run without root's rights."""
    user = (*OPEN, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    command = [*user, PYTHON, "-c", "import tests.vip.host"]
    tried = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=patient(20))
    if tried.returncode:
        pytest.skip(f"only root may run this Python here: {tried.stderr.strip()}")
    return user


@contextlib.contextmanager
def node(host: Host, *prefix: str) -> Iterator[Node]:
    made = Node(host, *prefix)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate(timeout=patient(10))


def gone_after(host: Host, since: float, patience: float = 6) -> float:
    """Seconds from `since` until neither address is there."""
    while host.has(V4) or host.has(V6):
        assert time.monotonic() - since < allowed(patience, since), "it stays"
        time.sleep(0.01)
    return time.monotonic() - since


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_kernel_ends_it_when_the_process_cannot(net: Segment, how: signal.Signals) -> None:
    with node(net.a) as holder:
        assert holder.do("start") is None
        assert holder.do("hold 2.9") is None
        held = time.monotonic()
        assert net.a.has(V4)
        assert net.a.has(V6)
        holder.signal(how)
        assert 1.8 < gone_after(net.a, held) < allowed(2.9 + LATE, held)


def test_without_the_lifetime_it_would_stay(net: Segment) -> None:
    """The check above can fail: an address without a lifetime outlives its process."""
    net.a.ip("addr", "add", f"{V4}/24", "dev", "eth0")
    with pytest.raises(AssertionError, match="it stays"):
        gone_after(net.a, time.monotonic(), 2.9 + LATE)


def test_what_kill_9_left_is_removed_by_the_stop_hook_at_once(net: Segment) -> None:
    with node(net.a) as holder:
        holder.do("start")
        holder.do("hold 60")
        holder.signal(signal.SIGKILL)
        holder.process.wait(patient(5))
        assert net.a.has(V4)
        with net.a.inside():
            assert sorted(sweep(BOTH, "eth0")) == sorted(BOTH)
            assert not net.a.has(V4)
            assert not net.a.has(V6)
            assert sweep(BOTH, "eth0") == []


def test_frozen_between_the_check_and_the_effect_it_removes_what_it_added_too_late(net: Segment) -> None:
    """Trap 23: the addition happens, three seconds after its deadline; the second look at the clock undoes it."""
    with node(net.a) as holder, changes(net.a) as added:
        holder.do("start")
        holder.do("freeze")
        holder.tell("hold 1.5")
        holder.await_stopped()
        assert not net.a.has(V4)
        time.sleep(3)
        assert added() == []
        woken = time.monotonic()
        holder.signal(signal.SIGCONT)
        assert holder.answer() is None
        assert gone_after(net.a, woken) < allowed(0.3, woken)
        assert [line for line in added() if V4 in line], "the late addition was not even tried: nothing is shown"
        events = holder.do("events")
        assert isinstance(events, list)
        assert "address_added" not in events  # and it was not announced
        assert "address_too_late" in events
        assert holder.do("held") == []


def test_frozen_for_longer_than_the_lease_it_wakes_without_the_address(net: Segment) -> None:
    with node(net.a) as holder:
        holder.do("start")
        holder.do("hold 1.5")
        holder.signal(signal.SIGSTOP)
        gone_after(net.a, time.monotonic())
        time.sleep(0.5)
        holder.signal(signal.SIGCONT)
        woken = time.monotonic()
        while holder.do("held") != []:
            assert time.monotonic() - woken < allowed(0.5, woken)
        assert not net.a.has(V4)
        assert holder.do("hold 3") is None
        assert net.a.has(V4)


def test_two_capabilities_are_enough(net: Segment) -> None:
    capabilities = "+net_admin,+net_raw"
    user = nobody()
    with node(net.a, *user, f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}") as holder:
        assert Path(f"/proc/{holder.process.pid}").stat().st_uid in (0, NOBODY)
        assert holder.do("start") is None
        assert Path(f"/proc/{holder.process.pid}").stat().st_uid == NOBODY
        holder.do("hold 3")
        assert net.a.has(V4)
        assert net.a.has(V6)
        holder.do("drop")
        assert not net.a.has(V4)


@pytest.mark.parametrize(("given", "missing"), [("+net_admin", "CAP_NET_RAW"), ("+net_raw", "CAP_NET_ADMIN")])
def test_a_missing_capability_is_named_at_the_start(net: Segment, given: str, missing: str) -> None:
    user = nobody()
    with node(net.a, *user, f"--inh-caps={given}", f"--ambient-caps={given}") as holder:
        answer = holder.do("start")
        assert str(answer).startswith("Unusable: eth0: no permission")
        assert f"expected the capability {missing} " in str(answer)


@contextlib.contextmanager
def changes(host: Host) -> "Iterator[Additions]":
    """Additions of addresses on the host, as the kernel tells them."""
    with host.inside():
        process = subprocess.Popen(
            ["ip", "-o", "monitor", "address"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    time.sleep(0.2)
    try:
        yield Additions(process)
    finally:
        process.kill()
        process.communicate(timeout=patient(10))


class Additions:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._lines: list[str] = []

    def __call__(self) -> list[str]:
        assert self._process.stdout is not None
        time.sleep(0.1)
        self._lines += (self._process.stdout.read() or b"").decode().splitlines()
        return [line for line in self._lines if not line.startswith("Deleted")]
