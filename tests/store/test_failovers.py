"""The record of failovers: one row for each epoch that opened its gate, written only by who leads."""

from dataclasses import replace

import pytest

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import Failover, FencedError, Store

FIRST = Failover(Epoch(1), 1_700_000_000.25, "n1", None, "first start", None, 0.5, False, 0)
SECOND = Failover(Epoch(2), 1_700_000_100.5, "n2", "n1", "no word from n1: é \0 \ud800", 2.75, 0.125, True, 1234)


def test_failovers_are_read_back_as_they_were_recorded(store: Store) -> None:
    assert store.failovers() == []
    store.take_leadership("n1")
    store.record_failover(FIRST)
    store.take_leadership("n2")
    store.record_failover(SECOND)
    assert store.failovers() == [FIRST, SECOND]
    assert store.failovers(1) == [SECOND]


def test_recording_again_changes_nothing(store: Store) -> None:
    store.take_leadership("n1")
    for said in (FIRST, FIRST, replace(FIRST, cause="the answer was lost, so it was sent again")):
        store.record_failover(said)
    assert store.failovers() == [FIRST]


def test_only_the_current_leader_records(store: Store) -> None:
    store.take_leadership("n1")
    store.take_leadership("n2")
    with pytest.raises(FencedError, match="epoch 2 leads; ours is 1"):
        store.record_failover(FIRST)
    with pytest.raises(FencedError, match="epoch 2 leads; ours is 3"):
        store.record_failover(replace(SECOND, epoch=Epoch(3)))
    assert store.failovers() == []
