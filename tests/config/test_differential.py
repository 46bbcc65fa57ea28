"""Luigi's configuration, read by luigi itself and by us: generated, and what once differed.

`make config-differential` compares 10,000 files and environments; here are some hundreds.
"""

import pytest

from tests.config.comparing import Tally, compare, run
from tests.config.differences import DIFFERENCES
from tests.config.generating import Case

CASES = 200
ONCE_DIFFERENT: dict[str, tuple[str, dict[str, str]]] = {
    "a name that is also in [DEFAULT]": ("[DEFAULT]\nretry_delay = 5\n[scheduler]\nretry_delay = 7\n", {}),
    "a name that is in [DEFAULT] alone": ("[DEFAULT]\nretry_delay = 5\n[scheduler]\n", {}),
    "[DEFAULT] without the section": ("[DEFAULT]\nretry_delay = 5\n", {}),
    "[DEFAULT] before dashes": ("[DEFAULT]\nretry_delay = 5\n[scheduler]\nretry-delay = 7\n", {}),
    "a resource that is also in [DEFAULT]": ("[DEFAULT]\ngpu = 5\n[resources]\ngpu = 7\nhive = 2\n", {}),
    "the old name and the new one": ("[scheduler]\ndisable-num-failures = 3\nretry_count = 4\n", {}),
    "underscores before dashes": ("[scheduler]\nretry-delay = 7\nretry_delay = 5\n", {}),
    "another case": ("[scheduler]\nRetry_Delay = 7\n", {}),
    "a disconnect delay above 90": ("[scheduler]\nworker-disconnect-delay = 600\n", {}),
    "an infinite delay": ("[scheduler]\nremove_delay = inf\n", {}),
    "a delay beyond floats": ("[scheduler]\nremove_delay = 1e400\n", {}),
    "a delay that is no number": ("[scheduler]\nremove_delay = nan\n", {}),
    "negative values": ("[scheduler]\nremove_delay = -5\ndisable_window = -1\nmax_graph_nodes = 0\n", {}),
    "a huge count": ("[scheduler]\nretry_count = 99999999999999999999999\n", {}),
    "underscores in a number": ("[scheduler]\ndisable_window = 1_000\n[resources]\ngpu = 1_000\n", {}),
    "a variable that is not set, elsewhere": ("[core]\ntmp = ${NOWHERE}\n[scheduler]\nretry_count = 3\n", {}),
    "a reference that leads nowhere, elsewhere": ("[MyTask]\npath = %(nowhere)s/x\n[scheduler]\nretry_count = 3\n", {}),
    "a variable whose value looks like a reference": ("[email]\nprefix = ${A}\n", {"A": "%(b)s ${C}"}),
    "a percent sign": ("[smtp]\npassword = a%%b\n", {}),
    "a lone percent sign in a password": ("[smtp]\npassword = a%b\n", {}),
    "a file that is not there": ("[scheduler]\nretry_count = 3\n", {"LUIGI_CONFIG_PATH": "gone.cfg"}),
    "a parser nobody knows": ("[scheduler]\nretry_count = 3\n", {"LUIGI_CONFIG_PARSER": "yaml"}),
    "no e-mails": ("[email]\nformat = none\n", {}),
    "the old name of the format": ("[core]\nemail-type = html\n", {}),
    "the old names of [smtp]": ("[core]\nsmtp_host = mx\nsmtp_port = 25\nsmtp_without_tls = true\n", {}),
    "luigi's own section of batch e-mails": ("[batch_email]\nbatch_mode = all\nemail_interval = 5\n", {}),
    "a wrong value of an e-mail nobody sends": ("[email]\nformat = fancy\n[batch_email]\nerror_lines = x\n", {}),
    "negative resources": ("[resources]\ngpu = -1\nCPU = 3\ntape drive = 2\n", {}),
    "origins that are none": ('[cors]\nallowed_origins = ["http://a", "*", "null", 5]\n', {}),
    "Kubernetes' variables": ("[scheduler]\nretry_count = 3\n", {"LUIGI_HA_PORT": "tcp://10.0.0.1:8082"}),
}


@pytest.mark.parametrize("name", ONCE_DIFFERENT)
def test_what_once_differed(name: str) -> None:
    text, environment = ONCE_DIFFERENT[name]
    tally = Tally()
    compare(Case({"luigi.cfg": text.encode()}, environment), tally)
    assert tally.mismatch is None
    assert tally.outcomes["read by both"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "[scheduler]\nworker_disconnect-delay = 7\n",  # an unused name that has both dashes and underscores
        "[DEFAULT]\ntmp = ${NOWHERE}\n[scheduler]\nretry_count = 3\n",  # luigid resolves all of [scheduler]
        "[scheduler]\nstate_path = ${NOWHERE}/state\n",
        "[scheduler]\npause_enabled = yes\n",
        "[resources]\ngpu = 2.5\n",
        "\ufeff[scheduler]\nretry_count = 3\n",
    ],
)
def test_what_luigid_ends_with_and_we_need_not(text: str) -> None:
    tally = Tally()
    compare(Case({"luigi.cfg": text.encode()}), tally)
    assert tally.mismatch is None
    assert tally.outcomes["read by us alone"] == 1


def test_of_several_files_each_value_of_the_strongest_counts() -> None:
    files: dict[str, bytes | None] = {
        "/etc/luigi/client.cfg": b"[DEFAULT]\nroot = 7\n[scheduler]\nretry_count = 1\nremove_delay = 1\n",
        "/etc/luigi/luigi.cfg": b"[scheduler]\nremove_delay = 2\nretry_delay = 2\ndisable_window = %(root)s\n",
        "luigi.cfg": b"[scheduler]\nretry-delay = 3\n[resources]\ngpu = 3\n",
        "named.conf": b"[resources]\ngpu = 4\n",
    }
    tally = Tally()
    compare(Case(files, {"LUIGI_CONFIG_PATH": "named.conf"}), tally)
    assert tally.mismatch is None
    assert tally.outcomes["read by both"] == 1


@pytest.mark.parametrize("seed", range(1, 4))
def test_generated_files_and_environments_are_read_as_luigi_reads_them(seed: int) -> None:
    tally = run(seed, CASES)
    assert tally.mismatch is None, tally.mismatch
    assert sum(tally.outcomes.values()) == CASES
    assert tally.outcomes["read by both"] > CASES // 3, tally.outcomes
    assert tally.outcomes["refused by both"] > CASES // 50, tally.outcomes


def test_each_intended_difference_is_met() -> None:
    wanted, met = {difference.name for difference in DIFFERENCES}, set[str]()
    for seed in range(11, 31):  # the rarest ones may take some
        met |= set(run(seed, CASES).differences)
        if wanted <= met:
            break
    assert wanted <= met
