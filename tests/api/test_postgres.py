"""A node on PostgreSQL: the schema is the operator's, and the server may die and return."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.node import ExitCode
from tests.api.serving import run, serving
from tests.support import servers


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.PostgresServer]:
    with servers.postgres_server() as server:
        yield server


@pytest.mark.postgresql
def test_an_old_schema_is_upgraded_only_when_asked(postgres: servers.PostgresServer) -> None:
    command = [sys.executable, "-m", "appliance.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    done = subprocess.run(
        [*command, "--database", postgres.url()], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == ExitCode.SCHEMA, done.stderr
    assert "luigi-ha db upgrade" in done.stderr


@pytest.mark.postgresql
def test_calls_wait_while_the_database_restarts_and_nothing_is_lost(
    tmp_path: Path, postgres: servers.PostgresServer
) -> None:
    async def scenario() -> None:
        url = postgres.url()
        async with serving(tmp_path, database=url, upgrade=True, database_timeout=1.0) as served:
            await served.add_task("Before_1")
            await asyncio.to_thread(postgres.kill)
            during = [asyncio.create_task(served.add_task(f"During_{i}")) for i in range(20)]
            await asyncio.sleep(0.3)
            assert not any(call.done() for call in during)
            await asyncio.to_thread(postgres.start)
            await asyncio.gather(*during)
            await served.add_task("After_1")
            assert len(await served.call("task_list", status="")) == 22
        async with serving(tmp_path, database=url) as served:
            assert len(await served.call("task_list", status="")) == 22

    run(scenario())
