"""Where the address was, from what was seen of it."""

import pytest

from luigi_ha.appliance.drill.whereabouts import gone, moved, none, two

BOTH = [
    (1.0, ["n1"]), (2.0, ["n1"]), (2.1, ["n1", "n2"]), (2.6, ["n1", "n2"]), (2.7, ["n2"]), (4.0, ["n2"]),
]  # fmt: skip


def test_an_address_on_two_hosts_is_seen_and_so_is_when_it_went() -> None:
    assert two(BOTH) == pytest.approx(0.5)
    assert gone(BOTH, "n1", since=1.5) == 2.7
    assert gone(BOTH[:4], "n1", since=1.5) is None


def test_a_single_look_at_two_may_have_fallen_between_a_loss_and_a_gain() -> None:
    assert two([(1.0, ["n1"]), (2.0, ["n1", "n2"]), (2.1, ["n2"])]) == 0.0


def test_the_time_without_any_counts_from_the_fault_on() -> None:
    looks = [(1.0, []), (1.5, []), (1.6, ["n1"]), (2.0, ["n1"]), (2.1, []), (3.4, []), (3.5, ["n2"]), (4.0, ["n2"])]
    assert none(looks, since=1.8) == pytest.approx(1.3)
    assert none(looks[4:], since=0.0) == pytest.approx(1.3)
    assert none(BOTH, since=0.0) == 0.0


def test_what_answers_on_the_wire_has_moved_when_another_host_answers() -> None:
    answers = [(1.0, "n1"), (5.2, "n2"), (6.0, "n1")]
    assert moved(answers, since=5.0) == 5.2
    assert moved(answers, since=5.5) == 6.0
    assert moved(answers[:1], since=5.0) is None
    assert moved([], since=5.0) is None
