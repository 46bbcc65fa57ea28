"""Schemathesis plays with the API by its own document: no 500, and nothing that the document does not say.

SCHEMATHESIS_EXAMPLES=500 makes a long run of it.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from luigi_ha.appliance.api.rest.table import ROUTES
from tests.api.serving import run, serving

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "4"))  # for each operation, of each kind
SECONDS = 600 + 30 * EXAMPLES


@pytest.mark.timeout(SECONDS + 60)
def test_nothing_is_answered_that_the_document_does_not_say(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml")]
    options = ["--checks", "all", "--continue-on-failure", "--suppress-health-check", "all", "--no-color"]
    options += ["--max-examples", str(EXAMPLES), "--request-timeout", "60", "--generation-database", "none"]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.rest.schemathesis_hooks",
        "PYTHONPATH": str(HERE.parent.parent),
    }

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            epoch = served.node.epoch
            process = await asyncio.create_subprocess_exec(
                *command, "run", f"{served.url}/api/openapi.json", *options,
                cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await process.communicate()
            text = output.decode()
            print(text)
            assert process.returncode == 0, text[-10_000:]
            played = len(ROUTES) - 1  # all but the document itself
            assert f"{played} selected / {played} total" in text.replace("\n", " ")
            assert served.node.epoch == epoch, "the scheduler had to reload its state"
            assert served.node.metrics.calls.get(("rest_take", 200), 0) > 10

    run(scenario(), SECONDS)
