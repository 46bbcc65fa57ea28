"""The end of a task's output: of its last run, bounded, and in the memory of the leader alone."""

from pathlib import Path

from luigi_ha.appliance.api.rest import logs
from tests.api.serving import run, serving
from tests.rest.asking import ask, beat, good, problem, put, refused, report, take


def test_the_end_of_the_output_is_shown(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            mine = await take(served)
            said = await refused(served, "GET", "/api/task/A_1/log", status=404)
            assert "log/TASK.ATTEMPT.log" in said["expected"]
            which = {"attempt": mine["attempt"], "run_id": mine["run_id"]}
            for text in ("one\n", "one\ntwo \ud800\x00\n"):
                kept = await good(served, "PUT", "/api/task/A_1/log", {**which, "text": text})
                assert kept == {"task_id": "A_1", "attempt": 1, "kept": len(text)}
                shown = await good(served, "GET", "/api/task/A_1/log")
                assert shown == {"task_id": "A_1", "attempt": 1, "worker": "v", "text": text}
            said = await refused(served, "PUT", "/api/task/A_1/log", {**which, "text": "x" * 65_537})
            assert said["where"] == "text"
            await refused(served, "GET", "/api/task/nobody/log", status=404)
            await refused(served, "PUT", "/api/task/nobody/log", {**which, "text": ""}, status=404)
        async with serving(tmp_path) as served:
            await refused(served, "GET", "/api/task/A_1/log", status=404)

    run(scenario())


def test_a_run_that_was_replaced_shows_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await put(served, "A_1")
            first = await take(served)
            await beat(served, report(first, "FAILED", error="x"))
            await good(served, "POST", "/api/task/A_1/retry")
            await take(served)
            late = {"attempt": 1, "run_id": first["run_id"], "text": "late"}
            said = problem(await ask(served, "PUT", "/api/task/A_1/log", late), 409)
            assert "attempt 2" in said["detail"]
            await refused(served, "GET", "/api/task/A_1/log", status=404)

    run(scenario())


def test_old_output_goes_when_there_is_much(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            before, logs.MOST = logs.MOST, 100_000
            try:
                for name in ("A_1", "A_2", "A_3"):
                    await put(served, name)
                    mine = await take(served)
                    body = {"attempt": 1, "run_id": mine["run_id"], "text": "x" * 40_000}
                    await good(served, "PUT", f"/api/task/{name}/log", body)
            finally:
                logs.MOST = before
            await refused(served, "GET", "/api/task/A_1/log", status=404)
            for name in ("A_2", "A_3"):
                assert len((await good(served, "GET", f"/api/task/{name}/log"))["text"]) == 40_000

    run(scenario())
