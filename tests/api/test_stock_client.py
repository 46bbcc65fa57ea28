"""Luigi's own RemoteScheduler, with both of its fetchers, against a node."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from luigi.rpc import RemoteScheduler, RequestsFetcher, URLLibFetcher

from tests.api.serving import run, serving
from tests.support.rpc_errors import rpc_error


def work_through(client: Any) -> None:
    """What a worker does in its life."""
    policy = {"retry_count": None, "disable_hard_timeout": None, "disable_window": None}
    client.add_worker("w", [("host", "h"), ("first_task", "Load_1")])
    client.add_task(task_id="Extract_1", worker="w", family="Extract", params={"day": "ü"}, retry_policy_dict=policy)
    client.add_task(task_id="Load_1", worker="w", family="Load", deps=["Extract_1"], resources={"db": 1})
    client.add_task_batcher(worker="w", task_family="Extract", batched_args=["day"])
    for expected in ("Extract_1", "Load_1"):
        work = client.get_work(worker="w", host="h", current_tasks=[])
        assert work["task_id"] == expected
        client.set_task_status_message(expected, "half-way")
        client.set_task_progress_percentage(expected, 50)
        assert client.ping(worker="w") == {"rpc_messages": []}
        client.add_task(task_id=expected, worker="w", status="DONE")
    assert client.count_pending("w")["n_pending_tasks"] == 0
    assert client.get_work(worker="w", host="h", current_tasks=[])["task_id"] is None
    assert set(client.dep_graph("Load_1")) == {"Load_1", "Extract_1"}
    assert set(client.task_list("DONE", "")) == {"Load_1", "Extract_1"}
    sent = client.send_scheduler_message("w", "Load_1", "hello")
    [message] = client.ping(worker="w")["rpc_messages"]
    assert message["kwargs"]["message_id"] == sent["message_id"]
    client.add_scheduler_message_response("Load_1", sent["message_id"], "here")
    assert client.get_scheduler_message_response("Load_1", sent["message_id"]) == {"response": "here"}
    with rpc_error():
        client._request("/api/nothing", {})


@pytest.mark.parametrize("fetcher", [RequestsFetcher, URLLibFetcher])
def test_a_stock_client_works(tmp_path: Path, fetcher: Any) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            make: Any = RemoteScheduler  # has no types
            client = make(served.url)
            client.close()
            client._fetcher = fetcher()
            client._rpc_retry_wait = client._rpc_retry_attempts = 1
            try:
                await asyncio.to_thread(work_through, client)
            finally:
                client.close()

    run(scenario())
