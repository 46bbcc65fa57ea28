"""A node on PostgreSQL: an empty database will do, and the server may die and return."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.serving import run, serving
from tests.support import servers


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.PostgresServer]:
    with servers.postgres_server() as server:
        yield server


@pytest.mark.postgresql
def test_an_empty_database_gets_its_tables_at_the_first_start(tmp_path: Path, postgres: servers.PostgresServer) -> None:
    async def scenario() -> None:
        url = postgres.url()
        async with serving(tmp_path, database=url) as served:
            await served.add_task("First_1")

    run(scenario())


@pytest.mark.postgresql
def test_calls_wait_while_the_database_restarts_and_nothing_is_lost(
    tmp_path: Path, postgres: servers.PostgresServer
) -> None:
    async def scenario() -> None:
        url = postgres.url()
        async with serving(tmp_path, database=url, database_timeout=1.0) as served:
            await served.add_task("Before_1")
            await asyncio.to_thread(postgres.kill)
            during = [asyncio.create_task(served.add_task(f"During_{i}")) for i in range(20)]
            await asyncio.sleep(0.3)
            assert not any(call.done() for call in during)
            await asyncio.to_thread(postgres.start)
            await asyncio.gather(*during)
            await served.add_task("After_1")
            assert len(await served.call("task_list", status="")) == 23
        async with serving(tmp_path, database=url) as served:
            assert len(await served.call("task_list", status="")) == 23

    run(scenario())
