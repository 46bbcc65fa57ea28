"""Whom a command asks: the first of several URLs that answers, or the node of the configuration; earlier names too."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luigi_ha.appliance.cli import transport, where
from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.config import sources
from luigi_ha.appliance.lab.ports import free_port
from tests.cli.running import Done, luigi_ha
from tests.support.node_process import NodeProcess, node_process
from tests.support.patience import patient


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with node_process(tmp_path_factory.mktemp("where")) as running:
        running.send("PUT", "/api/task/Load_1", {"family": "Load"})
        yield running


def down() -> str:
    return f"http://127.0.0.1:{free_port()}"


class NoScheduler(BaseHTTPRequestHandler):
    """Another program: of some paths a page, of others an error of a proxy."""

    def do_GET(self) -> None:
        page = b"<html>hello</html>"
        self.send_response(200 if "/task/" in self.path else 503)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def other_program() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoScheduler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_one_that_is_down_is_passed_over(node: NodeProcess, other_program: str) -> None:
    for urls in (f"{down()},{node.url}", f"{down()} {node.url}", f"{node.url},{down()}", f"{other_program},{node.url}"):
        for told in (["--scheduler-url", urls], ["--url", urls]):
            done = luigi_ha("task", "show", "Load", *told)
            assert (done.returncode, done.stderr) == (0, ""), urls
        for name in ("LUIGI_HA_SCHEDULER_URL", "LUIGI_HA_URL"):
            assert luigi_ha("status", "--json", environment={name: urls}).returncode == 0, urls
    repeated = luigi_ha("why", "Load", "--scheduler-url", down(), "--scheduler-url", node.url)
    assert repeated.returncode == 0
    assert luigi_ha("task", "cancel", "Load", "--scheduler-url", f"{down()},{node.url}").returncode == 0


def test_one_that_says_nothing_is_passed_over(
    node: NodeProcess, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luigi_ha.appliance.cli.transport.ANSWER", 0.3)
    assert luigi_ha("why", "Load", "--scheduler-url", f"{silent},{node.url}").returncode == 0
    alone = luigi_ha("why", "Load", "--scheduler-url", silent)
    assert (alone.returncode, "timed out" in alone.stderr) == (3, True)


def test_one_that_refuses_has_answered_and_the_silent_one_is_not_asked_again(
    node: NodeProcess, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luigi_ha.appliance.cli.transport.ANSWER", 0.3)
    asked = []
    opener = transport.opener
    monkeypatch.setattr(
        "luigi_ha.appliance.cli.client.opener", lambda url, context: asked.append(url) or opener(url, context)
    )
    scheduler = Scheduler(At((silent, node.url)))
    assert scheduler.find("/api/task/nobody") is None
    assert scheduler.get("/api/task/Load_1")["task_id"] == "Load_1"
    assert asked == [silent, node.url, node.url]


def test_this_machines_own_address_is_not_asked_of_a_proxy(node: NodeProcess) -> None:
    environment = {"http_proxy": down(), "no_proxy": "", "LUIGI_HA_SCHEDULER_URL": node.url}
    assert luigi_ha("why", "Load", environment=environment).returncode == 0


def test_a_link_to_a_service_is_no_configuration(node: NodeProcess, tmp_path: Path) -> None:
    linked = {"LUIGI_HA_CONFIG": "tcp://10.0.0.1:8082"}
    checked = luigi_ha("serve", "--check", directory=tmp_path, environment=linked)
    assert checked.returncode == 0, checked.stderr
    asked = {**linked, "LUIGI_HA_SCHEDULER_URL": node.url}
    assert luigi_ha("why", "Load", environment=asked).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUIGI_HA_CONFIG", linked["LUIGI_HA_CONFIG"])
        assert where.located(At(), [], None) == At()


def test_if_all_are_down_each_is_told(other_program: str) -> None:
    one, two = down(), down()
    done = luigi_ha("status", "--scheduler-url", f"{one},{two},{other_program}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    for said in (f"{one}: ", f"{two}: ", "refused", f"{other_program}: answers 503", "not as luigi-ha does"):
        assert said in done.stderr


@pytest.mark.parametrize(
    "url",
    ["nonsense", "ftp://n1", "http://", "http:///api", "http://n1:port", "http://n1:99999", "http://[::1", "http+unix://",
     "", " , ", "http://n1,nonsense", "http://me:secret@n1", "http://n1\x07"],
)  # fmt: skip
def test_what_is_no_url_is_refused_in_one_line(url: str) -> None:
    done = luigi_ha("status", "--scheduler-url", url)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1
    assert "--scheduler-url" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", ["http://127.0.0.1:8082"]),
        ("port = 9000", ["http://127.0.0.1:9000"]),
        ("host = '10.0.0.1'", ["http://10.0.0.1:8082"]),
        ("host = '::1'", ["http://[::1]:8082"]),
        ("advertise = 'http://n1:8082/'", ["http://n1:8082", "http://127.0.0.1:8082"]),
        ("unix_socket = '/run/luigi ha.sock'", ["http+unix://%2Frun%2Fluigi%20ha.sock"]),
        (
            """
            advertise = 'http://10.0.0.1:8082'
            database = 'postgresql://u@d/d'
            etcd_endpoints = ['http://e:2379']
            vip = ['10.0.0.100/32', 'fd00::1/128']
            vip_interface = 'eth0'
            """,
            ["http://10.0.0.1:8082", "http://127.0.0.1:8082", "http://10.0.0.100:8082", "http://[fd00::1]:8082"],
        ),
        (
            "tls_certificate = '/c'\ntls_key = '/k'\ntls_ca = '/ca'\nadvertise = 'https://n1:8082'",
            ["https://n1:8082", "https://127.0.0.1:8082"],
        ),
    ],
)
def test_the_node_of_the_configuration_is_asked(tmp_path: Path, options: str, wanted: list[str]) -> None:
    (tmp_path / "node.toml").write_text(options)
    at = where.located(At(), [], tmp_path / "node.toml")
    assert list(at.urls) == wanted
    assert at.tls_ca == ("/ca" if "tls_ca" in options else "")
    assert where.located(At(tls_ca="/mine"), [], tmp_path / "node.toml").tls_ca == "/mine"


def test_the_systems_configuration_is_found(
    node: NodeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "luigi-ha.toml"
    system.write_text(f"host = '127.0.0.1'\nport = {node.port}\n")
    monkeypatch.setattr(sources, "SYSTEM_TOML", system)
    assert luigi_ha("why", "Load").returncode == 0
    system.write_text("prot = 1\n")
    wrong = luigi_ha("why", "Load")
    assert wrong.returncode == 2
    assert "did you mean 'port'" in wrong.stderr
    assert "--scheduler-url" in wrong.stderr
    assert luigi_ha("why", "Load", "--scheduler-url", node.url).returncode == 0


def test_the_command_line_goes_before_the_environment(node: NodeProcess, tmp_path: Path) -> None:
    config, elsewhere = tmp_path / "node.toml", tmp_path / "other.toml"
    config.write_text(f"host = '127.0.0.1'\nport = {node.port}\n")
    elsewhere.write_text(f"host = '127.0.0.1'\nport = {free_port()}\n")
    rows: list[tuple[list[str], dict[str, str], int]] = [
        (["--config", str(config)], {"LUIGI_HA_SCHEDULER_URL": down()}, 0),
        (["--scheduler-url", node.url], {"LUIGI_HA_CONFIG": str(elsewhere)}, 0),
        (["--url", node.url], {"LUIGI_HA_SCHEDULER_URL": down()}, 0),
        ([], {"LUIGI_HA_SCHEDULER_URL": node.url, "LUIGI_HA_URL": down(), "LUIGI_HA_CONFIG": str(elsewhere)}, 0),
        ([], {"LUIGI_HA_URL": node.url, "LUIGI_HA_CONFIG": str(elsewhere)}, 0),
        ([], {"LUIGI_HA_CONFIG": str(config)}, 0),
        ([], {"LUIGI_HA_CONFIG": str(elsewhere)}, 3),
        (["--config", str(tmp_path / "gone.toml")], {"LUIGI_HA_SCHEDULER_URL": node.url}, 2),
    ]
    for arguments, environment, code in rows:
        done = luigi_ha("why", "Load", *arguments, environment=environment)
        assert done.returncode == code, (arguments, environment, done)


def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "lha.sock"
    log = tmp_path / "serve.log"
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--unix-socket", str(path)]
    with log.open("w") as out:
        serving = subprocess.Popen(
            [*command, "--database", f"sqlite:///{tmp_path}/x.db"], stdout=out, stderr=out, env={**os.environ}
        )
    try:
        until(lambda: "gate_open" in log.read_text(), log)
        (tmp_path / "node.toml").write_text(f"unix_socket = '{path}'\n")
        assert luigi_ha("status", "--config", str(tmp_path / "node.toml")).returncode == 0
        url = "http+unix://" + str(path).replace("/", "%2F")
        assert luigi_ha("resource", "set", "gpu", "2", "--scheduler-url", url).returncode == 0
        gone = luigi_ha("status", "--scheduler-url", url + "x")
        assert (gone.returncode, "No such file" in gone.stderr) == (3, True)
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(patient(60))


def until(true: "object", log: Path) -> None:
    """Wait for it."""
    waiting = threading.Event()
    deadline = patient(90)
    while not true():  # type: ignore[operator]
        deadline -= 0.1
        assert deadline > 0, log.read_text()
        waiting.wait(0.1)


def test_a_watch_shows_the_outage_and_goes_on(tmp_path: Path) -> None:
    """JSON: one document a line, until it is interrupted, through the death of the node."""
    with node_process(tmp_path) as node:
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "status", "--watch", "0.2", "--json"]
        watching = subprocess.Popen(
            [*command, "--scheduler-url", node.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert watching.stdout is not None
        try:
            assert json.loads(watching.stdout.readline())["leading"] is True
            node.stop()
            while "error" not in (state := json.loads(watching.stdout.readline())):
                pass
            assert "no scheduler answers" in state["error"]
            node.start()
            while not json.loads(watching.stdout.readline()).get("leading"):
                pass
        finally:
            watching.send_signal(signal.SIGINT)
            _, said = watching.communicate(timeout=patient(60))
    assert (watching.returncode, said) == (0, "")


@pytest.mark.parametrize("arguments", ["--watch", "--watch 1000", "--watch=1000"])
def test_a_watch_for_people_ends_with_the_interrupt(
    node: NodeProcess, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    slept = []

    def interrupted(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("luigi_ha.appliance.cli.watching.time.sleep", interrupted)
    done = luigi_ha("status", *arguments.split(), "--scheduler-url", node.url)
    assert (done.returncode, done.stdout.count("leader:")) == (0, 2)
    assert slept == [2.0, 2.0] if arguments == "--watch" else [1000.0, 1000.0]
    assert "until Ctrl-C" in done.stdout


def test_what_asking_again_cannot_mend_ends_a_watch(tmp_path: Path, node: NodeProcess) -> None:
    for arguments in ("--watch 0", "--watch x", "--watch -3", "--watch --scheduler-url nonsense"):
        assert luigi_ha("status", *arguments.split()).returncode == 2, arguments
    (tmp_path / "token").write_text("")
    empty: Done = luigi_ha("status", "--watch", "--token-file", str(tmp_path / "token"), "--scheduler-url", node.url)
    assert empty.returncode == 2


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(CommandError) as refused:
        where.checked("http://me:hunter2@n1:8082")
    assert "hunter2" not in str(refused.value)
