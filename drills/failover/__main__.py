"""`python -m drills.failover`: failovers of a real cluster, measured from a client.

    python -m drills.failover --list
    python -m drills.failover kill-scheduler switchover --runs 20
    python -m drills.failover --all --json bench/results/failover.json      (about two hours)

Brings up a lab of its own (root), and for each run: arranges the cluster, lets a client call fifty times a second,
strikes, watches, mends, waits until all is well again, and compares what was acknowledged with what is in the
database. Exit code 0: nothing acknowledged was lost and every run decides something; 1 otherwise.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drills.failover import scenarios
from drills.failover.scenarios import Scenario
from luigi_ha.appliance.drill.calls import Verdict, judge, read, summary
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab

LEAD_IN = 1.5  # s of calls before the fault
READY = 150.0  # s until all is well again


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def known(lab: Lab, prefix: str) -> set[str]:
    """The prober's tasks that are in the database."""
    primary = lab.state().primary
    if primary is None or " " in primary:
        raise LabError(f"the primary is {primary or 'nowhere'}")
    query = f"SELECT task_id FROM luigi_task WHERE task_id LIKE '{prefix}\\_%'"
    host = lab.plan.host(primary).address
    done = lab.run(primary, ["psql", "-h", host, "-U", "luigi", "-d", "luigi", "-Atc", query])
    return set(done.stdout.split())


def run(lab: Lab, scenario: Scenario, number: int, place: Path) -> tuple[Verdict, dict[str, Any]]:
    """One run; its verdict, and what else was seen."""
    lab.wait_until_ready(READY)
    scenario.arrange(lab)
    lab.wait_until_ready(READY)
    prefix = f"{scenario.name.replace('-', '')}{number}x{int(time.time())}"
    records = place / f"{prefix}.jsonl"
    module = "luigi_ha.appliance.drill.prober"
    command = [sys.executable, "-m", module, lab.plan.vip_url, str(records), "--prefix", prefix]
    prober = lab.run_in("client", command)
    try:
        time.sleep(LEAD_IN)
        before = lab.state()
        bite = scenario.strike(lab)
        time.sleep(scenario.watch)
        after = lab.state()
        scenario.mend(lab, bite)
        time.sleep(scenario.rest)
    finally:
        prober.send_signal(signal.SIGTERM)
        prober.wait(30)
    until = scenarios.now()
    lab.wait_until_ready(READY)
    calls = read(records)
    end = max((call.began for call in calls), default=until)
    verdict = judge(calls, bite.at, end, known(lab, prefix), bite.over)
    seen = {
        "fault": bite.fault, "host": bite.host, "proof": bite.proof, "etcd_leader": before.etcd_leader,
        "died_within": bite.over and round(bite.over - bite.at, 3),
        "primary": before.primary, "leader_before": before.leader, "leader_after": after.leader,
    }  # fmt: skip
    return verdict, seen


def drill(lab: Lab, scenario: Scenario, runs: int, place: Path) -> dict[str, Any]:
    """All runs of one scenario."""
    lab.stop_hook(on=scenario.hook)
    verdicts, seen = [], []
    for number in range(1, runs + 1):
        try:
            verdict, facts = run(lab, scenario, number, place)
        except LabError as error:
            say(f"{scenario.name} {number}/{runs}: the lab failed: {error}")
            verdict, facts = Verdict(0, 0, 0, 0, 0, (), 0, f"the lab failed: {error}"), {}
        verdicts.append(verdict)
        seen.append(facts)
        say(
            f"{scenario.name} {number}/{runs}: gap {verdict.gap:.3f} s, longest wait {verdict.longest:.3f} s, failed "
            f"{verdict.failed_in_flight} in flight and {verdict.failed_after} later, lost {verdict.lost}"
            f"{', ' + verdict.inconclusive if verdict.inconclusive else ''}"
            f"{' ' + '; '.join(verdict.reasons) if verdict.reasons else ''}"
        )
    lab.stop_hook(on=True)
    return {**summary(verdicts), "seen": seen}


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(
        f"{'scenario':<27}{'runs':>5}{'gap p50':>9}{'max':>8}{'wait p50':>10}{'max':>8}"
        f"{'in flight':>11}{'later':>7}{'lost':>6}"
    )
    for name, found in results.items():
        if not found["runs"]:
            print(f"{name:<27}{0:>5}  inconclusive: {found['inconclusive']}")
            continue
        print(
            f"{name:<27}{found['runs']:>5}{found['gap_p50']:>9.3f}{found['gap_max']:>8.3f}{found['longest_wait_p50']:>10.3f}"
            f"{found['longest_wait_max']:>8.3f}{found['failed_in_flight']:>11}{found['failed_after']:>7}{found['lost']:>6}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenario", nargs="*", help="see --list")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="keep the results, after each scenario; what is there already stays")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp/luigi-ha-drill"))
    parser.add_argument("--keep", action="store_true", help="use the lab that is there, and leave it")
    options = parser.parse_args()
    if options.list:
        print("\n".join(scenarios.ALL))
        return 0
    names = list(scenarios.ALL) if options.all else options.scenario
    unknown = [name for name in names if name not in scenarios.ALL]
    if unknown or not names:
        parser.error(f"scenario: {', '.join(unknown) or 'none given'}; expected some of {', '.join(scenarios.ALL)}")
    lab = Lab(options.dir)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="luigi-ha-drill-") as place:
        try:
            if not options.keep:
                lab.up(say)
            for name in names:
                results[name] = drill(lab, scenarios.ALL[name], options.runs, Path(place))
                if options.json:
                    kept = json.loads(options.json.read_text()) if options.json.exists() else {}
                    options.json.write_text(json.dumps({**kept, name: results[name]}, indent=1) + "\n")
        finally:
            if not options.keep:
                lab.down()
    show(results)
    return (
        0 if all(found["runs"] and not found["lost"] and not found["inconclusive"] for found in results.values()) else 1
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
