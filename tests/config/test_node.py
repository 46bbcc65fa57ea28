"""A node that is started with the luigi.cfg and in the environment that are there."""

import random
from pathlib import Path

import pytest

from tests.api.test_life import process
from tests.config.generating import service_variables

LUIGI_CFG = """\
[DEFAULT]
root = /var/lib
[core]
logging_conf_file = ${APP_HOME}/logging.cfg
default-scheduler-host = %(nobody)s
[scheduler]
record_task_history = True
state-path = %(root)s/state.pickle
disable-num-failures = 1
disable-window-seconds = 7200
disable-hard-timeout = 86400
remove_delay = inf
retry_delay = nan
worker-disconnect-delay = 600
max-reschedules = 3
retry_dealy = 5
[task_history]
db_connection = sqlite:////var/lib/history.db
[resources]
tape drive = -1
"""


def test_it_starts_runs_and_says_what_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "luigi.cfg").write_text(LUIGI_CFG)
    monkeypatch.chdir(tmp_path)
    environment = {
        **service_variables(random.Random(1), "LUIGI_HA"),
        **service_variables(random.Random(2), "LUIGI_HA_METRICS"),
        "LUIGI_HA_WORKERS": "4",
        "LUIGI_HA_PROT": "9000",
    }
    with process(tmp_path, environment=environment) as node:
        node.call("add_task", task_id="t", worker="w", resources={"disk": 1})
        assert node.call("get_work", worker="w")["task_id"] == "t"
        node.call("add_task", task_id="t", worker="w", status="FAILED", expl='"boom"')
        assert node.call("task_list", status="DISABLED").keys() == {"t"}
        (total,) = node.call("resource_list")
        assert (total["name"], total["num_total"]) == ("tape drive", -1)
        log = node.log.read_text()
    for words in (
        "option_not_used note=\"luigi.cfg:16: [scheduler] has no option 'retry_dealy'; did you mean 'retry_delay'?\"",
        'option_not_used note="environment variable LUIGI_HA_PROT is no option, and not used',
        'option_not_needed note="environment variable LUIGI_HA_PORT = ',
        'option_not_needed note="luigi.cfg:15: [scheduler] max-reschedules is an option of workers',
        'option_not_needed note="luigi.cfg:9: [scheduler] disable-num-failures is read as [scheduler] retry_count',
    ):
        assert words in log, words
