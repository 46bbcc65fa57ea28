"""No secret shows: not in logs, not in the process list, not in errors, not in what a node tells of itself."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import luigi.rpc
import pytest

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.lab.ports import free_port
from tests.access.tokens import database, made
from tests.support.patience import patient
from tests.support.rpc_errors import rpc_error

VIEWER, WORKER, OPERATOR = made(Role.VIEWER, "eyes"), made(Role.WORKER, "etl"), made(Role.OPERATOR, "boss")
UNKNOWN, REVOKED = made(Role.WORKER), made(Role.WORKER, "old", revoked_at=1.0)
PASSWORDS = ("hunter2", "database-secret", "etcd-secret", "smtp-secret")
START = 60.0  # s


@contextmanager
def node(directory: Path) -> Iterator[tuple[int, Path]]:
    """`luigi-ha serve` that logs everything; its port and its log."""
    port, log = free_port(), directory / "log"
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--election", "none", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--database", f"sqlite:///{directory}/luigi.db", "--log-level", "debug"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "LUIGI_HA_AUTH": "on"})
    try:
        until = time.monotonic() + START
        while b"gate_open" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield port, log
    finally:
        process.terminate()
        process.wait(START)


def shapes(secret: str) -> list[str]:
    """How a secret may look on its way."""
    pair = base64.b64encode(f"anybody:{secret}".encode()).decode()
    return [secret, secret.rpartition("_")[2], pair]


def everything_said(port: int, headers: dict[str, str]) -> str:
    """What many requests are answered, and their heads."""
    said = []
    for path, body in (
        ("/api/cluster", None),
        ("/health", None),
        ("/metrics", None),
        ("/api/add_task", b"data=%7B%7D"),
        ("/api/add_task", b"data=nonsense"),
        ("/api/pause", b""),
        ("/api/nothing", None),
        ("/api/task/none/why", None),
        ("/api/heartbeat", b"{"),
        ("/api/worker_list", None),
    ):
        request = Request(f"http://127.0.0.1:{port}{path}", body, headers)
        try:
            with urlopen(request, timeout=patient(20)) as reply:
                said.append(f"{reply.headers}{reply.read().decode()}")
        except HTTPError as error:
            with error:
                said.append(f"{error.headers}{error.read().decode()}")
    return "\n".join(said)


def test_tokens_show_nowhere(tmp_path: Path) -> None:
    database(tmp_path, VIEWER, WORKER, OPERATOR, REVOKED)
    with node(tmp_path) as (port, log):
        said = ""
        for token in (VIEWER, WORKER, OPERATOR, UNKNOWN, REVOKED):
            for headers in (token.headers, token.basic_headers):
                said += everything_said(port, headers)
        wrong = "Basic " + base64.b64encode(b"me:nobody-elses-word").decode()  # other tests run beside it
        said += everything_said(port, {"Authorization": wrong})
        said += subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
        said += log.read_text()
    assert "access_refused status" not in said
    for reason in ("why=unknown", "why=revoked token=old", "why=role", "why=malformed"):
        assert reason in said
    for secret in (VIEWER, WORKER, OPERATOR, UNKNOWN, REVOKED):
        for shape in shapes(secret.text):
            assert shape not in said
        assert secret.kept.digest.hex() not in said
    assert "nobody-elses-word" not in said
    assert wrong[6:] not in said


@pytest.mark.parametrize("fetcher", [luigi.rpc.RequestsFetcher, luigi.rpc.URLLibFetcher])
def test_stock_luigi_shows_its_token_as_the_password_in_its_url(tmp_path: Path, fetcher: type) -> None:
    database(tmp_path, WORKER, REVOKED)
    with node(tmp_path) as (port, log):

        def client(secret: str) -> luigi.rpc.RemoteScheduler:
            made = luigi.rpc.RemoteScheduler(f"http://any:{secret}@127.0.0.1:{port}")
            made.close()
            made._fetcher = fetcher()
            made._rpc_retry_attempts = 1
            return made

        good = client(WORKER.text)
        try:
            good.add_task(task_id="A_1", worker="w", family="A", module="m", params={})
            assert good.get_work(worker="w")["task_id"] == "A_1"
            good.add_task(task_id="A_1", worker="w", family="A", status="DONE")
        finally:
            good.close()
        refused = client(REVOKED.text)
        try:
            with rpc_error():
                refused.ping(worker="w")
        finally:
            refused.close()
        ours = log.read_text()
    assert "why=revoked" in ours
    for secret in (WORKER.text, REVOKED.text):
        assert not any(shape in ours for shape in shapes(secret))


def test_check_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("KEY-SECRET")
    toml = tmp_path / "ha.toml"
    toml.write_text(
        "database = 'postgresql://luigi@h/d'\ndatabase_password = 'database-secret'\netcd_password = 'etcd-secret'\n"
        "auth = 'on'\n[email]\npassword = 'smtp-secret'\n"
    )
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--check", "--config", str(toml)]
    environment = {**os.environ, "LUIGI_HA_TOKEN": OPERATOR.text}
    for form in ([], ["--json"]):
        done = subprocess.run([*command, *form], capture_output=True, text=True, env=environment, check=True)
        assert re.search(r"auth\W+.*on", done.stdout)
        for secret in (*PASSWORDS, *shapes(OPERATOR.text)):
            assert secret not in done.stdout + done.stderr
    assert json.loads(done.stdout)["auth"]["value"] == "on"
