"""A node as a process: how it stops, how it is fenced, what it tells its supervisor, how it survives SIGKILL."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.appliance.node import ExitCode
from luigi_ha.appliance.node.states import TRANSITIONS, Life, State
from luigi_ha.ha.supervisor import Supervisor
from tests.api.serving import eventually, form, request, run, serving, whole
from tests.support.patience import allowed, patient

COMMAND = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve"]
ALONE = ["--election", "none"]


class Reply(NamedTuple):
    status: int
    body: bytes


class Process:
    """`luigi-ha serve` as a process of its own."""

    def __init__(self, directory: Path, *flags: str, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.log = directory / f"serve-{self.port}.log"
        database = f"sqlite:///{directory}/luigi.db"
        command = [*COMMAND, "--database", database, "--host", "127.0.0.1", "--port", str(self.port), *ALONE, *flags]
        with self.log.open("w") as out:
            self.popen = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})

    def call(self, method: str, **arguments: Any) -> Any:
        reply = self._asked(method, **arguments)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)["response"]

    def _asked(self, method: str, **arguments: Any) -> Reply:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=patient(10))) as connection:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"/api/{method}", urlencode({"data": json.dumps(arguments)}), headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read())

    def ready(self) -> None:
        """Wait until it serves. A call parks while it starts, and is answered 503 if that takes longer."""
        until = time.monotonic() + patient(60)
        while time.monotonic() < until and self.popen.poll() is None:
            try:
                if self._asked("is_paused").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())


@contextmanager
def process(directory: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[Process]:
    serving = Process(directory, *flags, environment=environment)
    try:
        serving.ready()
        yield serving
    finally:
        if serving.popen.poll() is None:
            serving.popen.kill()
        serving.popen.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: int) -> None:
    with process(tmp_path) as served:
        served.call("add_task", task_id="A_1", worker="w")
        idle = socket.create_connection(("127.0.0.1", served.port))
        served.popen.send_signal(number)
        assert served.popen.wait(patient(5)) == ExitCode.OK
        assert idle.recv(1) == b""
        idle.close()
        assert "transition=stop before=draining after=stopped" in served.log.read_text()


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    with process(tmp_path) as served:
        for number in range(20):
            served.call("add_task", task_id=f"A_{number}", worker="w")
        served.call("pause")
        served.popen.kill()
        served.popen.wait()
    with process(tmp_path) as served:
        assert len(served.call("task_list", status="")) == 20
        assert served.call("is_paused") == {"paused": True}


def test_a_second_serve_fences_the_first_which_says_so_and_exits(tmp_path: Path) -> None:
    with process(tmp_path, environment={"LUIGI_HA_POSITION_CHECK_EVERY": "60"}) as first:
        first.call("add_task", task_id="A_1", worker="w")
        with process(tmp_path) as second:
            with pytest.raises((OSError, AssertionError)):
                first.call("add_task", task_id="B_1", worker="w")
            assert first.popen.wait(patient(5)) == ExitCode.FENCED
            assert "fenced" in first.log.read_text()
            assert list(second.call("task_list", status="")) == ["A_1"]


def test_an_idle_node_notices_that_it_was_fenced(tmp_path: Path) -> None:
    with process(tmp_path, environment={"LUIGI_HA_POSITION_CHECK_EVERY": "0.2"}) as first, process(tmp_path):
        assert first.popen.wait(patient(5)) == ExitCode.FENCED


def test_calls_in_flight_are_finished_before_it_stops(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            calls = [asyncio.create_task(served.add_task(f"A_{i}")) for i in range(50)]
            await eventually(lambda: served.node.dispatcher.waiting > 0)
            served.node.stop("test")
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            done = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
            assert done
            assert await served.ending is ExitCode.OK
        async with serving(tmp_path) as served:
            kept = await served.call("task_list", status="")
            assert {f"A_{i}" for i in done} <= set(kept)

    run(scenario())


def test_a_port_in_use_and_an_unwritable_directory_end_with_one_line(tmp_path: Path) -> None:
    with process(tmp_path) as served:
        for flags, code, words in (
            (
                ["--port", str(served.port), "--database", f"sqlite:///{tmp_path}/other.db"],
                ExitCode.CONFIG,
                "cannot_listen",
            ),
            (["--port", "0", "--database", "sqlite:////nowhere/at/all.db"], ExitCode.FAILED, "database_unusable"),
            (["--port", "0", "--database", "nonsense://x"], ExitCode.CONFIG, "expected sqlite:///"),
        ):
            command = [*COMMAND, *ALONE, "--host", "127.0.0.1", *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=patient(20), check=False)
            assert done.returncode == code, done.stderr
            assert words in done.stderr
            assert "Traceback" not in done.stderr


@contextmanager
def supervisor_listening(address: str) -> Iterator[list[str]]:
    """What is said to a supervisor, as it comes: its socket keeps ten messages, and the rest is lost."""
    heard: list[str] = []
    over = threading.Event()

    def listen(systemd: socket.socket) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                heard.append(systemd.recv(1000).decode())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(0.05)
        listening = threading.Thread(target=listen, args=(systemd,))
        listening.start()
        try:
            yield heard
        finally:
            over.set()
            listening.join()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@luigi-ha-test-{os.getpid()}" if abstract else str(tmp_path / "notify")

    def has_said(wanted: str, times: int = 1) -> bool:
        until = time.monotonic() + patient(30)
        while time.monotonic() < until and sum(message.startswith(wanted) for message in heard) < times:
            time.sleep(0.02)
        return sum(message.startswith(wanted) for message in heard) >= times

    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
    address = "\0" + name[1:] if abstract else name
    with supervisor_listening(address) as heard, process(tmp_path, environment=environment) as served:
        assert has_said("READY=1\nSTATUS=leading, epoch 1")
        assert has_said("WATCHDOG=1", times=3)
        served.popen.terminate()
        assert has_said("STOPPING=1")
        served.popen.wait(patient(5))


def test_no_supervisor_is_no_trouble() -> None:
    supervisor = Supervisor({})
    supervisor.ready("leading")
    assert supervisor.watchdog_every is None
    Supervisor({"NOTIFY_SOCKET": "/nowhere"}).ready("nobody listens")
    assert Supervisor({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}).watchdog_every is None


def test_only_the_named_transitions_move_a_node() -> None:
    for name, row in TRANSITIONS.items():
        for state in State:
            life = Life()
            life.state = state
            if state in row.before:
                life.fire(name)
                assert life.state is row.after
            else:
                with pytest.raises(RuntimeError):
                    life.fire(name)


def test_ten_thousand_idle_connections_do_not_hurt(tmp_path: Path) -> None:
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(10_000, hard - 500)
    if wanted < 1000:
        pytest.skip(f"only {hard} files may be open here")
    with process(tmp_path) as served:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        idle: list[socket.socket] = []
        try:
            while len(idle) < wanted:
                idle.append(socket.create_connection(("127.0.0.1", served.port), timeout=patient(10)))
            began = time.monotonic()
            for number in range(200):
                served.call("ping", worker=f"w{number % 3}")
            assert time.monotonic() - began < allowed(5, began)
            idle[-1].sendall(whole("POST", "/api/is_paused", b""))
            assert idle[-1].recv(1000).startswith(b"HTTP/1.1 200")
            served.popen.terminate()
            assert served.popen.wait(patient(15)) == ExitCode.OK
        finally:
            for connection in idle:
                connection.close()


def test_idle_connections_are_closed_after_a_while(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, keep_alive=1.0) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            assert await asyncio.wait_for(reader.read(), patient(5)) == b""
            writer.close()
            assert (await request(served.port, "POST", "/api/ping", form({"worker": "w"}))).status == 200

    run(scenario())
