"""The small parts: log lines, scheduler time, e-mails, the Unix socket, the count of metrics."""

import io
import json
import logging
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from luigi_ha.appliance import log
from luigi_ha.appliance.api.metrics import MAX_FAMILIES, Metrics
from luigi_ha.appliance.clock import SchedulerClock, wall
from luigi_ha.appliance.engine.changes import Mail, Transition
from luigi_ha.appliance.mail import MailOptions, Postman, send_smtp
from luigi_ha.appliance.node import ExitCode
from tests.api.serving import run, serving
from tests.support.patience import patient


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, list(root.handlers), logging.raiseExceptions
    yield
    root.level, root.handlers, logging.raiseExceptions = before[0], before[1], before[2]
    for name in ("luigi_ha", "alembic", "aiohttp"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_restored_logging")
def test_a_line_is_one_event_with_fields() -> None:
    out = io.StringIO()
    log.configure("keyvalue", "info", out)
    log.get("node").info("leading", epoch=3, holder="a b", empty="", seconds=0.25, odd="ü=\n")
    log.get("node").debug("not_shown")
    logging.getLogger("other").warning("free %s", "text")
    first, second = out.getvalue().splitlines()
    assert first.endswith(r'info node leading epoch=3 holder="a b" empty="" seconds=0.25 odd="\u00fc=\n"')
    assert second.endswith('warning other library message="free text"')


@pytest.mark.usefixtures("_restored_logging")
def test_json_lines_can_be_parsed_and_carry_the_traceback() -> None:
    out = io.StringIO()
    log.configure("json", "debug", out)
    try:
        raise ValueError("x")
    except ValueError:
        log.get("api").exception("engine_failed", method="ping", odd={1})
    line = json.loads(out.getvalue())
    assert (line["level"], line["part"], line["event"], line["method"]) == ("error", "api", "engine_failed", "ping")
    assert "ValueError: x" in line["traceback"]


def test_scheduler_time_never_goes_back() -> None:
    clock = SchedulerClock()
    first = clock()
    assert abs(first - wall()) < 1
    clock.not_before(first + 1000)
    assert clock() == clock() == clock.last == first + 1000
    clock.not_before(5.0)
    assert clock() == first + 1000


def test_a_node_starts_where_the_log_ended_even_if_its_clock_is_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            served.node.clock.not_before(wall() + 500)
            await served.add_task("A_1")
            then = served.node.clock.last
        async with serving(tmp_path) as served:
            await served.add_task("B_1")
            assert served.node.clock.last >= then

    run(scenario())


@contextmanager
def smtp_server() -> Iterator[tuple[int, list[str]]]:
    """A mail server that takes everything: the port, and the messages it was given."""
    messages: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as lines:
                    _converse(connection, lines, messages)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], messages
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(patient(5))


def _converse(connection: socket.socket, lines: Iterable[bytes], messages: list[str]) -> None:
    connection.sendall(b"220 here\r\n")
    body: list[str] | None = None
    for raw in lines:
        line = raw.decode().rstrip()
        if body is not None and line != ".":
            body.append(line)
            continue
        if body is not None:
            messages.append("\n".join(body))
            body = None
        if line.upper() == "DATA":
            body = []
        connection.sendall({"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(line.upper(), b"250 fine\r\n"))


def test_mails_go_out_after_the_commit_and_not_before() -> None:
    with smtp_server() as (port, messages):
        options = MailOptions(host="127.0.0.1", port=port, receivers=("all@x",), prefix="[ha]")
        postman = Postman(lambda mail: send_smtp(options, mail))
        postman.start()
        postman.hold(5, [Mail(None, "five", "body 5")])
        postman.hold(7, [Mail("owner@x", "seven", "body 7")])
        postman.release(4)
        time.sleep(0.1)
        assert messages == []
        postman.release(6)
        until = time.monotonic() + patient(5)
        while not messages and time.monotonic() < until:
            time.sleep(0.01)
        postman.close(5)
        assert len(messages) == 1
        assert "To: all@x" in messages[0]
        assert "Subject: [ha] five" in messages[0]
        assert "body 5" in messages[0]


def test_no_mail_goes_out_if_mails_are_off() -> None:
    sent: list[Mail] = []
    for off in (True, False):
        postman = Postman(sent.append, off=off)
        postman.start()
        postman.hold(1, [Mail(None, f"off is {off}", "")])
        postman.release(1)
        postman.close(5)
    assert [mail.subject for mail in sent] == ["off is False"]


def test_a_mail_server_that_is_away_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    postman = Postman(lambda mail: send_smtp(MailOptions(host="127.0.0.1", port=port, receivers=("a@x",)), mail))
    postman.start()
    postman.hold(1, [Mail(None, "lost", ""), Mail(None, "lost too", "")])
    postman.release(1)
    postman.close(5)
    assert [record.message for record in caplog.records] == ["mail_failed", "mail_failed"]


def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "ha.sock"
    path.touch()
    command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--unix-socket", str(path)]
    node = subprocess.Popen([*command, "--database", f"sqlite:///{tmp_path}/x.db"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + patient(60)
        answer = b""
        while not answer.startswith(b"HTTP/1.1 200") and time.monotonic() < until:  # 503: its start outlasts the park
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                except OSError:
                    time.sleep(0.05)
                    continue
                client.sendall(b"GET /api/is_paused HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = client.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200")
    finally:
        node.terminate()
        assert node.wait(patient(10)) == ExitCode.OK
    assert not path.exists()


def test_a_schema_from_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("A_1")

    run(scenario())
    with closing(sqlite3.connect(tmp_path / "luigi.db")) as database:
        database.execute("UPDATE luigi_schema SET version_num = '9999'")
        database.commit()
        before = list(database.execute("SELECT epoch, seq, hash FROM leadership"))
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--election", "none"]
        command += ["--host", "127.0.0.1", "--port", "0"]
        url = f"sqlite:///{tmp_path}/luigi.db"
        done = subprocess.run(
            [*command, "--database", url], capture_output=True, text=True, timeout=patient(30), check=False
        )
        assert done.returncode == ExitCode.SCHEMA, done.stderr
        assert "9999" in done.stderr
        assert list(database.execute("SELECT epoch, seq, hash FROM leadership")) == before


def test_labels_are_bounded_and_printable() -> None:
    metrics = Metrics()
    metrics.transitions(Transition(f"n.F{i}", "n", "RUNNING", "DONE") for i in range(MAX_FAMILIES + 100))
    metrics.transitions([Transition("x", "", "PENDING", "RUNNING")])
    shown = metrics.render().decode()
    assert shown.count("luigi_task_success_total{") == MAX_FAMILIES + 1
    assert 'luigi_task_success_total{family="_other",namespace="_other"} 100.0' in shown
    metrics = Metrics()
    metrics.transitions([Transition("\ud800" + "x" * 1000, "", "RUNNING", "FAILED")])
    assert "luigi_task_failure_total" in metrics.render().decode()
