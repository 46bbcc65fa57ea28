"""The patient client: which answers count, what is asked again, and when it gives up."""

import json
import logging
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from luigi.rpc import RPCError

from luigi_ha.appliance.lab.ports import free_port
from luigi_ha.worker.client import (
    BadAddress,
    Credentials,
    GaveUp,
    Patience,
    PatientScheduler,
    Refused,
    Stale,
    parse_addresses,
)
from tests.support.patience import allowed, patient
from tests.worker.peers import Misbehaving, black_hole, drips, eventually, hangs_up, node, says

QUICK = Patience(first=0.02, most=0.1, connect=0.3, attempt=1.0, give_up_after=20)
GOOD = says("200 OK", b'{"response": {"n": 1}}')


def client(*urls: str, patience: Patience = QUICK, **more: Any) -> PatientScheduler:
    return PatientScheduler(parse_addresses(urls), patience, **more)


def test_p4_calls_outlast_a_node_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        scheduler = client(one.url, patience=Patience(first=0.05, most=0.3))
        scheduler.add_task(worker="w", task_id="Before_1")
        one.kill()
        done = threading.Event()

        def report() -> None:
            scheduler.add_task(worker="w", task_id="During_1")
            scheduler.close()
            done.set()

        reporting = threading.Thread(target=report)
        reporting.start()
        assert not done.wait(1.0)
        one.start()
        assert done.wait(patient(20))
        reporting.join()
        assert set(one.tasks()) == {"Before_1", "During_1"}
        scheduler.close()


def test_calls_through_kills_are_each_done_and_none_is_lost(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        scheduler = client(one.url, patience=Patience(first=0.05, most=0.2))
        added = 0
        stop = threading.Event()

        def strike() -> None:
            for kill in (1, 2):
                eventually(lambda kill=kill: added >= 10 * kill, lambda: f"{added} added")
                one.kill()
                one.start()
            stop.set()

        striking = threading.Thread(target=strike)
        striking.start()
        while not stop.is_set() and striking.is_alive():
            added += 1
            scheduler.add_task(worker="w", task_id=f"T_{added}")
        striking.join()
        scheduler.close()
        assert stop.is_set()
        assert set(one.tasks()) == {f"T_{number}" for number in range(1, added + 1)}
        assert scheduler.failed_attempts >= 2  # the kills bit


def test_addresses_that_refuse_or_swallow_connections_are_passed_over(tmp_path: Path) -> None:
    with node(tmp_path) as one, black_hole() as hole:
        scheduler = client(f"http://127.0.0.1:{free_port()}, {hole}", one.url)
        began = time.monotonic()
        scheduler.add_task(worker="w", task_id="T_1")
        assert time.monotonic() - began < allowed(5, began)
        failed = scheduler.failed_attempts
        assert failed == 2
        scheduler.add_task(worker="w", task_id="T_2")
        assert scheduler.failed_attempts == failed  # it stays with the one that answered
        scheduler.close()


@pytest.mark.parametrize(
    "answer",
    [
        hangs_up,
        says("500 Internal Server Error", b"<html>"),
        says("502 Bad Gateway", b"<html>"),
        says("404 Not Found", b"default backend - 404"),
        says("503 Service Unavailable", b'{"error": {"what": "nobody leads", "where": "gate"}}'),
        says("200 OK", b"<html>captive portal</html>"),
        says("200 OK", b"{}"),
        says("200 OK", b'{"response": {"n": 1}}', cut=9),
        drips,
    ],
    ids=["hangs up", "500", "502", "404 of a proxy", "503", "html", "no response", "cut off", "drips"],
)
def test_what_is_no_answer_is_asked_again_with_the_same_key(answer: Any) -> None:
    with Misbehaving(answer, GOOD) as server:
        scheduler = client(server.url)
        assert scheduler.count_pending(worker="w") == {"n": 1}
        assert len(server.requests) == 2
        assert len(set(server.keys())) == 1
        assert scheduler.count_pending(worker="w") == {"n": 1}
        assert len(set(server.keys())) == 2
        body = server.requests[0].partition(b"\r\n\r\n")[2].decode()
        assert json.loads(parse_qs(body)["data"][0]) == {"worker": "w"}


def test_a_503_is_asked_again_when_it_says() -> None:
    with Misbehaving(says("503 Service Unavailable", b"{}", "Retry-After: 1"), GOOD) as server:
        began = time.monotonic()
        client(server.url, patience=Patience(first=0.01, most=5)).count_pending(worker="w")
        assert 1.0 <= time.monotonic() - began < allowed(4, began)


def test_a_kept_connection_that_died_meanwhile_costs_nothing() -> None:
    kept = says("200 OK", b'{"response": {"n": 1}}', close=False)

    def once_then_hang_up(sock: Any) -> None:
        kept(sock)
        sock.recv(65536)
        sock.close()  # the next request on it is read and not answered

    with Misbehaving(once_then_hang_up, GOOD) as server:
        scheduler = client(server.url)
        scheduler.count_pending(worker="w")
        scheduler.count_pending(worker="w")
        assert scheduler.failed_attempts == 0
        assert len(server.requests) == 2


def test_refusals_are_final_and_say_why() -> None:
    problem = json.dumps({"title": "Stale attempt", "detail": "attempt 1 is over", "where": "run_id"}).encode()
    with Misbehaving(
        says("409 Conflict", problem, "Content-Type: application/problem+json"),
        says("400 Bad Request", b'{"error": {"what": "an int", "where": "worker"}}'),
    ) as server:
        scheduler = client(server.url)
        with pytest.raises(Stale, match="attempt 1 is over at run_id"):
            scheduler.add_task(worker="w", task_id="T_1")
        with pytest.raises(Refused, match="400: an int at worker") as refused:
            scheduler.add_task(worker="w", task_id="T_1")
        assert isinstance(refused.value, RPCError)
        assert len(server.requests) == 2


def test_luigi_server_that_lacks_a_rest_call_is_told_from_one_that_is_away() -> None:
    with Misbehaving(says("404 Not Found", b"<html>")) as server, pytest.raises(Refused):
        client(server.url).post("/api/heartbeat", {})


def test_giving_up_says_how_long_and_whether_it_may_have_been_executed() -> None:
    short = Patience(first=0.02, most=0.05, connect=0.2, attempt=0.2, give_up_after=0.3)
    with pytest.raises(GaveUp, match="Connection refused") as refused:
        client(f"http://127.0.0.1:{free_port()}", patience=short).add_task(worker="w", task_id="T")
    assert not refused.value.doubtful
    with Misbehaving(hangs_up) as server, pytest.raises(GaveUp) as cut:
        client(server.url, patience=short).add_task(worker="w", task_id="T")
    assert cut.value.doubtful


def test_a_ping_is_tried_once() -> None:
    with Misbehaving(hangs_up) as server:
        with pytest.raises(GaveUp):
            client(server.url).ping(worker="w")
        assert len(server.requests) == 1


def test_a_token_is_sent_again_when_its_file_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")

    def denies(sock: Any) -> None:
        file.write_text("newer\n")
        says("401 Unauthorized", b'{"title": "unknown token"}')(sock)

    with Misbehaving(denies, GOOD) as server:
        scheduler = client(server.url, credentials=Credentials(token_file=file))
        scheduler.count_pending(worker="w")
        assert [b"Bearer old" in server.requests[0], b"Bearer newer" in server.requests[1]] == [True, True]


def test_denied_for_good_is_refused() -> None:
    with Misbehaving(says("403 Forbidden", b'{"title": "needs role worker"}')) as server:
        patience = Patience(first=0.02, most=0.05, denied_for=0.2)
        with pytest.raises(Refused, match="needs role worker"):
            client(server.url, patience=patience).count_pending(worker="w")
        assert len(server.requests) > 1


def test_no_secret_in_what_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://luigi:hunter2@127.0.0.1:{free_port()}"
    scheduler = client(url, patience=Patience(first=0.02, most=0.05, give_up_after=0.2))
    with pytest.raises(GaveUp) as gave_up:
        scheduler.add_task(worker="w", task_id="T")
    with pytest.raises(BadAddress) as bad:
        parse_addresses(["ftp://luigi:hunter2@host:99999999"])
    shown = f"{gave_up.value!r} {bad.value!r} {caplog.text} {scheduler.__dict__}"
    assert "hunter2" not in shown
    assert "127.0.0.1" in shown
    with Misbehaving(GOOD) as server:
        client(server.url.replace("//", "//luigi:hunter2@")).count_pending(worker="w")
        assert b"Authorization: Basic bHVpZ2k6aHVudGVyMg==" in server.requests[0]


def test_a_process_forked_meanwhile_uses_connections_of_its_own(tmp_path: Path) -> None:
    with node(tmp_path) as one:
        scheduler = client(one.url)
        scheduler.add_task(worker="w", task_id="Parent_1")

        def child() -> None:
            for number in range(20):
                scheduler.add_task(worker="w", task_id=f"Child_{number}")

        forked = multiprocessing.get_context("fork").Process(target=child)
        forked.start()
        for number in range(20):
            scheduler.add_task(worker="w", task_id=f"Parent_{number}")
        forked.join(patient(20))
        assert forked.exitcode == 0
        assert len(one.tasks()) == 40
        assert scheduler.failed_attempts == 0
        scheduler.close()


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = f"/tmp/lha-{free_port()}.sock"
    with Misbehaving(GOOD, unix_socket=path):
        assert client("http+unix://" + path.replace("/", "%2F")).count_pending(worker="w") == {"n": 1}


def test_waits_are_random_and_bounded() -> None:
    slow = Patience(first=0.1, most=0.4, give_up_after=2.0)
    waits: list[float] = []

    def rest(seconds: float, doubtful: bool) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    with pytest.raises(GaveUp):
        client(f"http://127.0.0.1:{free_port()}", patience=slow, rest=rest).count_pending(worker="w")
    assert max(waits) <= 0.4
    assert len(set(waits)) > 3
