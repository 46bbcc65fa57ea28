"""A worker in any language: it takes tasks, reports on its runs, is fenced, and told what to do."""

import json
from pathlib import Path

from tests.access.test_tls import logged
from tests.api.serving import run, serving
from tests.rest.asking import ask, beat, good, problem, put, refused, report, status, take


def test_a_task_from_its_submission_to_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", params={"x": "1"}, resources={"r": 1}, priority=3)
            await put(served, "A_2", deps=["A_1"])
            run_1 = await take(served, slots=2)
            assert run_1["task_id"] == "A_1"
            assert (run_1["family"], run_1["params"], run_1["attempt"]) == ("A", {"x": "1"}, 1)
            assert (run_1["resources"], run_1["priority"]) == ({"r": 1}, 3)
            assert run_1["deadline"] > served.node.clock.last
            assert await take(served) is None, "A_2 waits for A_1"
            heard = await beat(
                served, report(run_1, "RUNNING", progress=40, message="so far", tracking_url="http://x/")
            )
            assert (heard["accepted"], heard["lost"], heard["commands"]) == (["A_1"], [], [])
            shown = await good(served, "GET", "/api/task/A_1")
            assert (shown["status"], shown["worker"], shown["progress"], shown["message"], shown["tracking_url"]) == (
                "RUNNING", "v", 40, "so far", "http://x/",
            )  # fmt: skip
            assert (await beat(served, report(run_1, "DONE")))["accepted"] == ["A_1"]
            run_2 = await take(served)
            assert run_2["task_id"] == "A_2"
            await beat(served, report(run_2, "FAILED", error="Traceback"))
            failed = await good(served, "GET", "/api/task/A_2")
            assert (failed["status"], failed["error"]) == ("FAILED", "Traceback")

    run(scenario())


def test_a_report_of_a_run_that_was_given_up_is_409_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", "A_2")
            lost, kept = await take(served), await take(served)
            await beat(served, report(lost, "FAILED", error="x"))
            await good(served, "POST", "/api/task/A_1/retry")
            assert (await take(served, "u"))["attempt"] == 2
            body = {"worker": "v", "tasks": [report(lost, "DONE"), report(kept, "DONE")]}
            with logged() as lines:
                said = problem(await ask(served, "POST", "/api/heartbeat", body), 409)
                reason = 'reason="attempt 2 has replaced it"'
                assert f"report_refused task_id=A_1 attempt=1 worker_id=v {reason}" in lines.getvalue()
                assert "A_2" not in lines.getvalue()
                late = {"worker": "v", "task_id": "A_1", "status": "FAILED", "attempt": 1, "run_id": lost["run_id"]}
                assert (await served.post("add_task", late)).status == 409
                assert lines.getvalue().count("report_refused task_id=A_1 attempt=1 worker_id=v") == 2
            assert [entry["task_id"] for entry in said["lost"]] == ["A_1"]
            assert said["lost"][0]["reason"] in said["detail"]
            assert said["accepted"] == ["A_2"]
            assert said["commands"] == []
            assert said["state"] == "active"
            assert await status(served, "A_1") == "RUNNING"
            assert await status(served, "A_2") == "DONE"

    run(scenario())


def test_a_lost_run_that_is_reported_as_running_is_told_with_200(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            lost = await take(served)
            await good(served, "POST", "/api/task/A_1/done", {})
            heard = await beat(served, report(lost, "RUNNING"))
            assert [entry["task_id"] for entry in heard["lost"]] == ["A_1"]

    run(scenario())


def test_a_report_sent_again_is_accepted_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            done = report(await take(served), "FAILED", error="x")
            for _ in range(3):
                assert (await beat(served, done))["accepted"] == ["A_1"]
            assert (await good(served, "GET", "/api/task/A_1"))["failures"] == 1

    run(scenario())


def test_an_assignment_that_was_lost_on_the_way_is_given_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            first = await take(served)
            assert await take(served) is None
            again = await take(served, holding=[])
            assert (again["run_id"], again["attempt"]) == (first["run_id"], 1)
            held = [{name: first[name] for name in ("task_id", "attempt", "run_id")}]
            assert await take(served, holding=held) is None

    run(scenario())


def test_a_run_may_find_out_that_it_needs_others_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", "A_2")
            first = await take(served)
            new = {"task_id": "B_1", "family": "B", "params": {"n": 1}}
            heard = await beat(served, report(first, "PENDING", deps=["A_2", new]))
            assert heard["accepted"] == ["A_1"]
            for wanted in ("A_2", "B_1"):
                other = await take(served)
                assert other["task_id"] == wanted
                await beat(served, report(other, "DONE"))
            again = await take(served)
            assert (again["task_id"], again["attempt"]) == ("A_1", 2)
            late = {"worker": "v", "tasks": [report(first, "DONE")]}
            problem(await ask(served, "POST", "/api/heartbeat", late), 409)

    run(scenario())


def test_a_worker_that_drains_gets_nothing_and_finishes_what_it_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1", "A_2")
            mine = await take(served)
            told = await good(served, "POST", "/api/worker/drain", {"worker_id": "v"})
            assert told == {"worker_id": "v", "state": "draining", "running": ["A_1"]}
            assert await take(served) is None
            heard = await beat(served, report(mine, "DONE"))
            assert heard["commands"] == [{"name": "drain"}]
            assert await status(served, "A_1") == "DONE"
            await good(served, "POST", "/api/worker/drain", {"worker_id": "v", "draining": False})
            assert (await take(served))["task_id"] == "A_2"
            await good(served, "POST", "/api/worker/drain", {"worker_id": "v"})
            [drained] = await good(served, "GET", "/api/drained")
            assert (drained["worker_id"], drained["known"]) == ("v", True)
            told = await good(served, "POST", "/api/worker/undrain", {"worker_id": "v"})
            assert (told["worker_id"], told["state"]) == ("v", "active")
            assert await good(served, "GET", "/api/drained") == []
            await refused(served, "POST", "/api/worker/undrain", {"worker_id": "nobody"}, status=404)
            await refused(served, "POST", "/api/worker/undrain", {"worker": "v"}, status=400)
            said = await refused(served, "POST", "/api/worker/drain", {"worker_id": "nobody"}, status=404)
            assert "nobody" in said["detail"]

    run(scenario())


def test_the_drain_script_of_the_shell_is_understood(tmp_path: Path) -> None:
    """curl -d sends JSON and calls it a form."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await take(served, "pod-1")
            headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "curl/8.5.0", "Accept": "*/*"}
            reply = await ask(served, "POST", "/api/worker/drain", b'{"worker_id":"pod-1"}', headers)
            assert (reply.status, reply.json["state"]) == (200, "draining")
            as_a_form = await ask(served, "POST", "/api/worker/drain", b"worker_id=pod-1", headers)
            assert "not JSON" in problem(as_a_form, 400)["detail"]

    run(scenario())


def test_a_cancelled_run_is_told_to_its_worker(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            mine = await take(served)
            await good(served, "POST", "/api/task/A_1/cancel", {"reason": "wrong date"})
            heard = await beat(served, report(mine, "RUNNING"))
            assert heard["commands"] == [{"name": "cancel", "task_id": "A_1", "attempt": 1}]
            await beat(served, report(mine, "FAILED", error="cancelled"))
            shown = await good(served, "GET", "/api/task/A_1")
            assert (shown["status"], shown["cancelled"]) == ("DISABLED", "wrong date")
            assert await take(served) is None

    run(scenario())


def test_filters_say_what_a_worker_takes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            for task_id, family in (("m", "marketing.Load"), ("f", "finance.eu.Load"), ("x", "Load")):
                await good(served, "PUT", f"/api/task/{task_id}", {"family": family})
            await good(served, "PUT", "/api/task/g", {"family": "Train", "capabilities": ["gpu"]})
            assert (await take(served, namespaces=["finance"]))["task_id"] == "f"
            assert (await take(served, families=["Load"]))["task_id"] == "x"
            assert await take(served, families=["Train"]) is None
            assert (await take(served, families=["Train"], capabilities=["gpu", "big"]))["task_id"] == "g"
            assert (await take(served))["task_id"] == "m"

    run(scenario())


def test_stock_luigi_and_rest_workers_share_one_queue(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await served.add_task("S_1", worker="stock")
            await put(served, "A_1")
            mine = await take(served)
            assert mine["task_id"] == "S_1", "anybody's task, the oldest first"
            await beat(served, report(mine, "DONE"))
            work = await served.call("get_work", worker="helper", assistant=True, host="h")
            assert work["task_id"] == "A_1"
            await served.add_task("A_1", worker="helper", status="DONE")
            assert await status(served, "A_1") == "DONE"

    run(scenario())


def test_messages_and_process_counts_arrive_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await take(served)
            await served.call("set_worker_processes", worker="v", n=7)
            commands = (await beat(served))["commands"]
            assert commands == [{"name": "set_worker_processes", "n": 7}]
            assert (await beat(served))["commands"] == []

    run(scenario())


def test_what_a_reply_says_is_strict_json(tmp_path: Path) -> None:
    """Luigi's JSON has Infinity and NaN; other languages have not."""

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            data = '{"task_id": "A_1", "worker": "w", "params": {"x": Infinity, "y": "Infinity"}, "priority": Infinity}'
            assert (await served.post("add_task", data)).status == 200
            raw = (await ask(served, "GET", "/api/task/A_1")).body

            def none_of_it(name: str) -> None:
                raise AssertionError(name)

            shown = json.loads(raw, parse_constant=none_of_it)
            assert shown["params"] == {"x": None, "y": "Infinity"}
            assert shown["priority"] is None

    run(scenario())
