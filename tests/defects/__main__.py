"""`python -m tests.defects`: each defect is switched on, and the check that is named for it must fail.

    python -m tests.defects
    python -m tests.defects fence-off lost-tail

A check that cannot fail proves nothing. Exit code 0: every defect was caught, by a test that passes without it.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

SITE = Path(__file__).with_name("site")
ROOT = Path(__file__).parents[2]
# Defect: the tests that must fail with it, each of them.
_FENCE, _LEASE = "tests/store/test_fence.py::", "tests/ha/test_lease.py::"
_CLUSTER, _PRIMARY = "tests/cluster/test_failovers.py::", "tests/store/test_primary.py::"
_ZOMBIE = f"{_FENCE}test_a_batch_that_wakes_up_late_in_an_old_session_is_refused"
_KILLED = "test_nothing_acknowledged_is_lost_or_doubled_by_sigkill_of_the_scheduler"
_RESTORED = "test_a_restored_cluster_waits_for_a_person_whether_it_runs_or_is_started_on_it"
CAUGHT_BY: dict[str, tuple[str, ...]] = {
    "fence-off": (f"{_ZOMBIE}[postgres]", f"{_FENCE}test_of_two_sessions_with_the_same_batch_one_commits[postgres]"),
    "fence-off-sqlite": (
        f"{_ZOMBIE}[sqlite]",
        f"{_FENCE}test_a_second_leader_fences_the_first_which_notices_at_its_next_write[sqlite]",
    ),
    "seq-not-compared": (f"{_ZOMBIE}[postgres]",),
    "wall-clock-for-the-lease": (f"{_CLUSTER}test_another_node_leads_after[cut-etcd-clock-back]",),
    "deadline-from-the-reply": (
        f"{_LEASE}test_the_deadline_counts_from_the_sending_not_from_the_reply",
        f"{_LEASE}test_a_renewal_counts_from_its_sending_too",
    ),
    "one-arp-only": (
        "tests/vip/test_segment.py::test_it_is_announced_in_a_burst",
        f"{_CLUSTER}test_calls_are_answered_by_one_leader_in_spite_of[deaf-clients]",
    ),
    "address-kept-without-etcd": (
        f"{_LEASE}test_a_late_renewal_never_brings_a_lease_back",
        f"{_CLUSTER}test_another_node_leads_after[cut-etcd-clock-back]",
    ),
    "no-resync-after-a-lost-watch": (
        "tests/ha/test_etcd_faults.py::test_a_black_holed_endpoint_costs_half_an_attempt_and_no_event",
    ),
    "no-grace-after-a-promotion": (
        "tests/pair/test_pair.py::test_p8_a_worker_that_called_the_leader_before_is_not_silent_to_the_next_one",
    ),
    "no-grace-after-an-outage-of-the-database": (
        "tests/api/test_gate.py::test_workers_are_not_forgotten_because_the_database_was_away",
    ),
    "completion-of-a-stale-run": (
        "tests/engine/test_rest_work.py::test_our_clients_report_of_a_run_that_is_over_is_refused",
    ),
    "lost-tail": (f"tests/drills/test_durability.py::{_KILLED}[sqlite]",),
    "wrong-one-of-two-primaries": (
        f"{_PRIMARY}test_with_two_servers_that_accept_writes_the_higher_timeline_wins",
        f"{_PRIMARY}test_an_old_primary_is_refused_by_who_has_seen_the_new_one",
    ),
    "mirror-ahead-of-the-database": (
        "tests/store/test_mirror.py::test_a_mirror_whose_log_is_another_is_told_to_load_anew",
    ),
    "one-put-in-the-hand-over": (
        "tests/primary/test_race.py::test_a_leader_that_was_held_up_cannot_name_another_standby",
    ),
    "reloaded-from-a-past": (f"tests/pair/test_restored.py::{_RESTORED}",),
    "next-leader-by-its-own-date": (f"{_CLUSTER}test_another_node_leads_after[clock-ahead]",),
}
SAYS = {  # what is in their words when they fail of it
    "fence-off": "Key (seq)=(1) already exists",
    "fence-off-sqlite": "UNIQUE constraint failed: luigi_event.seq",
    "seq-not-compared": "Key (seq)=(1) already exists",
    "wall-clock-for-the-lease": "had it",
    "deadline-from-the-reply": "assert 104.5 == 102.5",
    "one-arp-only": "assert (3 * 2) <= 2",
    "address-kept-without-etcd": "assert not True",
    "no-resync-after-a-lost-watch": "AssertionError",
    "no-grace-after-a-promotion": "its task was taken from it",
    "no-grace-after-an-outage-of-the-database": "assert [] == ['w']",
    "completion-of-a-stale-run": "DID NOT RAISE",
    "lost-tail": '"kind": "lost"',
    "wrong-one-of-two-primaries": "AssertionError: assert '127.0.0.1:",
    "mirror-ahead-of-the-database": "DID NOT RAISE NotAPrefix",
    "one-put-in-the-hand-over": "'named_another_standby': True",
    "reloaded-from-a-past": "database_is_older",
    "next-leader-by-its-own-date": "was FAILED, and is",
}
_SUMMARY = re.compile(r"^(FAILED|ERROR) (\S+)", re.MULTILINE)


def run(tests: tuple[str, ...], defect: str | None) -> tuple[int, set[str], set[str], str]:
    """pytest's exit code, which tests failed, which could not be run, and its words."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-o", "addopts=", *tests]
    path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, **({"DEFECT": defect, "PYTHONPATH": path} if defect else {})}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = _SUMMARY.findall(done.stdout)
    failed = {name for what, name in found if what == "FAILED"}
    return done.returncode, failed, {name for what, name in found if what == "ERROR"}, done.stdout


def caught(defect: str) -> tuple[bool, str]:
    """Whether each of its tests fails with the defect."""
    tests = CAUGHT_BY[defect]
    code, failed, errors, words = run(tests, defect)
    missed = [test for test in tests if not any(name == test or name.startswith(f"{test}[") for name in failed)]
    if errors or code not in (0, 1):
        return False, f"could not be run: {', '.join(sorted(errors)) or words[-2000:]}"
    wrong = [f"passes with it: {test}" for test in missed]
    if SAYS[defect] not in words:
        wrong.append(f"fails of something else: {SAYS[defect]!r} is not said")
    return not wrong, "; ".join(wrong) or ", ".join(sorted(failed))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("defect", nargs="*", help=f"some of {', '.join(CAUGHT_BY)} [all]")
    chosen = parser.parse_args().defect or list(CAUGHT_BY)
    if unknown := [name for name in chosen if name not in CAUGHT_BY]:
        parser.error(f"no defect {', '.join(unknown)}; expected some of {', '.join(CAUGHT_BY)}")
    tests = tuple(dict.fromkeys(test for name in chosen for test in CAUGHT_BY[name]))
    code, _failed, _errors, words = run(tests, None)
    print(
        f"without a defect: {len(tests)} tests {'pass' if code == 0 else f'do NOT all pass: {words[-3000:]}'}",
        flush=True,
    )
    good = code == 0
    for name in chosen:
        began = time.monotonic()
        is_caught, said = caught(name)
        good = good and is_caught
        took = time.monotonic() - began
        print(f"{'caught' if is_caught else 'NOT CAUGHT':<11}{name:<42}{took:5.0f} s  {said}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
