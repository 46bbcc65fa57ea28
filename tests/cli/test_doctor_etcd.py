"""What `luigi-ha doctor` says of etcd's version."""

import pytest

from luigi_ha.appliance.cli import doctor_etcd


@pytest.mark.parametrize(
    ("versions", "warned"),
    [
        (["3.4.23", "3.4.23", "3.5.12"], ["etcd 3.4.23, 3.5.12 "]),
        (["3.4.30"], ["etcd 3.4.30 "]),
        (["3.5.0-rc.1"], ["etcd 3.5.0-rc.1 "]),
        (["3.4.31", "3.5.13", "3.6.0", ""], []),
    ],
)
def test_an_etcd_that_forgets_renewals_is_named_once(versions: list[str], warned: list[str]) -> None:
    """etcd#15247, as a drill found it in Debian's; mended in 3.4.31 and 3.5.13."""
    found = list(doctor_etcd._renewals(versions))
    assert [each.what.partition("may end")[0] for each in found] == warned
    assert all(each.verdict.value == "warn" for each in found)
