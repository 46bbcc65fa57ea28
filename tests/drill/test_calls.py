"""What judges the callers' records: gap, wait, failures and loss."""

import pytest

from luigi_ha.appliance.drill.calls import Call, judge
from luigi_ha.appliance.drill.prober import Callee


def calls(*answered: tuple[float, float], wrong: tuple[float, float] | None = None) -> list[Call]:
    good = [Call(f"run_{number}", began, ended, None) for number, (began, ended) in enumerate(answered)]
    return good + ([] if wrong is None else [Call("run_wrong", *wrong, "timeout")])


STEADY = [(number / 10, number / 10 + 0.01) for number in range(100)]  # 10 s of calls


def test_the_judge_of_calls_finds_gap_wait_failure_and_loss() -> None:
    felt = [call for call in STEADY if not 5.0 <= call[0] < 7.0] + [(5.0, 7.0)]
    found = calls(*felt, wrong=(5.1, 6.0))
    known = {call.task for call in found if call.wrong is None}
    verdict = judge(found, at=4.95, until=9.9, known=known - {"run_3"})
    assert (round(verdict.gap, 2), round(verdict.longest, 2)) == (2.09, 2.0)
    assert (verdict.failed_in_flight, verdict.failed_after, verdict.lost) == (0, 1, 1)
    assert not verdict.good


def test_an_outage_until_the_end_is_a_gap_until_the_end() -> None:
    found = calls(*STEADY[:55])
    verdict = judge(found, at=4.95, until=9.9, known={call.task for call in found})
    assert verdict.gap == pytest.approx(9.9 - 5.41)
    assert verdict.inconclusive is None


def test_a_run_without_calls_before_the_fault_decides_nothing() -> None:
    found = calls(*STEADY[45:])
    assert judge(found, at=4.95, until=9.9, known={call.task for call in found}).inconclusive is not None


@pytest.mark.parametrize(
    ("url", "port", "secure"),
    [
        ("http://n1", 80, False),
        ("http://n1:8082", 8082, False),
        ("https://n1", 443, True),
        ("https://n1:8082", 8082, True),
    ],
)
def test_a_caller_speaks_to_the_port_of_its_scheme_with_the_token_it_was_given(
    url: str, port: int, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUIGI_HA_TOKEN", "lha_1")
    to = Callee.of(url)
    assert (to.host, to.port, to.token, to.context is not None) == ("n1", port, "lha_1", secure)
