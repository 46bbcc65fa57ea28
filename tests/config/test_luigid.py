"""`luigid` itself: that what the differential calls refused, or taken, is what a luigid makes of it."""

import http.client
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import luigi.scheduler
import pytest

from luigi_ha.appliance.config import ConfigError
from luigi_ha.appliance.lab.ports import free_port
from tests.config import reference
from tests.config.comparing import values
from tests.config.generating import Case
from tests.support.patience import patient

TAKEN = {
    "an infinite delay": "[scheduler]\nworker_disconnect_delay = inf\nremove_delay = nan\ndisable_window = -1\n",
    "a format of e-mails nobody collects": "[email]\nformat = fancy\n[smtp]\nport = soon\n",
    "a reference of others": "[core]\ntmp = ${NOWHERE}\n[MyTask]\npath = %(nowhere)s\n[resources]\ngpu = -1\n",
    "old names": "[scheduler]\ndisable-num-failures = many\nmax-reschedules = 3\n",
}
REFUSED = {
    "a format of e-mails that are collected": "[scheduler]\nbatch_emails = true\n[email]\nformat = fancy\n",
    "a wrong number in [cors]": "[cors]\nmax_age = soon\n",
    "an option twice": "[scheduler]\nretry_count = 1\nretry_count = 2\n",
    "an empty number": "[scheduler]\nretry_delay =\n",
    "a comment behind a value": "[scheduler]\nretry_delay = 5 ; s\n",
    "a resource that is no number": "[resources]\ngpu = many\n",
}


@pytest.mark.parametrize("name", [*TAKEN, *REFUSED])
def test_luigid_starts_and_answers_where_we_say_so(name: str, tmp_path: Path) -> None:
    case = Case({"luigi.cfg": (TAKEN | REFUSED)[name].encode()})
    case.write(tmp_path, tmp_path)
    with reference.placed(tmp_path, tmp_path / "etc", {}):
        assert (reference.read().refuses() == "") is (name in TAKEN)
    assert answers(tmp_path) is (name in TAKEN)
    if name in TAKEN:
        values(case)
    else:
        with pytest.raises(ConfigError, match=r"luigi.cfg:\d"):
            values(case)


def answers(directory: Path) -> bool:
    """Whether a luigid in the directory answers a call; false when it has ended, or breaks the connection."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("luigid")), "--address", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUIGI_")}
    with (directory / "log").open("w") as log:
        luigid = subprocess.Popen(
            [*command, "--state-path", str(directory / "state")], cwd=directory, env=environment, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + patient(60)
        while luigid.poll() is None:
            assert time.monotonic() < deadline, (directory / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/is_paused", timeout=30) as reply:
                    return bool(reply.status == 200)
            except (urllib.error.HTTPError, http.client.RemoteDisconnected):
                return False
            except OSError:
                time.sleep(0.1)
        return False
    finally:
        luigid.kill()
        luigid.wait()


def test_what_was_read_stays_with_whom_it_was_read_for(tmp_path: Path) -> None:
    """Luigi's configuration is one for the process, in which other tests run as well."""
    before = luigi.scheduler.scheduler().retry_delay
    (tmp_path / "luigi.cfg").write_text("[scheduler]\nretry_delay = 4711\n")
    with reference.placed(tmp_path, tmp_path / "etc", {}):
        assert reference.read().values["scheduler"]["retry_delay"] == 4711
    assert luigi.scheduler.scheduler().retry_delay == before
