"""The commands in docs/api.md, as they stand there, in order, against a node that was just started."""

import asyncio
import re
from pathlib import Path

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.rest.table import ROUTES
from tests.api.serving import run, serving

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
REST = PAGE.split("## The REST API")[1].split("\n## ")[0]


def commands(page: str) -> list[tuple[str, str]]:
    """(command, what it prints) of each `$ ...` in a block."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def as_pattern(output: str) -> str:
    """`...` stands for anything."""
    return ".*".join(re.escape(piece) for piece in output.split("..."))


def test_the_commands_print_what_the_page_says(tmp_path: Path) -> None:
    shown = commands(REST)
    assert len(shown) >= 12
    # One shell for all of them: what one sets, the next ones use.
    script = "".join(f"{command}\nprintf '\\n=====\\n'\n" for command, _ in shown)

    async def scenario() -> str:
        async with serving(tmp_path) as served:
            text = script.replace("http://127.0.0.1:8082", served.url).replace("/tmp/run.json", f"{tmp_path}/run.json")
            shell = await asyncio.create_subprocess_exec("bash", "-c", text, stdout=asyncio.subprocess.PIPE)
            output, _ = await shell.communicate()
            return output.decode()

    outputs = [part.strip() for part in run(scenario()).split("\n=====\n")[:-1]]
    for (command, wanted), output in zip(shown, outputs, strict=True):
        assert re.fullmatch(as_pattern(wanted), output), f"{command}\nprints {output}\nthe page says {wanted}"


def test_the_page_names_each_path_with_its_role() -> None:
    table = REST.split("|---|---|---|")[1].split("\n\n")[0]
    for route in ROUTES:
        if route.role is Role.NOBODY:
            continue
        last = route.path.removeprefix("/api/task/{task_id}/") if "{task_id}/" in route.path else ""
        path = re.sub(r"\{\w+\}", "<", route.path)
        rows = [row for row in table.splitlines() if path in row or (last and f"/{last}" in row)]
        assert rows, route.path
        assert any(route.role.shown in row for row in rows), (route.path, route.role.shown)
