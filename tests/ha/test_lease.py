"""The rule of time, alone: no store, no loop, every moment an argument."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_ha.ha.errors import Fatal, Incoherent
from luigi_ha.ha.lease import Lease, Timing


def granted(sent: float = 100.0, ttl: float = 3.0, now: float = 100.0, margin: float = 0.5) -> Lease:
    lease = Lease(margin)
    lease.granted(sent, ttl, now)
    return lease


def test_not_leader_is_the_default() -> None:
    lease = Lease(0.5)
    assert not any(lease.valid(now) for now in (-math.inf, 0.0, 1e12))
    assert lease.remaining(0.0) == 0.0
    assert lease.deadline == -math.inf


def test_the_deadline_counts_from_the_sending_not_from_the_reply() -> None:
    lease = granted(sent=100.0, ttl=3.0, now=102.0)
    assert lease.deadline == 102.5
    assert lease.remaining(102.0) == 0.5
    assert lease.valid(102.4999)
    assert not lease.valid(102.5)


def test_a_renewal_counts_from_its_sending_too() -> None:
    lease = granted()
    assert lease.renewed(101.0, 3.0, 102.4)
    assert lease.deadline == 103.5


def test_a_grant_answered_after_its_time_is_no_leadership() -> None:
    """etcd#11051: won the election with a lease that had expired."""
    lease = Lease(0.5)
    assert not lease.granted(100.0, 3.0, 102.5)
    assert not lease.valid(102.5)


def test_a_late_renewal_never_brings_a_lease_back() -> None:
    lease = granted()
    assert not lease.renewed(102.0, 3.0, 102.5)
    assert not lease.valid(102.5)
    assert not lease.renewed(102.6, 3.0, 102.7)


def test_replies_out_of_order_never_shorten_or_extend() -> None:
    lease = granted()
    lease.renewed(101.5, 3.0, 101.6)
    lease.renewed(100.5, 3.0, 101.7)  # sent earlier, answered later
    assert lease.deadline == 104.0


def test_the_granted_ttl_counts_not_the_requested_one() -> None:
    """etcd raises a ttl below its floor, and the reply says so."""
    assert granted(ttl=8.0).deadline == 107.5


def test_a_ttl_that_shrank_counts_for_the_requests_before_it_too() -> None:
    lease = granted(ttl=10.0)
    lease.renewed(101.0, 2.0, 101.1)
    assert lease.deadline == 102.5
    lease.renewed(101.2, 10.0, 101.3)  # executed before or after the other: not known
    assert lease.deadline == pytest.approx(102.7)


@pytest.mark.parametrize("ttl", [0.0, -1.0, math.nan, math.inf])
def test_a_ttl_that_makes_no_sense_grants_nothing(ttl: float) -> None:
    lease = Lease(0.5)
    assert not lease.granted(100.0, ttl, 100.0)
    assert not lease.valid(100.0)
    held = granted()
    assert not held.renewed(101.0, ttl, 101.0)
    assert held.deadline == 102.5


def test_a_request_from_the_future_is_refused() -> None:
    lease = Lease(0.5)
    assert not lease.granted(101.0, 3.0, 100.0)


def test_an_ended_lease_stays_ended() -> None:
    lease = granted()
    lease.end()
    assert not lease.valid(100.1)
    assert not lease.renewed(100.2, 3.0, 100.3)
    unused = Lease(0.5)
    unused.end()
    assert not unused.granted(100.0, 3.0, 100.0)


def test_each_grant_has_a_lease_of_its_own() -> None:
    with pytest.raises(ValueError, match="granted twice"):
        granted().granted(101.0, 3.0, 101.0)


# One tick is the unit; the store expires a lease exactly `ttl` ticks after the last request it executed.
TTL, MARGIN, END = 6, 1, 14


def _store_ends(arrivals: list[int]) -> float:
    """When the store ends the lease: each request that arrives in time prolongs it; the first one granted it."""
    ends = math.inf
    for number, arrival in enumerate(sorted(arrivals)):
        if number and arrival >= ends:
            break
        ends = arrival + TTL
    return ends


def test_valid_here_implies_live_in_the_store_whatever_the_network_does() -> None:
    """Exhaustive: a grant and three renewals, each request and reply delayed by 0, 2 or 5 ticks, or lost."""
    delays = [(there, back) for there in (0, 2, 5) for back in (0, 2, 5)] + [(1, None), (None, None)]
    checked = led = 0
    for case in itertools.product(delays, repeat=4):
        lease = Lease(MARGIN)
        arrivals: list[int] = []
        replies: list[tuple[int, int]] = []
        for number, (there, back) in enumerate(case):
            sent = number * 2
            if there is not None:
                arrivals.append(sent + there)
                if back is not None:
                    replies.append((sent + there + back, sent))
        if case[0][0] is None:
            continue
        grant_arrives = case[0][0]
        for tick in range(END):
            for at, sent in replies:
                if at == tick:
                    if sent == 0:
                        lease.granted(sent, TTL, tick)
                    else:
                        lease.renewed(sent, TTL, tick)
            # The store as of now; a renewal that arrives before the grant finds no lease.
            so_far = [at for at in arrivals if grant_arrives <= at <= tick]
            if lease.valid(tick):
                led += 1
                assert tick < _store_ends(so_far), (case, tick)
        checked += 1
    assert checked == 10 * 11**3
    assert led > checked  # a rule that never lets anybody lead would pass otherwise


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=8))
def test_the_deadline_never_moves_back_and_never_exceeds_the_last_sending(calls: list[tuple[float, float]]) -> None:
    lease = granted(sent=0.0, now=0.0)
    now = latest = 0.0
    for sent_after, answered_after in calls:
        sent = now + sent_after
        before, now = lease.deadline, sent + answered_after
        if lease.renewed(sent, 3.0, now):
            latest = max(latest, sent)
            assert lease.deadline >= before
            assert lease.valid(now)
        assert lease.deadline <= latest + 2.5


def test_the_default_times_are_coherent() -> None:
    assert Timing() == Timing(3.0, 0.75, 1.5, 0.5, 0.001, 0.2)
    assert Timing(ttl=2.0, renew_every=0.5, request_timeout=0.9, margin=0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"ttl": 2.0},
            "renew_every + request_timeout < ttl - margin does not hold: 0.75 + 1.5 = 2.25, 2.0 - 0.5 = 1.5",
        ),
        ({"renew_every": 1.0}, "1.0 + 1.5 = 2.5, 3.0 - 0.5 = 2.5"),
        ({"margin": 0.2}, "0.001 * 3.0 + 0.2 = 0.203; two nodes could lead at once"),
        ({"clock_rate_error": 0.2}, "0.2 * 3.0 + 0.2 = 0.8"),
        ({"ttl": 0.0}, "ttl = 0.0 must be more than 0"),
        ({"margin": -1.0}, "margin = -1.0 must be more than 0"),
        ({"request_timeout": math.nan}, "request_timeout = nan must be"),
        ({"ttl": math.inf}, "ttl = inf must be"),
    ],
)
def test_incoherent_times_are_refused_with_the_relation_and_the_numbers(change: dict[str, float], said: str) -> None:
    with pytest.raises(Incoherent) as refused:
        Timing(**change)
    assert said in str(refused.value)
    assert isinstance(refused.value, Fatal)


def test_a_granted_ttl_is_checked_against_the_other_times() -> None:
    assert Timing().granted(8.0).ttl == 8.0
    with pytest.raises(Incoherent, match=r"0.001 \* 1000.0"):
        Timing().granted(1000.0)
    with pytest.raises(Incoherent, match="renew_every"):
        Timing().granted(2.0)
