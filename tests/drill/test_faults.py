"""Faults by their names, two in a row, and so many at random by a seed."""

import random
from typing import Any

import pytest

from luigi_ha.appliance.drill import fault, faults
from luigi_ha.appliance.drill.fault import Bite, Fails, Fault, together
from luigi_ha.appliance.drill.place import DrillError


class Led:
    """A place where somebody leads, or nobody does."""

    def __init__(self, *, leads: bool = True) -> None:
        self.leads = leads

    def leading(self) -> tuple[str, int] | None:
        return ("n1", 7) if self.leads else None


def striking(name: str, *nodes: str, **more: Any) -> Fault:
    return Fault(name, name, lambda _place, _rng: Bite(nodes, 1.0, 2.0, f"{name} bit"), **more)


def refused(_place: Any, _rng: random.Random) -> Bite:
    raise DrillError("it would not die")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "PAUSE", 0.0)
    monkeypatch.setattr(fault, "LEADS_AGAIN", 0.1)


def test_the_second_of_two_strikes_what_the_first_has_left() -> None:
    place: Any = Led()
    both = together(striking("one", "n1", on=("lab",)), striking("two", "n2", "n1", within=20.0))
    bite = both.strike(place, random.Random(1))
    assert (bite.nodes, bite.proof, bite.missed) == (("n1", "n2"), "one bit; then two: two bit", None)
    assert (both.name, both.on, both.fails) == ("one+two", ("lab",), Fails.ANY)


@pytest.mark.parametrize(
    ("place", "two", "said"),
    [
        (Led(leads=False), striking("two", "n2"), "two: nobody leads that it could hit"),
        (Led(), Fault("two", "two", refused), "two: it would not die"),
    ],
)
def test_what_the_first_has_left_may_be_too_little_for_the_second_and_the_bite_says_so(
    place: Any, two: Fault, said: str
) -> None:
    bite = together(striking("one", "n1"), two).strike(place, random.Random(1))
    assert (bite.nodes, bite.proof, bite.missed) == (("n1",), "one bit", said)


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (striking("one", recovers=False), striking("two"), "nobody leads after one before it is mended"),
        (striking("one"), striking("two", arrange=lambda _: None), "two needs roles arranged"),
        (striking("one"), striking("two", aim=lambda _: None), "two needs roles arranged"),
    ],
)
def test_two_of_which_the_second_would_never_strike_are_refused(one: Fault, two: Fault, said: str) -> None:
    with pytest.raises(DrillError, match=said):
        together(one, two)


@pytest.mark.parametrize("kind", ["pair", "lab"])
def test_so_many_at_random_are_each_once_before_any_anew_and_the_same_by_the_same_seed(kind: str) -> None:
    here = [name for name, each in faults.ALL.items() if kind in each.on]
    drawn = [each.name for each in faults.drawn(3 * len(here), kind, random.Random(5))]
    firsts = [name.partition("+")[0] for name in drawn]
    for start in range(0, len(firsts), len(here)):
        assert sorted(firsts[start : start + len(here)]) == sorted(here)
    assert drawn == [each.name for each in faults.drawn(3 * len(here), kind, random.Random(5))]
    assert drawn != [each.name for each in faults.drawn(3 * len(here), kind, random.Random(6))]
    assert len(drawn) / 5 < sum("+" in name for name in drawn) <= len(drawn) / 3
    assert all(set(each.on) >= {kind} for each in faults.drawn(50, kind, random.Random(5)))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("kill-schedular", "pair", "no fault kill-schedular; expected some of kill-scheduler"),
        ("kill-node+", "pair", "no fault"),
        ("kill-node+switchover+kill-all", "pair", "no fault"),
        ("cut-etcd", "pair", "cut-etcd cannot be done on a pair; expected --on lab"),
        ("kill-all+kill-node", "pair", "nobody leads after kill-all before it is mended"),
        ("kill-node+cut-etcd", "pair", "cannot be done on a pair; expected --on lab"),
        ("kill-node", "hosts", "kill-node cannot be done on your own hosts; expected --on pair or lab"),
    ],
)
def test_what_is_no_fault_or_cannot_be_done_there_is_said(name: str, kind: str, said: str) -> None:
    with pytest.raises(DrillError, match=said.replace("+", r"\+")):
        faults.chosen([name], kind)


def test_two_in_a_row_are_named_with_a_plus() -> None:
    assert [each.name for each in faults.chosen(["kill-node+switchover", "kill-all"], "pair")] == [
        "kill-node+switchover", "kill-all",
    ]  # fmt: skip
