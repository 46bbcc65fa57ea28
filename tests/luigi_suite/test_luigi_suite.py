"""Luigi 3.8.1's own tests pass on this scheduler: in process with our engine, and over HTTP with whole nodes."""

import os

import pytest

from tests.luigi_suite import excluded, running

WITH_SLOW = "LUIGI_SUITE_SLOW" in os.environ  # set by `make luigi-suite`


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", excluded.IN_PROCESS)
def test_in_process(file: str) -> None:
    slow = excluded.SLOW_IN_PROCESS.get(file, {})
    ran = running.run(running.IN_PROCESS, file, leave_out=() if WITH_SLOW else slow)
    assert ran.failed == {}, ran.output[-6000:]
    assert len(ran.passed) >= excluded.IN_PROCESS[file] + (len(slow) if WITH_SLOW else 0)
    assert ran.skipped == set()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file", excluded.OVER_HTTP)
def test_over_http(file: str) -> None:
    slow = excluded.SLOW_OVER_HTTP.get(file, {})
    ran = running.run(
        running.OVER_HTTP, file, leave_out=[*excluded.NOT_RUN.get(file, ()), *(() if WITH_SLOW else slow)]
    )
    cannot_pass = excluded.CANNOT_PASS.get(file, {})
    unexpected = {name: problem for name, problem in ran.failed.items() if name not in cannot_pass}
    assert unexpected == {}, ran.output[-6000:]
    assert {name for name in cannot_pass if name in ran.passed} == set(), "passes now: take it off the list"
    assert len(ran.passed) >= excluded.OVER_HTTP[file] + (len(slow) if WITH_SLOW else 0)


def test_every_test_left_out_has_its_reason() -> None:
    left_out = (excluded.CANNOT_PASS, excluded.NOT_RUN, excluded.SLOW_IN_PROCESS, excluded.SLOW_OVER_HTTP)
    by_file = [reasons for each in left_out for reasons in each.values()]
    assert all(len(reason) > 20 for reasons in [*by_file, excluded.LEFT_OUT_FILES] for reason in reasons.values())


def test_a_file_in_which_nothing_works_is_seen() -> None:
    """The runner reports failures: a scheduler that cannot be reached fails every test of a file."""
    ran = running.run("tests.luigi_suite.no_scheduler", "priority_test")
    assert ran.passed == set()
    assert len(ran.failed) == excluded.OVER_HTTP["priority_test"]
