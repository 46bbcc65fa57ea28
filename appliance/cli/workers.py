"""What the commands on workers do."""

import json

from luigi_ha.appliance.cli.client import At, Scheduler
from luigi_ha.appliance.cli.naming import MOST_NAMED, JsonObject, worker_id
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.cli.tables import age, amount, table
from luigi_ha.appliance.clock import wall

HEADS = ("STATE", "WORKER", "RUNS", "SLOTS", "HEARD OF")


def show_list(at: At, *, as_json: bool) -> None:
    """One line for each worker, and for each id that is drained and not there."""
    scheduler = Scheduler(at)
    known, drained = scheduler.get("/api/worker"), scheduler.get("/api/drained")
    if as_json:
        print(json.dumps({"workers": known, "drained": drained}, indent=2))
        return
    now = wall()
    rows = [
        (each["state"], line(each["worker_id"]), str(each["running"]), _slots(each), _ago(each["last_active"], now))
        for each in known
    ]
    rows += [("drained", line(each["worker_id"]), "", "", "not there") for each in drained if not each["known"]]
    print(table(HEADS, rows) if rows else "no workers")


def change(at: At, what: str, named: list[str], *, as_json: bool) -> None:
    """Nothing is changed unless each name means one worker."""
    scheduler = Scheduler(at)
    meant = dict.fromkeys(worker_id(scheduler, name, drained=what == "undrain") for name in named)
    answers = [scheduler.send("POST", f"/api/worker/{what}", {"worker_id": each}) for each in meant]
    if as_json:
        print(json.dumps({"workers": answers}, indent=2))
        return
    for answer in answers:
        print(_said(answer))


def _said(answer: JsonObject) -> str:
    name, running = line(answer["worker_id"]), answer["running"]
    if answer["state"] == "absent":
        return f"{name} gets work when it is there again"
    if answer["state"] == "active":
        return f"{name} gets work again"
    ids = ", ".join(line(each) for each in running[:MOST_NAMED])
    more = f" and {len(running) - MOST_NAMED} more" if len(running) > MOST_NAMED else ""
    what = f"{name} is {answer['state']}: it gets no new work"
    return f"{what}, and still runs {ids}{more}" if running else f"{what}, and runs nothing"


def _slots(worker: JsonObject) -> str:
    return "" if worker["slots"] is None else amount(worker["slots"])


def _ago(at: float | None, now: float) -> str:
    return "" if at is None else f"{age(now - at)} ago"
