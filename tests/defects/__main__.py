"""`python -m tests.defects`: each defect is switched on, and the check that is named for it must fail.

    python -m tests.defects
    python -m tests.defects fence-off lost-tail

A check that cannot fail proves nothing. Exit code 0: every defect was caught, by a test that passes without it.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

SITE = Path(__file__).with_name("site")
ROOT = Path(__file__).parents[2]
# Defect: the tests that must fail with it, each of them.
CAUGHT_BY: dict[str, tuple[str, ...]] = {}
_SUMMARY = re.compile(r"^(FAILED|ERROR) (\S+)", re.MULTILINE)


def run(tests: tuple[str, ...], defect: str | None) -> tuple[int, set[str], set[str], str]:
    """pytest's exit code, which tests failed, which could not be run, and its words."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-o", "addopts=", *tests]
    path = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, **({"DEFECT": defect, "PYTHONPATH": path} if defect else {})}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = _SUMMARY.findall(done.stdout)
    failed = {name for what, name in found if what == "FAILED"}
    return done.returncode, failed, {name for what, name in found if what == "ERROR"}, done.stdout[-2000:]


def caught(defect: str) -> tuple[bool, str]:
    """Whether each of its tests fails with the defect."""
    tests = CAUGHT_BY[defect]
    code, failed, errors, words = run(tests, defect)
    missed = [test for test in tests if not any(name == test or name.startswith(f"{test}[") for name in failed)]
    if errors or code not in (0, 1):
        return False, f"could not be run: {', '.join(sorted(errors)) or words}"
    return not missed, "; ".join(f"passes with it: {test}" for test in missed) or ", ".join(sorted(failed))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("defect", nargs="*", help=f"some of {', '.join(CAUGHT_BY)} [all]")
    chosen = parser.parse_args().defect or list(CAUGHT_BY)
    if unknown := [name for name in chosen if name not in CAUGHT_BY]:
        parser.error(f"no defect {', '.join(unknown)}; expected some of {', '.join(CAUGHT_BY)}")
    tests = tuple(dict.fromkeys(test for name in chosen for test in CAUGHT_BY[name]))
    code, _failed, _errors, words = run(tests, None)
    print(f"without a defect: {len(tests)} tests {'pass' if code == 0 else f'do NOT all pass: {words}'}", flush=True)
    good = code == 0
    for name in chosen:
        began = time.monotonic()
        is_caught, said = caught(name)
        good = good and is_caught
        took = time.monotonic() - began
        print(f"{'caught' if is_caught else 'NOT CAUGHT':<11}{name:<42}{took:5.0f} s  {said}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
