"""Shared memory, messages, and the scheduler's side of them, over a real socket pair and a real page."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.keeper import messages as m
from luigi_ha.ha.keeper.cells import Cells
from luigi_ha.ha.keeper.channel import Channel
from luigi_ha.ha.keeper.link import VARIABLE, Link
from tests.support.patience import allowed


@dataclass
class Told:
    """Orders that write down what they are told."""

    orders: list[object] = field(default_factory=list)

    def lead(self, order: m.Lead) -> None:
        self.orders.append(order)

    def follow(self, order: m.Follow) -> None:
        self.orders.append(order)

    def members(self, members: Any) -> None:
        pass

    def hand_over(self, successor: str) -> None:
        self.orders.append(("hand_over", successor))

    def kept(self, reason: str) -> None:
        self.orders.append(("kept", reason))

    def over(self, reason: str) -> None:
        self.orders.append(("over", reason))

    def stop(self) -> None:
        self.orders.append("stop")

    def lost(self) -> None:
        self.orders.append("lost")


@dataclass
class Ends:
    """A keeper's end (`sock`, `cells`) and the scheduler's link, with a clock that the test sets."""

    sock: socket.socket
    cells: Cells
    link: Link
    now: list[float]

    def said(self) -> list[m.Message]:
        found = []
        self.sock.setblocking(False)
        try:
            while packet := self.sock.recv(65536):
                found.append(m.decode(packet))
        except BlockingIOError:
            pass
        return found


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cells = Cells.create()
    seen = Cells(cells.fd)
    now = [1000.0]
    link = Link(Channel(theirs), seen, clock=lambda: now[0])
    yield Ends(ours, cells, link, now)
    link.close()
    ours.close()
    seen.close()
    cells.close()
    os.close(cells.fd)


def test_not_leader_is_the_default(ends: Ends) -> None:
    """A leader that believed itself leader for 19 days (oban#1488): nothing is valid until a keeper says so."""
    assert not ends.link.valid(0)
    assert ends.link.leads is None
    assert ends.link.remaining() == 0


def test_valid_ends_at_the_deadline_without_anybody_saying_so(ends: Ends) -> None:
    ends.cells.lead(7, 1002.5)
    assert ends.link.valid(7)
    assert ends.link.remaining() == 2.5
    assert ends.link.leads == 7
    ends.now[0] = 1002.5
    assert not ends.link.valid(7)
    assert ends.link.leads is None
    assert ends.link.remaining() == 0


def test_an_earlier_epoch_is_not_valid_under_a_later_lease(ends: Ends) -> None:
    """A scheduler that lost the lease and won it again: work begun under the first epoch must not pass."""
    ends.cells.lead(7, 1002.5)
    ends.cells.end()
    assert not ends.link.valid(7)
    ends.cells.lead(9, 1002.5)
    assert not ends.link.valid(7)
    assert ends.link.valid(9)


def test_no_reader_ever_pairs_a_deadline_with_an_epoch_it_was_not_given_for() -> None:
    """One process wins epoch after epoch, each with the deadline of the same number, while another reads."""
    cells = Cells.create()
    pid = os.fork()
    if pid == 0:
        try:
            until = time.monotonic() + 1.0
            epoch = 2
            while time.monotonic() < until:
                cells.lead(epoch, float(epoch))
                cells.end()
                epoch += 1
        finally:
            os._exit(0)
    wrong, read = 0, 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        deadline, epoch = cells.read()
        read += 1
        wrong += deadline > epoch  # the other way round, a newer epoch, is no danger: it is not the reader's
    cells.close()
    os.close(cells.fd)
    assert read > 1000
    assert wrong == 0


def test_the_check_at_the_point_of_effect_is_cheap(ends: Ends) -> None:
    """Measured 0.4 us; the bound is for machines that are busy with something else."""
    link = Link(Channel(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)), ends.cells)
    ends.cells.lead(7, monotonic() + 60)
    best = min(_timed(lambda: link.valid(7)) for _ in range(5))
    link.close()
    assert best < 20e-6


def _timed(call: object, times: int = 2000) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()  # type: ignore[operator]
    return (time.perf_counter() - started) / times


EVERY = [
    m.Lead(3, "switchover", "n2"),
    m.Lead(1, "first start"),
    m.Follow(m.Peer("n2", "http://n2:8082", 4), True),
    m.Follow(),
    m.HandOver("n2"),
    m.Kept("no answer"),
    m.Over("the lease ended"),
    m.Members({"n1": {"able": "yes"}}),
    m.Stop(),
    m.Able(12, True),
    m.Unable("schema too old"),
    m.Leading(3),
    m.Handed(),
    m.Quiet(),
    m.GiveUp("fenced"),
]


def test_every_message_survives_the_way() -> None:
    assert {type(message) for message in EVERY} == set(get_args(m.Message))
    for message in EVERY:
        assert m.decode(m.encode(message)) == message


@given(st.binary(max_size=60) | st.from_regex(r'\{"do": "(lead|able|follow)".{0,30}\}', fullmatch=True).map(str.encode))
def test_nonsense_is_malformed_and_nothing_else(packet: bytes) -> None:
    with contextlib.suppress(m.Malformed):
        m.decode(packet)


@pytest.mark.parametrize(
    "packet",
    [
        b'{"do": "lead", "epoch": "3", "cause": "x"}',
        b'{"do": "lead", "epoch": 3}',
        b'{"do": "follow", "leader": {"name": "n1"}}',
        b'{"do": "fly"}',
        b"[]",
        b"null",
        b"",
    ],
)
def test_a_message_with_a_missing_or_wrong_field_is_malformed(packet: bytes) -> None:
    with pytest.raises(m.Malformed):
        m.decode(packet)


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert m.decode(b'{"do": "stop", "why": "upgrade"}') == m.Stop()


def test_a_very_long_reason_is_cut() -> None:
    assert len(m.encode(m.GiveUp("x" * 100_000))) < 1000


async def _turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0.005)


def test_orders_arrive_in_order_and_the_end_of_the_keeper_last(ends: Ends) -> None:
    async def body() -> None:
        told = Told()
        for message in EVERY[:9]:
            ends.sock.send(m.encode(message))
        ends.sock.send(b"nonsense")
        ends.link.start(told)
        ends.sock.close()
        await _turn()
        assert told.orders == [
            EVERY[0],
            EVERY[1],
            EVERY[2],
            EVERY[3],
            ("hand_over", "n2"),
            ("kept", "no answer"),
            ("over", "the lease ended"),
            "stop",
            "lost",
        ]
        ends.link.handed()  # to nobody: no error

    asyncio.run(body())


def test_what_the_scheduler_says_arrives(ends: Ends) -> None:
    async def body() -> None:
        ends.link.start(Told())
        ends.link.leading(3)
        ends.link.handed()
        ends.link.quiet()
        ends.link.give_up("fenced")
        assert ends.said() == [m.Leading(3), m.Handed(), m.Quiet(), m.GiveUp("fenced")]

    asyncio.run(body())


def test_able_is_told_at_most_twice_a_second_and_the_last_one_always(ends: Ends) -> None:
    async def body() -> None:
        ends.link.start(Told())
        for above in range(5):
            ends.link.able(above)
        assert ends.said() == [m.Able(0)]
        await asyncio.sleep(0.6)
        assert ends.said() == [m.Able(4)]
        ends.link.able(4)
        assert ends.said() == []

    asyncio.run(body())


def test_unable_is_told_at_once_and_no_earlier_able_follows_it(ends: Ends) -> None:
    async def body() -> None:
        ends.link.start(Told())
        ends.link.able(1)
        ends.link.able(2)
        ends.link.unable("database away")
        await asyncio.sleep(0.6)
        assert ends.said() == [m.Able(1), m.Unable("database away")]
        ends.link.able(2)
        assert ends.said() == [m.Able(2)]

    asyncio.run(body())


def test_a_keeper_that_does_not_read_neither_blocks_nor_loses_an_answer(ends: Ends) -> None:
    """A frozen keeper: the scheduler goes on to its deadline; when the keeper wakes it finds everything, in order."""

    async def body() -> None:
        ends.link.start(Told())
        started = time.monotonic()
        for epoch in range(900):
            ends.link.leading(epoch)
        ends.link.handed()
        assert time.monotonic() - started < allowed(1, started)
        found: list[m.Message] = []
        for _ in range(200):
            found += ends.said()
            await asyncio.sleep(0.001)
            if len(found) == 901:
                break
        assert found == [*(m.Leading(epoch) for epoch in range(900)), m.Handed()]

    asyncio.run(body())


def test_the_loop_beats_while_it_turns_and_not_while_it_is_blocked(ends: Ends) -> None:
    async def body() -> None:
        ends.link.start(Told())
        ends.now[0] = 1001.0
        await asyncio.sleep(0.25)
        assert ends.cells.loop_beat == 1001.0
        ends.now[0] = 1002.0
        time.sleep(0.3)  # noqa: ASYNC251 - a loop that is stuck
        assert ends.cells.loop_beat == 1001.0
        assert ends.cells.journal_beat == 1000.0  # the start counts as one
        ends.link.journal_beat(1001.5)
        assert ends.cells.journal_beat == 1001.5

    asyncio.run(body())


def test_the_link_comes_from_the_environment_once_and_its_descriptors_are_not_passed_on() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cells = Cells.create()
    fds = (os.dup(theirs.fileno()), os.dup(cells.fd))
    for fd in fds:
        os.set_inheritable(fd, True)
    environ = {VARIABLE: f"{fds[0]},{fds[1]}", "OTHER": "1"}
    link = Link.from_environment(environ)
    assert link is not None
    assert environ == {"OTHER": "1"}
    assert Link.from_environment(environ) is None
    assert not any(os.get_inheritable(fd) for fd in fds)
    cells.lead(5, monotonic() + 60)
    assert link.valid(5)
    link.close()
    ours.close()
    theirs.close()
    os.close(fds[1])


@pytest.mark.parametrize("value", ["1", "a,b", "1,2,3", "987654,987655", "-1,-1"])
def test_descriptors_that_nobody_passed_on_are_refused(value: str) -> None:
    with pytest.raises(Unusable, match="expected two descriptors"):
        Link.from_environment({VARIABLE: value})
