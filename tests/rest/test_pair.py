"""The REST API of two nodes: either of them takes any call, and both know what was answered."""

import json
import os
import signal
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.pair.running import pair
from tests.support.patience import patient


def ask(port: int, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    """On a connection of its own: the kernel decides which of the two takes it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patient(40))
    try:
        headers = {} if key is None else {"Idempotency-Key": key}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_the_next_leader_gives_the_first_answer(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        assert ask(two.port, "PUT", "/api/task/A_1", {"family": "A"}, "put")[0] == 201
        status, first = ask(two.port, "POST", "/api/task", {"worker": "v"}, "take")
        assert (status, first["task_id"], first["attempt"]) == (200, "A_1", 1)
        os.kill(leader.scheduler, signal.SIGKILL)
        two.leader(after=epoch)
        for _ in range(6):  # both of them
            assert ask(two.port, "POST", "/api/task", {"worker": "v"}, "take") == (200, first)
            assert ask(two.port, "PUT", "/api/task/A_1", {"family": "A"}, "put")[0] == 201
            assert ask(two.port, "PUT", "/api/task/A_2", {"family": "A"}, "put")[0] == 422
        done = {"worker": "v", "tasks": [{**{n: first[n] for n in ("task_id", "attempt", "run_id")}, "status": "DONE"}]}
        assert ask(two.port, "POST", "/api/heartbeat", done, "done")[1]["accepted"] == ["A_1"]
        assert ask(two.port, "GET", "/api/task/A_1")[1]["attempt"] == 1


def test_who_waits_is_served_through_either_node(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        found: list[tuple[float, int, Any]] = []

        def wait(number: int) -> None:
            status, run = ask(two.port, "POST", "/api/task", {"worker": f"v{number}", "wait": 25})
            found.append((time.monotonic(), status, run))

        threads = [threading.Thread(target=wait, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        two.eventually(lambda: len(ask(two.port, "GET", "/api/worker")[1]) == 16, "all of them wait")
        shown = [ask(two.port, "GET", "/health")[1] for _ in range(40)]
        connections = {node["leading"]: node["connections"] for node in shown}
        assert min(connections[True], connections[False]) > 1, "all of them came to one of the two: nothing is shown"
        tasks = [{"task_id": f"A_{number}", "family": "A"} for number in range(16)]
        assert ask(two.port, "POST", "/api/tasks", {"tasks": tasks}) == (200, {"added": 16, "known": 0})
        added = time.monotonic()
        for thread in threads:
            thread.join()
        assert sorted(run["task_id"] for _, _, run in found) == sorted(task["task_id"] for task in tasks)
        assert max(at for at, _, _ in found) - added < 3


def test_who_waits_outlives_the_leader(tmp_path: Path) -> None:
    with pair(tmp_path) as two:
        epoch, leader = two.leadership()
        answers: list[tuple[int, Any]] = []
        lost: list[str] = []

        def wait(number: int) -> None:
            try:
                answers.append(
                    ask(two.port, "POST", "/api/task", {"worker": f"v{number}", "wait": 25}, f"key-{number}")
                )
            except OSError as error:  # it was connected to the one that died
                lost.append(str(error))

        threads = [threading.Thread(target=wait, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        two.eventually(lambda: len(ask(two.port, "GET", "/api/worker")[1]) == 12, "all of them wait")
        os.kill(leader.scheduler, signal.SIGKILL)
        two.leader(after=epoch)
        tasks = [{"task_id": f"A_{number}", "family": "A"} for number in range(12)]
        assert ask(two.port, "POST", "/api/tasks", {"tasks": tasks})[0] == 200
        for thread in threads:
            thread.join()
        assert len(answers) + len(lost) == 12
        assert answers, "nobody was connected to the standby: nothing was shown"
        assert all(status == 200 for status, _ in answers), answers
