"""What `verify-history` does."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.schema import opened
from luigi_ha.appliance.cli.shown import line
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store.verification import Verification


def verify_history(database: str | None, config: Path | None, *, as_json: bool) -> ExitCode:
    """Check the log and say what was found."""
    with explained():
        store = opened(database, config)
        found = store.verify(_progress if sys.stderr.isatty() else _silent)
    code = _code(found)
    if as_json:
        wrong = [each._asdict() for each in found.findings]
        said = {**asdict(found), "findings": wrong, "database": store.target.shown, "verdict": _verdict(code)}
        print(json.dumps(said))
    else:
        print(f"{store.target.shown}: {_verdict(code)}")
        print(_shown(found))
    return code


def _code(found: Verification) -> ExitCode:
    if any(found.wrong.values()):
        return ExitCode.FAILED
    return ExitCode.INCONCLUSIVE if found.undecided else ExitCode.OK


def _verdict(code: ExitCode) -> str:
    return {ExitCode.OK: "passed", ExitCode.FAILED: "failed"}.get(code, "inconclusive")


def _shown(found: Verification) -> str:
    rows = [f"  entries {found.first} to {found.last} ({found.entries}), {found.epochs} epochs, {found.tasks} tasks"]
    undecided = " ".join(found.undecided)
    for check, count in found.wrong.items():
        state = f"{count} wrong" if count else "not decided" if f"{check}:" in undecided or not found.entries else "ok"
        rows.append(f"  {check:<12} {state}")
    rows += [f"  {each.check}: entry {each.seq}: {line(each.text)}" for each in found.findings]
    left = sum(found.wrong.values()) - len(found.findings)
    rows += [f"  and {left} more"] if left else []
    return "\n".join(rows + [f"  not decided: {line(each)}" for each in found.undecided])


def _progress(done: int, of: int) -> None:
    print(f"\r{done:,} of {of:,} entries", end="\n" if done >= of else "", file=sys.stderr, flush=True)


def _silent(_done: int, _of: int) -> None:
    pass
