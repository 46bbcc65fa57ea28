"""Rules that are ours: where luigi-ha does more, or otherwise, than luigid."""

from collections.abc import Callable
from typing import Any

import pytest

from luigi_ha.appliance.engine import BadArgument, Scheduler, Settings
from luigi_ha.appliance.engine.changes import SettingPut, TaskPut, WorkerPut
from tests.engine.conftest import Clock

Make = Callable[..., Scheduler]


def fail_once(s: Scheduler, task_id: str = "t") -> None:
    assert s.get_work(worker="w")["task_id"] == task_id
    s.add_task(task_id=task_id, worker="w", status="FAILED", expl='"boom"')


# -- retries --------------------------------------------------------------------------------------------


def test_waits_double_from_60_s_to_900_s(make: Make, clock: Clock) -> None:
    s = make(retry_jitter=0)
    waits = []
    for _ in range(6):
        s.add_task(task_id="t", worker="w")
        fail_once(s)
        waits.append(s.tasks["t"].retry_at - clock.now)  # type: ignore[operator]
    assert waits == [60, 120, 240, 480, 900, 900]


def test_a_success_starts_the_waits_anew(make: Make, clock: Clock) -> None:
    s = make(retry_jitter=0, stable_done_cooldown_secs=0)
    s.add_task(task_id="t", worker="w")
    fail_once(s)
    s.add_task(task_id="t", worker="w", status="DONE")
    s.add_task(task_id="t", worker="w")
    fail_once(s)
    assert s.tasks["t"].retry_at == clock.now + 60


def test_jitter_only_shortens() -> None:
    settings = Settings()
    assert settings.retry_wait(5, 0.0) == 900
    assert 810 <= settings.retry_wait(5, 0.999) < 900


def test_a_configured_delay_is_fixed_as_in_luigi_unless_backoff_says_otherwise() -> None:
    assert {Settings(retry_delay=300).retry_wait(n, 0.5) for n in range(1, 20)} == {300}
    backed_off = Settings(retry_delay=10, retry_backoff=3, retry_delay_max=100, retry_jitter=0)
    assert [backed_off.retry_wait(n, 0) for n in (1, 2, 3, 4)] == [10, 30, 90, 100]


def test_a_failed_report_sent_again_is_not_a_second_failure(make: Make, clock: Clock) -> None:
    s = make(retry_count=2)
    s.add_task(task_id="t", worker="w")
    fail_once(s)
    s.add_task(task_id="t", worker="w", status="FAILED", expl='"boom"')
    assert s.tasks["t"].status == "FAILED"
    clock.now += 61  # also when the retry came before the repetition
    s.ping(worker="w")
    s.prune()
    assert s.tasks["t"].status == "PENDING"
    s.add_task(task_id="t", worker="w", status="FAILED", expl='"boom"')
    assert (s.tasks["t"].status, s.tasks["t"].failed_in_row) == ("PENDING", 1)
    fail_once(s)  # a new run is a new failure
    assert s.tasks["t"].status == "DISABLED"


# -- what is written ----------------------------------------------------------------------------------------


def test_a_ping_writes_only_if_it_delivers_or_introduces(make: Make) -> None:
    s = make()
    s.ping(worker="w")
    assert [type(r) for r in s.take_changes().records if not isinstance(r, SettingPut)] == [WorkerPut]
    s.ping(worker="w")
    assert s.take_changes().records == []
    s.set_worker_processes(worker="w", n=3)
    s.take_changes()
    assert s.ping(worker="w")["rpc_messages"] == [{"name": "set_worker_processes", "kwargs": {"n": 3}}]
    [put] = s.take_changes().records
    assert isinstance(put, WorkerPut)
    assert put.messages == "[]"


def test_a_transition_does_not_rewrite_the_description(make: Make) -> None:
    s = make()
    s.add_task(task_id="t", worker="w", family="F", params={"big": "x" * 1000})
    s.take_changes()
    s.get_work(worker="w")
    [put] = s.take_changes().records
    assert isinstance(put, TaskPut)
    assert put.definition is None
    assert put.state is not None
    assert put.detail is None


def test_an_equal_call_again_writes_nothing(make: Make) -> None:
    s = make(stable_done_cooldown_secs=0)
    call: dict[str, Any] = {"task_id": "t", "worker": "w", "deps": ["a"], "family": "F", "params": {"a": "1"}}
    s.add_task(**call)
    s.take_changes()
    s.add_task(**call)
    assert s.take_changes().records == []


def test_numbers_are_never_used_again_after_a_restart(make: Make) -> None:
    s = make(remove_delay=0, worker_disconnect_delay=0)
    s.add_task(task_id="t", worker="w")
    log = s.take_changes().records
    old_num, old_wid = s.tasks["t"].num, s.workers["w"].wid
    s._clock.now += 1  # type: ignore[attr-defined]
    s.prune()
    s._clock.now += 1  # type: ignore[attr-defined]
    s.prune()
    log += s.take_changes().records
    assert not s.tasks
    again = make()
    again.restore(log)
    again.add_task(task_id="t", worker="w")
    assert again.tasks["t"].num > old_num
    assert again.workers["w"].wid > old_wid


# -- namespaces ------------------------------------------------------------------------------------------------


def test_a_namespace_runs_no_more_than_its_limit(make: Make) -> None:
    s = make(namespace_limits={"marketing": 1})
    for i in range(2):
        s.add_task(task_id=f"m{i}", worker="w", family="marketing.Extract")
    s.add_task(task_id="f", worker="w", family="finance.Extract")
    assert s.tasks["m0"].namespace == "marketing"
    assert [s.get_work(worker="w")["task_id"] for _ in range(3)] == ["m0", "f", None]
    assert "namespace 'marketing'" in s.why("m1")["reason"]
    s.add_task(task_id="m0", worker="w", status="DONE")
    assert s.get_work(worker="w")["task_id"] == "m1"


# -- after a start -------------------------------------------------------------------------------------------


def test_after_a_start_silence_is_not_death(make: Make, clock: Clock) -> None:
    s = make()
    s.add_task(task_id="t", worker="w")
    s.get_work(worker="w")
    log = s.take_changes().records
    clock.now += 3600
    again = make()
    again.restore(log)
    again.started()
    clock.now += 89
    again.worker_list()
    assert again.tasks["t"].status == "RUNNING"
    clock.now += 2
    again.worker_list()
    assert again.tasks["t"].status == "FAILED"


def test_a_prune_with_a_limit_goes_on_where_it_stopped(make: Make, clock: Clock) -> None:
    s = make(prune_limit=10, remove_delay=0)
    for i in range(35):
        s.add_task(task_id=f"t{i}", worker="w")
    clock.now += 61
    prunes = 0
    while s.tasks and prunes < 20:
        s.prune()
        prunes += 1
    assert not s.tasks
    assert prunes > 3
    assert not s.prune_pending


# -- why ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda s: s.add_task(task_id="t", worker="w", deps=["a", "b"]), "waits for a (UNKNOWN) and 1 more"),
        (lambda s: (s.add_task(task_id="t", worker="w"), s.pause()), "paused"),
        (lambda s: s.add_task(task_id="t", worker="w", runnable=False), "No live worker"),
        (lambda s: (s.add_task(task_id="t", worker="w"), s.get_work(worker="w")), "running on w"),
        (lambda s: (s.add_task(task_id="t", worker="w"), fail_once(s)), "retried in"),
        (lambda s: s.add_task(task_id="t", worker="w", status="DISABLED"), "worker disabled it"),
        (lambda s: s.add_task(task_id="t", worker="w", resources={"db": 3}), "waits for db"),
        (lambda s: s.add_task(task_id="t", worker="w", status="DONE"), "done"),
        (lambda s: s.add_task(task_id="t", worker="w"), "ready"),
        (lambda s: s.add_task(task_id="x", worker="w", deps=["t"]), "dependency of others"),
    ],
)
def test_why_names_what_keeps_a_task_waiting(make: Make, prepare: Callable[[Scheduler], Any], expected: str) -> None:
    s = make(resources={"db": 2})
    prepare(s)
    answer = s.why("t")
    assert expected in answer["reason"]
    assert answer["task_id"] == "t"


def test_why_of_a_task_that_failed_too_often(make: Make) -> None:
    s = make(retry_count=1)
    s.add_task(task_id="t", worker="w")
    fail_once(s)
    assert "disabled for another 86400 s" in s.why("t")["reason"]
    with pytest.raises(KeyError):
        s.why("nobody")


# -- bad arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"worker": None}, {"task_id": None}, {"task_id": "x" * 501}, {"status": "MAYBE"}, {"deps": "abc"},
        {"deps": [1]}, {"deps": [[]]}, {"resources": {"db": "1"}}, {"resources": {"db": None}},
        {"resources": {"db": float("nan")}}, {"resources": [1]}, {"priority": "high"}, {"priority": float("nan")},
        {"params": [1]}, {"param_visibilities": 1}, {"retry_policy_dict": {"retries": 1}}, {"family": 3},
        {"retry_policy_dict": {"retry_count": "x"}}, {"batch_id": 5}, {"tracking_url": {}}, {"owners": "me"},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_before_anything_changes(make: Make, bad: dict[str, Any]) -> None:
    s = make()
    with pytest.raises(BadArgument, match="expected"):
        s.add_task(**{"task_id": "t", "worker": "w", **bad})
    assert s.take_changes().records == []
    assert not s.tasks
    assert not s.workers


def test_incoherent_settings_say_what_is_wrong() -> None:
    with pytest.raises(BadArgument, match="retry_jitter: 2; expected a number from 0 to 1"):
        Settings(retry_jitter=2)
    with pytest.raises(BadArgument, match="no such option"):
        Settings.of(retry_dealy=5)


# -- mail -----------------------------------------------------------------------------------------------------


def test_batched_mails_survive_a_restart_and_are_sent_once(make: Make, clock: Clock) -> None:
    s = make(batch_emails=True, email_receivers=("ops@example.org",), email_interval_minutes=10)
    s.add_task(task_id="t", worker="w", family="F", params={"n": "1"})
    fail_once(s)
    log = s.take_changes().records
    again = make(batch_emails=True, email_receivers=("ops@example.org",), email_interval_minutes=10)
    again.restore(log)
    clock.now += 601
    again.prune()
    taken = again.take_changes()
    [mail] = taken.mails
    assert (mail.owner, mail.subject) == ("ops@example.org", "Luigi: 1 failure in the last 10 minutes")
    assert "boom" in mail.body
    once_more = make(batch_emails=True, email_receivers=("ops@example.org",))
    once_more.restore(log + taken.records)
    clock.now += 3601
    once_more.prune()
    assert once_more.take_changes().mails == []


def test_a_disabled_task_is_mailed_at_once_without_batching(make: Make) -> None:
    s = make(retry_count=1)
    s.add_task(task_id="t", worker="w")
    fail_once(s)
    [mail] = s.take_changes().mails
    assert mail.owner is None
    assert "DISABLED t" in mail.subject


def test_amounts_of_resources_are_luigis(make: Make) -> None:
    """True is one; a need below zero makes room; a total below zero fits nothing; none of it costs a task its run."""
    s = make(resources={"db": 1, "net": 1})
    s.add_task(task_id="flag", worker="w", resources={"db": True})
    s.add_task(task_id="room", worker="w", resources={"net": -1}, priority=1)
    assert s.get_work(worker="w")["task_id"] == "room"
    assert s.get_work(worker="w", current_tasks=["room"])["task_id"] == "flag"
    s.decrease_running_task_resources("flag", {"db": -3})
    s.decrease_running_task_resources("flag", {"db": True})
    assert s.get_running_task_resources("flag")["resources"] == {"db": 0}
    s.update_resources(db=-1, net=2.5)
    s.add_task(task_id="never", worker="w", resources={"db": 0})
    assert s.get_work(worker="w", current_tasks=["room", "flag"])["task_id"] is None
    assert s.update_resource("db", -1) is False


def test_an_empty_module_stays_one(make: Make) -> None:
    s = make()
    s.add_task(task_id="t", worker="w", module="")
    assert s.get_work(worker="w")["task_module"] == ""


def test_refusals_name_what_was_given(make: Make) -> None:
    s = make()
    with pytest.raises(BadArgument, match="e-mail addresses"):
        s.add_task(task_id="t", worker="w", owners="me")
    with pytest.raises(BadArgument, match="parameter names"):
        s.add_task_batcher(worker="w", task_family="A", batched_args="date")
