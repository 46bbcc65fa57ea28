"""What an operator relies on: what is submitted stays, what goes is told, and retries come when they were announced."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.access.test_tls import logged
from tests.api.serving import Served, eventually, run, serving
from tests.rest.asking import ask, beat, good, problem, report, status, take
from tests.support.patience import patient

QUICK = {"worker_disconnect_delay": 0.3, "remove_delay": 0.3, "worker_grace": 0.0}


async def gone(served: Served, quoted: str) -> None:
    async with asyncio.timeout(patient(20)):
        while (await ask(served, "GET", f"/api/task/{quoted}")).status != 404:  # noqa: ASYNC110 - it is over HTTP
            await asyncio.sleep(0.02)


async def described(served: Served, client: str, workers: int, *task_ids: str) -> None:
    """As stock `luigi --workers N` does until it asks for work."""
    for task_id in task_ids:
        await served.add_task(task_id, worker=client, module="etl")
    await served.call("add_worker", worker=client, info=[["salt", "1"], ["workers", workers]])


def test_what_is_removed_is_told_in_the_log_the_history_and_to_who_asks_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        with logged() as lines:
            async with serving(tmp_path, scheduler=QUICK, prune_every=0.1) as served:
                await described(served, "stays", 0, "S_1")
                await described(served, "goes", 1, "A_1", "B_1")
                await served.call("add_task", task_id="B_1", worker="goes", status="DONE")
                await gone(served, "A_1")
                await gone(served, "B_1")
                assert await status(served, "S_1") == "PENDING"
                assert (await good(served, "GET", "/api/task/S_1"))["submitted"]
                why = await good(served, "GET", "/api/task/A_1/why")
                assert why["status"] == "REMOVED"
                assert why["reason"].startswith("It was removed at 20")
                assert "because it was PENDING, and no client that wanted it was heard of for 0.3 s" in why["reason"]
                last = (await good(served, "GET", "/api/task/A_1/history"))["history"][-1]
                assert (last["status"], last["method"]) == ("REMOVED", "prune")
                assert last["reason"] in why["reason"]
                problem(await ask(served, "GET", "/api/task/never/why"), 404)
                text = lines.getvalue()
        [told] = [line for line in text.splitlines() if " task_removed " in line and "A_1" in line]
        assert "warning" in told
        assert "status=PENDING" in told
        [done] = [line for line in text.splitlines() if " task_removed " in line and "B_1" in line]
        assert "info" in done
        assert "worker_forgotten worker_id=goes" in text
        assert "S_1" not in "".join(line for line in text.splitlines() if "task_removed" in line)

    run(scenario())


def test_a_task_that_is_there_again_is_explained_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, scheduler=QUICK, prune_every=0.1) as served:
            await described(served, "goes", 1, "A_1")
            await gone(served, "A_1")
            await described(served, "again", 0, "A_1")
            assert (await good(served, "GET", "/api/task/A_1/why"))["status"] == "PENDING"

    run(scenario())


def test_a_thousand_removals_are_a_hundred_lines_and_a_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        with logged() as lines:
            async with serving(tmp_path, scheduler=QUICK, prune_every=0.1) as served:
                for n in range(500):
                    await served.add_task(f"A_{n}", worker="goes")
                await eventually(lambda: served.node.engine.counts()["PENDING"] == 0, 20)
                text = lines.getvalue()
        removed = text.count(" task_removed ")
        numbers = [line.partition("more=")[2].split()[0] for line in text.splitlines() if " tasks_removed " in line]
        more = sum(map(int, numbers))
        assert removed + more == 500
        assert more

    run(scenario())


def test_a_retry_comes_when_it_was_announced_and_not_with_the_next_prune(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, scheduler={"retry_delay": 3}, prune_every=3600) as served:
            await good(served, "PUT", "/api/task/A_1", {"family": "A"})
            mine = await take(served)
            await beat(served, report(mine, "FAILED", error="Traceback\nValueError: no luck"))
            failed = await good(served, "GET", "/api/task/A_1")
            assert failed["status"] == "FAILED"
            again = await take(served, wait=20)
            assert again["attempt"] == 2
            assert abs(time.time() - failed["retry_at"]) < 2
            history = (await good(served, "GET", "/api/task/A_1/history"))["history"]
            ended = [entry for entry in history if entry["status"] == "FAILED"]
            assert [(entry["worker_id"], entry["error"]) for entry in ended] == [("v", "ValueError: no luck")]
            assert 0 <= ended[0]["seconds"] < 20
            assert [entry["method"] for entry in history if entry["status"] == "PENDING"][-1] == "retry_failed"

    run(scenario())


def test_what_autoscalers_see_is_what_the_resources_allow(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            await good(served, "PUT", "/api/resource/db", {"total": 2})
            tasks: list[Any] = [{"task_id": f"A_{n}", "family": "A", "resources": {"db": 1}} for n in range(50)]
            await good(served, "POST", "/api/tasks", {"tasks": tasks})
            assert await good(served, "GET", "/api/queue") == {"ready": 2, "pending": 50, "running": 0}
            await take(served)
            assert await good(served, "GET", "/api/queue") == {"ready": 1, "pending": 49, "running": 1}
            metrics = (await served.get("/metrics")).body.decode()
            assert "luigi_task_ready 1.0\n" in metrics
            assert "luigi_task_waiting_for_resources 48.0\n" in metrics

    run(scenario())


def test_an_odd_task_id_that_was_removed_is_explained_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, scheduler=QUICK, prune_every=0.1) as served:
            odd = 'a/b "c" \u00e9'
            await served.call("add_task", task_id=odd, worker="goes", family="F")
            quoted = "a%2Fb%20%22c%22%20%C3%A9"
            await gone(served, quoted)
            assert json.loads((await ask(served, "GET", f"/api/task/{quoted}/why")).body)["task_id"] == odd

    run(scenario())
