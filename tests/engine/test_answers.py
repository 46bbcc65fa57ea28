"""First answers: kept for a while and in bounded number, by the next leader too."""

from collections.abc import Callable

from luigi_ha.appliance.engine import Answer, Scheduler
from luigi_ha.appliance.engine.changes import AnswerPut, AnswersForgotten
from tests.engine.conftest import Clock

Make = Callable[..., Scheduler]


def keys(s: Scheduler) -> list[str]:
    return list(s._answers)


def test_an_answer_is_given_again_until_it_is_too_old(make: Make, clock: Clock) -> None:
    s = make(answers_kept=100)
    assert s.answered("k") is None
    s.remember("k", "rest_take", "f", 200, '{"response": 1}')
    assert s.answered("k") == Answer("rest_take", "f", 200, '{"response": 1}')
    clock.now += 60
    s.remember("l", "rest_take", "f", 200, "{}")
    clock.now += 41
    s.prune()
    assert keys(s) == ["l"]
    clock.now += 60
    s.prune()
    assert keys(s) == []


def test_the_oldest_are_forgotten_when_there_are_too_many(make: Make) -> None:
    s = make(answers_most=8)
    for i in range(9):
        s.remember(f"k{i}", "m", "f", 200, "{}")
    assert len(keys(s)) == 9  # a few more than that until the next prune
    s.remember("k9", "m", "f", 200, "{}")
    assert keys(s) == [f"k{i}" for i in range(2, 10)]
    s.remember("k10", "m", "f", 200, "{}")
    s.prune()
    assert keys(s) == [f"k{i}" for i in range(3, 11)]


def test_a_key_used_anew_after_it_was_forgotten_has_its_new_answer_alone(make: Make) -> None:
    s = make(answers_most=8)
    for i in (*range(9), 0):
        s.remember(f"k{i}", "m", str(i), 200, "{}")
    assert keys(s)[-1] == "k0"
    assert len(set(keys(s))) == len(keys(s))


def test_the_next_leader_gives_the_same_answers_and_forgets_them_too(make: Make, clock: Clock) -> None:
    s = make(answers_kept=100)
    log = []
    for key in ("a", "b", "a"):
        s.remember(key, "m", key, 200, f'"{clock.now}"')
        clock.now += 60
        s.prune()
        log += s.take_changes().records
    assert [type(record) for record in log if isinstance(record, (AnswerPut, AnswersForgotten))] == [
        AnswerPut, AnswerPut, AnswersForgotten, AnswerPut, AnswersForgotten,
    ]  # fmt: skip
    restored, mirror = make(answers_kept=100), make(answers_kept=100)
    restored.restore(log)
    for record in log:
        mirror.follow([record])
    assert keys(restored) == keys(mirror) == keys(s) == ["a"]
    mirror.prune()
    assert mirror.answered("a") == s.answered("a")
    restored.remember("c", "m", "c", 200, "{}")
    assert restored._answers["c"].num > s._answers["a"].num
