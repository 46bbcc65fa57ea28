"""Commands on resources: resource list, set."""

import json
import math
from typing import Annotated
from urllib.parse import quote

import typer

from luigi_ha.appliance.cli.asking import Json, asks
from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.errors import CommandError, asking_codes
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.cli.tables import amount, table
from luigi_ha.appliance.exit_codes import ExitCode

app = typer.Typer(help="Resources: how much there is of each.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog=asking_codes("done, also if there are none"))
@asks
def list_(at: At, as_json: Json = False) -> None:
    """List resources: the total of each, and how much of it running tasks use.

    Example: luigi-ha resource list
    """
    found = Scheduler(at).get("/api/resource")
    if as_json:
        print(json.dumps({"resources": found}, indent=2))
        return
    rows = [(line(each["name"]), amount(each["total"]), amount(each["used"])) for each in found]
    print(table(("RESOURCE", "TOTAL", "USED"), sorted(rows)) if rows else "no resources")


@app.command("set", epilog=asking_codes())
@asks
def set_(
    at: At,
    name: Annotated[str, typer.Argument(help="The resource, by its whole name; a new one is made.")],
    total: Annotated[float, typer.Argument(min=0, help="How much there is of it from now on.")],
    as_json: Json = False,
) -> None:
    """Set a resource's total. It outlives restarts and goes before what is configured.

    Example: luigi-ha resource set warehouse 4
    """
    if not math.isfinite(total):
        raise CommandError(f"the total {total} of {line(name)}: expected a number such as 4", ExitCode.CONFIG)
    scheduler = Scheduler(at)
    before = {each["name"]: each["total"] for each in scheduler.get("/api/resource")}
    now = scheduler.send("PUT", f"/api/resource/{quote(name, safe='')}", {"total": total})
    if as_json:
        print(json.dumps({**now, "before": before.get(name)}, indent=2))
        return
    was = f"it was {amount(before[name])}" if name in before else "it was not known before"
    print(f"{line(name)}: the total is {amount(now['total'])} ({was}), {amount(now['used'])} in use")
