"""Whom to ask, and when, on virtual time: `attempt_timeout` 0.4 s, three endpoints of which some never answer."""

import asyncio

import pytest

from luigi_ha.ha.errors import Fatal, HaError, LeaseLost, Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.endpoints import Endpoints
from tests.ha.virtual import virtually

URLS = ("http://a:1", "http://b:1", "http://c:1")


class Members:
    """How long each takes to answer, or what it raises; `None`: for ever. Notes who was asked when."""

    def __init__(self, **fates: float | HaError | None) -> None:
        self.endpoints = Endpoints(EtcdConfig(URLS, attempt_timeout=0.4))
        self.asked: list[tuple[str, float]] = []
        self.running = 0
        self._fates = fates
        self._began = asyncio.get_running_loop().time()

    async def question(self, endpoint: str, seconds: float) -> str:
        name = endpoint[7]
        self.asked.append((name, round(asyncio.get_running_loop().time() - self._began, 3)))
        self.running += 1
        try:
            fate = self._fates[name]
            if isinstance(fate, HaError):
                raise fate
            await asyncio.sleep(seconds if fate is None or fate > seconds else fate)
            if fate is None or fate > seconds:
                raise Unknown("no answer")
            return name
        finally:
            self.running -= 1


def test_the_second_is_asked_after_half_an_attempt_and_remembered() -> None:
    async def play() -> None:
        members = Members(a=None, b=0.01, c=0.01)
        assert await members.endpoints.ask(members.question, 1.5) == "b"
        assert members.asked == [("a", 0.0), ("b", 0.2)]
        assert members.running == 0
        assert await members.endpoints.ask(members.question, 1.5) == "b"
        assert members.asked[2:] == [("b", 0.21)]

    virtually(play)


def test_who_answers_in_time_is_asked_alone_and_a_slow_one_may_still_win() -> None:
    async def play() -> None:
        members = Members(a=0.19, b=0.01, c=0.01)
        assert await members.endpoints.ask(members.question, 1.5) == "a"
        assert members.asked == [("a", 0.0)]
        members = Members(a=0.3, b=None, c=None)
        assert await members.endpoints.ask(members.question, 1.5) == "a"
        assert members.asked == [("a", 0.0), ("b", 0.2)]

    virtually(play)


def test_somebody_is_asked_all_the_time_until_the_budget_ends() -> None:
    async def play() -> None:
        members = Members(a=None, b=None, c=None)
        with pytest.raises(Unknown, match=r"a:1.*b:1|b:1.*a:1"):
            await members.endpoints.ask(members.question, 1.0)
        assert [name for name, _ in members.asked[:4]] == ["a", "b", "c", "a"]
        assert members.asked[-1][1] < 1.0
        assert members.running == 0

    virtually(play)


def test_definitive_ends_it_and_fatal_only_if_everybody_says_so() -> None:
    async def play() -> None:
        members = Members(a=LeaseLost("no"), b=0.1, c=0.1)
        with pytest.raises(LeaseLost):
            await members.endpoints.ask(members.question, 1.0)
        members = Members(a=Fatal("x"), b=Fatal("y"), c=Fatal("z"))
        with pytest.raises(Fatal):
            await members.endpoints.ask(members.question, 1.0)
        assert [name for name, _ in members.asked] == ["a", "b", "c"]
        members = Members(a=Fatal("x"), b=Fatal("y"), c=0.01)
        assert await members.endpoints.ask(members.question, 1.0) == "c"

    virtually(play)
