"""Commands on the handing out of work: scheduler pause, resume. (`luigi-ha pause` is about who leads.)"""

import json

import typer

from luigi_ha.appliance.cli.asking import Json, asks
from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.errors import asking_codes

app = typer.Typer(help="The handing out of work: pause, resume.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog=asking_codes())
@asks
def pause(at: At, as_json: Json = False) -> None:
    """Hand out no work until `scheduler resume`; what runs goes on. (To keep the leader: `luigi-ha pause`.)

    Example: luigi-ha scheduler pause
    """
    _set(at, paused=True, as_json=as_json)


@app.command(epilog=asking_codes())
@asks
def resume(at: At, as_json: Json = False) -> None:
    """Hand out work again.

    Example: luigi-ha scheduler resume
    """
    _set(at, paused=False, as_json=as_json)


def _set(at: At, *, paused: bool, as_json: bool) -> None:
    scheduler = Scheduler(at)
    before = scheduler.get("/api/scheduler")
    now = scheduler.send("PUT", "/api/scheduler", {"paused": paused})
    if as_json:
        print(json.dumps({**now, "changed": before["paused"] != now["paused"]}, indent=2))
        return
    already = "already " if before["paused"] == now["paused"] else ""
    if now["paused"]:
        print(f"{already}paused: no work is handed out until `luigi-ha scheduler resume`; what runs goes on")
    else:
        print("it was not paused; nothing to do" if already else "resumed: work is handed out")
