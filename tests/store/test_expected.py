"""Who has been told who is about to be the primary does not wait for others, and is not taken in by anybody else."""

from collections.abc import Callable

import pytest

from luigi_ha.appliance import clock
from luigi_ha.appliance.store import open_store
from luigi_ha.appliance.store.postgres_connection import Lineage
from luigi_ha.appliance.store.primary import EXPECTED_FOR, GRACE, SHORT_GRACE, Primary
from luigi_ha.appliance.store.target import parse
from tests.support.servers import PostgresServer


class Answer:
    """What is looked at of a connection."""

    def __init__(self, host: str, timeline: int, system: int = 1) -> None:
        self.place = (host, 5432)
        self.lineage = Lineage(system, timeline)


def known(host: str, timeline: int) -> Primary:
    primary = Primary(parse("postgresql://luigi@a,b,c/luigi"), 2.0, 1.0)
    primary._place, primary._lineage = (host, 5432), Lineage(1, timeline)
    return primary


def test_only_a_promoted_one_that_is_expected_needs_no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = known("a", 3)

    def grace(answer: Answer) -> float:
        return primary._grace(answer)  # type: ignore[arg-type]

    assert grace(Answer("b", 4)) == GRACE, "nobody is expected"
    primary.expect(("b", 5432))
    assert grace(Answer("b", 4)) == 0.0
    assert grace(Answer("b", 3)) == GRACE, "it has not been promoted"
    assert grace(Answer("b", 4, system=2)) == GRACE, "another cluster"
    assert grace(Answer("c", 4)) == GRACE, "another than the one that is expected"
    assert grace(Answer("a", 3)) == SHORT_GRACE, "the one before"
    began = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: began + EXPECTED_FOR + 1)
    assert grace(Answer("b", 4)) == GRACE, "a promotion that did not come"
    assert primary._awaits() is None


@pytest.mark.postgresql
def test_an_expectation_that_is_wrong_keeps_nobody_from_the_primary(
    postgres: PostgresServer, postgres_url: str, make_store: Callable[..., object]
) -> None:
    store = open_store(postgres_url)
    store.upgrade()
    store.expect_primary("10.9.9.9", 5432)
    position = store.take_leadership("n1")
    assert store.position() == position
    assert store.system
    store.close()
