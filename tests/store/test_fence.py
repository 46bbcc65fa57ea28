"""One writer: whatever comes late from an earlier leader, or from an earlier session of this one, changes nothing."""

import pytest

from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store import FencedError, Journal, JournalState, Store
from luigi_ha.appliance.store.errors import FenceRefused
from luigi_ha.appliance.store.position import Finding, Position, compare
from tests.store.samples import add, batch, change, creation, loaded, replayed, run, until


def test_a_second_leader_fences_the_first_which_notices_at_its_next_write(store: Store) -> None:
    async def scenario() -> None:
        first = Journal(store, store.take_leadership("first"))
        first.start()
        await first.wait(add(first, creation(1)), 5)
        second = Journal(store, store.take_leadership("second"))
        second.start()
        await second.wait(add(second, creation(2)), 5)
        late = add(first, creation(3))
        with pytest.raises(FencedError, match="epoch 2 leads; ours is 1"):
            await first.wait(late, 5)
        assert first.state is JournalState.FENCED
        with pytest.raises(FencedError):
            await first.wait(add(first, creation(4)), 5)
        await second.wait(add(second, change(2, status="DONE")), 5)
        assert first.close(5) is False
        assert second.close(5) is True

    run(scenario())
    assert sorted(loaded(store).tasks) == [1, 2]
    assert loaded(store) == replayed(store)


def test_a_journal_that_starts_after_a_newer_leader_is_fenced_before_it_writes(store: Store) -> None:
    async def scenario() -> None:
        position = store.take_leadership("first")
        store.take_leadership("second")
        journal = Journal(store, position)
        journal.start()
        await until(lambda: journal.state is JournalState.FENCED)
        journal.close(5)

    run(scenario())


def test_an_epoch_that_is_not_newer_cannot_lead(store: Store) -> None:
    assert store.take_leadership("a", Epoch(7)).epoch == 7
    for late in (3, 7):
        with pytest.raises(FencedError, match=f"epoch {late} is not newer than 7"):
            store.take_leadership("late", Epoch(late))
    assert store.take_leadership("b").epoch == 8


def test_an_epoch_may_be_asked_for_again_by_who_wrote_it(store: Store) -> None:
    first = store.take_leadership("a", Epoch(7))
    assert store.take_leadership("a", Epoch(7)) == first  # the first answer was lost


def test_a_batch_that_wakes_up_late_in_an_old_session_is_refused(store: Store) -> None:
    start = store.take_leadership("leader")
    zombie, session = store.writer(), store.writer()
    stalled = batch(start, creation(1, priority=1))
    session.write(stalled)  # sent again on a new session
    newer = batch(stalled.last, change(1, status="RUNNING"))
    session.write(newer)
    before = loaded(store)
    for late in (stalled, batch(start, creation(1, priority=2), creation(9)), newer):
        with pytest.raises(FenceRefused):
            zombie.write(late)
        with pytest.raises(FenceRefused):
            zombie.confirm(late.previous, 0)
    session.confirm(newer.last, 0)
    zombie.confirm(newer.last, 0)
    assert loaded(store) == before == replayed(store)
    zombie.close()
    session.close()


def test_of_two_sessions_with_the_same_batch_one_commits(store: Store) -> None:
    position = store.take_leadership("leader")
    one, two = store.writer(), store.writer()
    made = batch(position, creation(1))
    one.write(made)
    with pytest.raises(FenceRefused):
        two.write(made)
    assert store.position() == made.last
    one.close()
    two.close()


A = Position(Epoch(5), 10, "aa" * 16)
B = Position(Epoch(5), 12, "bb" * 16)
OLD = Position(Epoch(5), 7, "cc" * 16)


@pytest.mark.parametrize(
    ("found", "in_flight", "finding"),
    [
        (A, None, Finding.EQUAL),
        (A, B, Finding.EQUAL),
        (B, B, Finding.APPLIED),
        (B, None, Finding.DIVERGED),
        (B._replace(hash="dd" * 16), B, Finding.DIVERGED),
        (A._replace(hash="dd" * 16), B, Finding.DIVERGED),
        (OLD, B, Finding.BEHIND),
        (OLD._replace(hash="dd" * 16), None, Finding.DIVERGED),
        (OLD._replace(seq=8), None, Finding.DIVERGED),
        (A._replace(epoch=Epoch(6)), B, Finding.DEPOSED),
        (A._replace(epoch=Epoch(4)), B, Finding.DEPOSED),
        (B._replace(epoch=Epoch(6)), B, Finding.DEPOSED),
    ],
)
def test_what_a_leader_concludes_from_the_databases_position(
    found: Position, in_flight: Position | None, finding: Finding
) -> None:
    assert compare(found, A, in_flight, [OLD]) is finding
