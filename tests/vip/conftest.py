"""One segment for the whole folder, as new for each test; without root everything is skipped, with the reason."""

import logging
from collections.abc import Iterator

import pytest

from luigi_ha.ha.vip import refusals
from tests.support.patience import patient
from tests.vip.segment import Segment, segment, why_not


@pytest.fixture(scope="session")
def _net() -> Iterator[Segment]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with segment() as net:
        yield net


@pytest.fixture
def net(_net: Segment) -> Iterator[Segment]:
    _net.reset()
    yield _net
    _net.close()


@pytest.fixture(autouse=True)
def _programs_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """nft takes longer on a machine that does a lot besides; how long it may take is a matter of its own test."""
    monkeypatch.setattr(refusals, "LIMIT", patient(refusals.LIMIT))


class Seen:
    """Events of the address, in the order given."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, logger="luigi_ha.vip")

    @property
    def names(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.name == "luigi_ha.vip"]

    def fields(self, event: str) -> list[dict[str, object]]:
        found = (record for record in self._caplog.records if record.getMessage() == event)
        return [record.luigi_ha_fields for record in found]  # type: ignore[attr-defined]


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Seen:
    return Seen(caplog)
