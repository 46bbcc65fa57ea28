"""`python -m drills.failover.freezes`: a leader that is stopped for 30 s and then goes on, as if nothing had happened.

    python -m drills.failover.freezes --json results.json
    python -m drills.failover.freezes scheduler host --runs 3 --seconds 30

SIGSTOP to the leader's scheduler, keeper, both, or its whole host; SIGCONT. Looked at from outside, with a client that
calls fifty times a second all the time:

* its kernel drops the address by the lease's end, without help (with the scheduler alone frozen: after the keeper has
  seen the stall); no two hosts ever have it;
* what it still had to write when it woke is refused: no event of its epoch is added after the freeze's end or follows
  the new leader's first; calls that waited in its sockets meanwhile are refused or passed on, none is executed by it;
* it becomes a standby by itself, and one host has the address.

Needs root; brings up a lab of its own. Exit code 0: all of that held in every run, and nothing acknowledged was lost.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from drills.failover import scenarios
from drills.failover.__main__ import known
from drills.failover.holders import Holders
from drills.failover.late import LATE_CALLS, LateCalls, misplaced
from drills.failover.scenarios import now
from luigi_ha.appliance.drill.calls import judge, read
from luigi_ha.appliance.lab import network
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, VIP, Host
from luigi_ha.appliance.lab.recipes import QUICK
from luigi_ha.appliance.lab.targets import Target, found

LEASE_TTL = QUICK["lease_ttl"]  # the lab runs with it
STALL_AFTER, KILL_FROZEN_AFTER = 3.0, 60.0  # s; the product's defaults
LIMITS = {  # s from SIGSTOP until the address must be gone
    Target.SCHEDULER: LEASE_TTL + STALL_AFTER,
    Target.KEEPER: LEASE_TTL,
    Target.BOTH: LEASE_TTL,
    Target.HOST: LEASE_TTL,
}
OVERLAP = 0.05  # s; less is the time between two looks on a busy machine
STANDBY_WITHIN = 20.0  # s from SIGCONT
LATE_AFTER = LEASE_TTL + 0.2  # s from SIGSTOP: the lease has ended, whoever is awake
READY = 150.0
GAP = 15.0  # s; nobody may be without service for longer, also on a busy machine


@dataclass
class Finding:
    """One freeze. Times in seconds; `wrong`: what did not hold."""

    target: str
    host: str = ""
    gone_after: float | None = None  # from SIGSTOP until the address was gone from the host
    limit: float = 0.0
    overlap: float = 0.0  # the longest time two hosts had the address
    gap: float = 0.0
    lost: int = 0
    failed_later: int = 0
    reasons: list[str] = field(default_factory=list)  # of those
    late: dict[str, int] = field(default_factory=dict)  # what became of the calls in the frozen host's sockets
    epochs: dict[str, Any] = field(default_factory=dict)  # of luigi_event: seqs and count
    refused: list[str] = field(default_factory=list)  # its log: how it learnt that it leads no more
    standby_after: float | None = None  # from SIGCONT
    restarted: list[str] = field(default_factory=list)  # which of its processes is another one now
    leader: str | None = None
    holders: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def must(self, true: bool, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def events(lab: Lab, since: int) -> dict[int, dict[str, int]]:
    """Of each epoch from `since` on: the first and last event's number, and how many there are."""
    query = f"SELECT epoch, min(seq), max(seq), count(*) FROM luigi_event WHERE epoch >= {since} GROUP BY epoch"
    rows = [[int(word) for word in line.split("|")] for line in ask(lab, query).splitlines()]
    return {epoch: {"first": first, "last": last, "count": count} for epoch, first, last, count in rows}


def ask(lab: Lab, query: str) -> str:
    """What the primary says to a query."""
    primary = lab.resolve("primary")
    argv = ["psql", "-h", primary.address, "-U", "luigi", "-d", "luigi", "-Atc", query]
    return lab.run(primary.name, argv).stdout.strip()


def health(lab: Lab, host: Host) -> dict[str, Any]:
    """Its /health; empty if it does not answer."""
    try:
        _status, said = lab.ask(host.name, host.address, PORT, "/health")
    except (OSError, LabError):
        return {}
    return said if isinstance(said, dict) else {}


def serve_pids(lab: Lab, host: Host) -> Mapping[str, int]:
    init = lab.init(host.name)
    return {what.value: process.pid for what in (Target.KEEPER, Target.SCHEDULER) for process in found(init, what)}


def log_of(lab: Lab, host: Host) -> Path:
    return lab.plan.logs / f"{host.name}-serve.log"


def freeze(lab: Lab, target: Target, seconds: float, place: Path) -> Finding:
    """One freeze and what came of it."""
    finding = Finding(target.value, limit=LIMITS[target])
    lab.wait_until_ready(READY)
    scenarios.ALL[f"freeze-{target.value}"].arrange(lab)
    lab.wait_until_ready(READY)
    host = lab.resolve("leader")
    finding.host = host.name
    old, pids = int(health(lab, host)["epoch"]), serve_pids(lab, host)
    prefix = f"freeze{target.value}{int(time.time())}"
    records, words = place / f"{prefix}.jsonl", log_of(lab, host).stat().st_size
    holders = Holders(lab, VIP)
    module = "luigi_ha.appliance.drill.prober"
    command = [sys.executable, "-m", module, lab.plan.vip_url, str(records), "--prefix", prefix]
    prober = lab.run_in("client", command)
    try:
        time.sleep(2.0)
        with holders:
            _must_agree(lab, host, holders)
            bite = lab.faults.freeze(host.name, target)
            try:
                time.sleep(LATE_AFTER)
                late = LateCalls(lab, host, prefix)
                time.sleep(max(0.0, bite.at + seconds - now()))
                before = events(lab, old)
            finally:
                thawed = lab.faults.thaw(host.name, Target.HOST if target is Target.HOST else target)
            finding.standby_after = _standby_after(lab, host, thawed.at)
            replies = late.finish()
            time.sleep(3.0)
    finally:
        prober.send_signal(signal.SIGTERM)
        prober.wait(30)
    lab.wait_until_ready(READY)
    _look_at_address(finding, holders, host, bite.at, lab)
    _look_at_writes(finding, lab, old, before, replies)
    said = log_of(lab, host).read_bytes()[words:].decode(errors="replace").splitlines()
    finding.refused = [line for line in said if " fenced " in line or "transition=step_down" in line][-4:]
    now_pids = serve_pids(lab, host)
    finding.restarted = [name for name, pid in pids.items() if now_pids.get(name) != pid]
    told = finding.refused or "scheduler" in finding.restarted
    finding.must(bool(told), "its scheduler neither stepped down nor was started anew")
    if target is Target.SCHEDULER and seconds >= KILL_FROZEN_AFTER - 1:
        finding.must("keeper" not in finding.restarted, "its keeper was started anew")
    else:
        finding.must(not finding.restarted, f"{' and '.join(finding.restarted)} started anew")
    finding.must(finding.standby_after is not None, f"no standby {STANDBY_WITHIN:g} s after it woke")
    _look_at_calls(finding, lab, prefix, records, bite.at)
    return finding


def _must_agree(lab: Lab, host: Host, holders: Holders) -> None:
    """What we look with, checked against another way to look."""
    shown = [node.name for node in lab.plan.nodes if VIP in network.addresses(lab.init(node.name).pid)]
    seen = holders.now()
    if shown != seen or seen != [host.name]:
        raise LabError(f"before the freeze {shown} have the address by `ip`, {seen} by /proc; expected {host.name}")


def _standby_after(lab: Lab, host: Host, thawed: float) -> float | None:
    while now() - thawed < STANDBY_WITHIN:
        if health(lab, host).get("state") == "standby":
            return round(now() - thawed, 3)
        time.sleep(0.05)
    return None


def _look_at_address(finding: Finding, holders: Holders, host: Host, at: float, lab: Lab) -> None:
    gone = holders.gone(host.name, at)
    finding.gone_after = None if gone is None else round(gone - at, 3)
    finding.overlap = round(holders.overlap(), 3)
    finding.leader, finding.holders = lab.leader(), Holders(lab, VIP).now()
    finding.must(
        finding.gone_after is not None and finding.gone_after <= finding.limit,
        f"the address was gone after {finding.gone_after} s, not within {finding.limit:g} s",
    )
    finding.must(finding.overlap <= OVERLAP, f"two hosts had the address for {finding.overlap} s")
    finding.must(finding.leader not in (None, host.name), f"{finding.leader} leads")
    finding.must(finding.holders == [finding.leader], f"{finding.holders} have the address, {finding.leader} leads")


def _look_at_writes(
    finding: Finding, lab: Lab, old: int, before: dict[int, dict[str, int]], replies: Mapping[str, str]
) -> None:
    after = events(lab, old)
    finding.epochs = {"old": old, "before_it_woke": before, "at_the_end": after}
    names = ", ".join(f"'{task}'" for task in replies)
    rows = ask(lab, f"SELECT task_id, min(epoch) FROM luigi_event WHERE task_id IN ({names}) GROUP BY task_id")
    written = {task: int(epoch) for task, epoch in (line.split("|") for line in rows.splitlines())}
    finding.late = {}
    for task, reply in replies.items():
        by = "not written" if task not in written else "by the new leader" if written[task] > old else "BY THE OLD ONE"
        fate = f"{reply}, {by}"
        finding.late[fate] = finding.late.get(fate, 0) + 1
    finding.must(len(replies) == LATE_CALLS, f"{LATE_CALLS - len(replies)} late calls have no end")
    finding.wrong += misplaced(old, before, after, replies, written)


def _look_at_calls(finding: Finding, lab: Lab, prefix: str, records: Path, at: float) -> None:
    calls = read(records)
    verdict = judge(calls, at, max((call.began for call in calls), default=at), known(lab, prefix))
    finding.gap, finding.lost = round(verdict.gap, 3), verdict.lost
    finding.failed_later, finding.reasons = verdict.failed_after, list(verdict.reasons)
    finding.must(verdict.inconclusive is None, f"inconclusive: {verdict.inconclusive}")
    finding.must(verdict.gap <= GAP, f"nobody was served for {verdict.gap:.1f} s")
    finding.must(not verdict.lost, f"{verdict.lost} acknowledged calls are lost")


def show(findings: list[Finding]) -> None:
    """The table."""
    print(
        f"{'frozen':<11}{'gone after':>11}{'limit':>7}{'overlap':>9}{'gap':>8}{'lost':>6}{'failed':>8}"
        f"{'standby after':>15}  {'started anew':<22}late calls"
    )
    for each in findings:
        gone = "never" if each.gone_after is None else f"{each.gone_after:.2f}"
        standby = "never" if each.standby_after is None else f"{each.standby_after:.2f}"
        late = "; ".join(f"{count} {fate}" for fate, count in sorted(each.late.items()))
        print(
            f"{each.target:<11}{gone:>11}{each.limit:>7.0f}{each.overlap:>9.3f}{each.gap:>8.2f}{each.lost:>6}"
            f"{each.failed_later:>8}{standby:>15}  {' and '.join(each.restarted) or 'nothing':<22}{late}"
        )
        for word in each.wrong:
            print(f"{'':<11}WRONG: {word}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", nargs="*", help=f"some of {', '.join(what.value for what in LIMITS)} [all]")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it is frozen")
    parser.add_argument("--json", type=Path, help="keep the results")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp/luigi-ha-freezes"))
    parser.add_argument("--keep", action="store_true", help="use the lab that is there, and leave it")
    options = parser.parse_args()
    targets = [what for what in LIMITS if not options.target or what.value in options.target]
    if unknown := set(options.target) - {what.value for what in LIMITS}:
        parser.error(f"target: {', '.join(sorted(unknown))}; expected some of {', '.join(x.value for x in LIMITS)}")
    lab, findings = Lab(options.dir), []
    with tempfile.TemporaryDirectory(prefix="luigi-ha-freezes-") as place:
        try:
            if not options.keep:
                lab.up(say)
            for target in targets * options.runs:
                try:
                    findings.append(freeze(lab, target, options.seconds, Path(place)))
                except LabError as error:
                    findings.append(Finding(target.value, wrong=[f"the lab failed: {error}"]))
                say(f"{target.value}: {'; '.join(findings[-1].wrong) or 'sound'}")
                if options.json:
                    options.json.write_text(json.dumps([asdict(each) for each in findings], indent=1) + "\n")
        finally:
            if not options.keep:
                lab.down()
    show(findings)
    return 1 if any(finding.wrong for finding in findings) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
