"""A report as one page, for people: no script, no network, nothing but what is in report.json and the records."""

from collections.abc import Iterable, Mapping
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from luigi_ha.appliance.drill import calls, records
from luigi_ha.appliance.drill.report import FIGURES, PAGE, ROUNDS

WIDTH, LANE, LEFT = 900, 22, 130
COLOURS = {
    "leading": "#2a7", "standby": "#9bd", "promoting": "#fb5", "handing_over": "#fb5", "starting": "#ddd", None: "#fff",
}  # fmt: skip
OTHER = "#ccc"
SEEN = 0.1  # s that a call has waited for it to be drawn
# How long others take by their own defaults, from their documentation.
FIELD = (
    ("luigi (luigid)", "never: its state is one process's; running pipelines end"),
    ("Airflow", "300 s (scheduler_zombie_task_threshold)"),
    ("Rundeck", "300 s (cluster heartbeat and takeover)"),
    ("Nomad", "300 s (heartbeats after a change of leader: failover_heartbeat_ttl)"),
    ("Prefect", "9 min (zombie flow runs)"),
)
_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>luigi-ha drill: $verdict</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 92rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .6rem 0 }
th, td { border: 1px solid #ccc; padding: .25rem .5rem; text-align: left; vertical-align: top }
td { white-space: nowrap }
.passed { color: #176f3d } .failed { color: #b3261e } .inconclusive { color: #8a5a00 }
svg { border: 1px solid #ddd; width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif }
code { background: #f3f3f3; padding: 0 .2rem } h2 { margin-top: 2rem }
</style>
<h1>Drill: <span class="$verdict">$verdict</span></h1>
<p>$summary</p>
<h2>Faults</h2>$table
<h2>What others take</h2>$field
<h2>Rounds</h2>$rounds
<p>Check it again: <code>luigi-ha drill verify DIRECTORY</code></p>
</html>
""")


def write(directory: Path, report: Mapping[str, Any]) -> Path:
    """The page of a report; its path."""
    path = directory / PAGE
    path.write_text(rendered(directory, report))
    return path


def rendered(directory: Path, report: Mapping[str, Any]) -> str:
    """The page as it must be for this report, so that whoever checks the report can tell whether the page is its."""
    return _PAGE.substitute(
        verdict=escape(report["verdict"]), summary=_summary(report), table=_table(report),
        field=_rows(("", "until work goes on, by default"), FIELD),
        rounds="".join(_round(directory, each) for each in report["rounds"]),
    )  # fmt: skip


def _summary(report: Mapping[str, Any]) -> str:
    said = f"luigi-ha {report['luigi_ha']} on {report['host']}, {report['made_at']}; place: {report['place']}; "
    said += f"seed {report['seed']}; {len(report['rounds'])} rounds"
    history = report.get("history")
    if history:
        said += f"; the whole log: {history['verdict']}, {history['entries']} entries of {history['epochs']} epochs"
    return escape(said + ".")


def _table(report: Mapping[str, Any]) -> str:
    heads = ["fault", "rounds", "passed"]
    heads += [f"{name.replace('_', ' ')} p50 / p95 / max, s" for name in FIGURES]
    heads += ["calls", "lost", "failed in flight", "failed later", "tasks done", "twice"]
    rows = []
    for row in report["table"]:
        cells = [row["fault"], row["rounds"], row["passed"]]
        for name in FIGURES:
            found = row.get(name)
            cells.append(f"{found['p50']:.2f} / {found['p95']:.2f} / {found['max']:.2f}" if found else "")
        cells += [row["calls"], row["lost"], row["failed_in_flight"], row["failed_after"]]
        rows.append([*cells, f"{row['done']} of {row['tasks']}", row["twice"]])
    return _rows(heads, rows)


def _round(directory: Path, one: Mapping[str, Any]) -> str:
    said = [f"<h3>{escape(one['directory'])}: <span class='{one['verdict']}'>{one['verdict']}</span></h3>"]
    bite = one["bite"]
    if bite is not None:
        said.append(f"<p>{escape(', '.join(bite['nodes']))}: {escape(bite['proof'])}</p>")
    for kind in ("wrong", "undecided"):
        items = [f"<li>{escape(name)}: {escape(text)}</li>" for name, texts in one[kind].items() for text in texts]
        said += [f"<p class='{one['verdict']}'>{kind}:</p><ul>{''.join(items)}</ul>"] if items else []
    if bite is not None:
        said.append(_timeline(records.Record.load(directory / ROUNDS / one["directory"]), bite))
    return "".join(said)


def _timeline(record: records.Record, bite: Mapping[str, Any]) -> str:
    """Lanes: each node's state, who had the address, the calls, the fault."""
    begin, end = float(record.about["began"]), float(record.about["ended"])
    seen: dict[str, list[list[Any]]] = {}
    for line in record.lines(records.NODES):
        seen.setdefault(line[1], []).append(line)

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT) * (min(max(at, begin), end) - begin) / max(end - begin, 0.001)

    parts, top = [], 4
    for node, lines in sorted(seen.items()):
        parts.append(f"<text x='4' y='{top + 15}'>{escape(node)}</text>")
        for line, following in zip(lines, [*lines[1:], [end]], strict=True):
            title = f"{line[2] or 'does not answer'}, epoch {line[3]}, from {line[0] - begin:.2f} s"
            parts.append(_bar(x(line[0]), x(following[0]), top, LANE - 4, COLOURS.get(line[2], OTHER), title))
        top += LANE
    looks = list(record.lines(records.ADDRESS))
    for node in sorted({name for _, names in looks for name in names}):
        parts.append(f"<text x='4' y='{top + 15}'>address on {escape(node)}</text>")
        for (at, names), (later, _) in pairwise([*looks, [end, []]]):
            if node in names:
                parts.append(_bar(x(at), x(later), top + 4, LANE - 12, "#57c", f"from {at - begin:.2f} s"))
        top += LANE
    parts += _calls(record, top, x)
    struck = x(bite["at"])
    parts.append(f"<line x1='{struck:.1f}' x2='{struck:.1f}' y1='0' y2='{top + 2 * LANE}' stroke='#b3261e'/>")
    name = escape(record.about["fault"]["name"])
    parts.append(f"<text x='{struck + 3:.1f}' y='{top + 2 * LANE - 4}' fill='#b3261e'>{name}</text>")
    return f"<svg viewBox='0 0 {WIDTH} {top + 2 * LANE}' role='img'>{''.join(parts)}</svg>"


def _calls(record: records.Record, top: int, x: Any) -> Iterable[str]:
    """A bar for each call that waited or failed; a dot for every other."""
    yield f"<text x='4' y='{top + 15}'>calls</text>"
    for call in calls.read(record.directory / records.CALLS):
        left, right = x(call.began), x(call.ended)
        if call.wrong is not None or call.ended - call.began > SEEN:
            colour, what = ("#b3261e", call.wrong) if call.wrong is not None else ("#e90", "waited")
            yield _bar(left, right, top + 2, LANE - 8, colour, f"{what}: {call.ended - call.began:.3f} s", ".5")
        else:
            yield f"<rect x='{left:.1f}' y='{top + LANE - 6}' width='1' height='3' fill='#2a7'/>"


def _bar(left: float, right: float, top: int, height: int, colour: str, title: str, opacity: str = "1") -> str:
    place = f"x='{left:.1f}' y='{top}' width='{max(right - left, 0.8):.1f}' height='{height}'"
    return f"<rect {place} fill='{colour}' opacity='{opacity}'><title>{escape(title)}</title></rect>"


def _rows(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{escape(str(each))}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
