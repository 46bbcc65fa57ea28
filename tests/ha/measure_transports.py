"""What a leader, a writer and a watcher go through when a member dies or vanishes: both transports, real hosts.

    python -m tests.ha.measure_transports [--seconds 9] [--election 1000]

Three members of etcd (elections of so many ms, heartbeats ten times as often), each in a network namespace of its own,
and one more for the clients. The member whose endpoint is first in the list is killed, or cut off by the switch for so
many seconds: then nothing is refused and nothing answers. Printed for each: the longest gap between two writes, the
longest renewal, whether the lease was kept and what was left of it at the least, events seen and written, and the
longest gap between two events. Exit 1 if an event is lost, or a lease while etcd's own leader was well. Needs root.
Everything it makes is gone when it ends.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.errors import Unknown
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.transport import Item, Put
from luigi_ha.ha.etcd.watch import follow
from luigi_ha.ha.lease import Timing
from tests.ha.hosts import Network, hosts
from tests.support.etcd import Cluster, Member
from tests.support.patience import patient

MEMBERS = ("m1", "m2", "m3")
EVERY = 0.02  # s between two writes
BEFORE, AFTER = 2.0, 3.0  # s around the fault


@dataclass
class Seen:
    gap: float = 0.0
    renewal: float = 0.0
    unknown: int = 0
    written: int = 0
    values: list[str] = field(default_factory=list)
    silence: float = 0.0
    least: float = 99.0
    kept: bool = False


async def write(transport: Any, key: str, seen: Seen, stop: asyncio.Event) -> None:
    last = time.monotonic()
    while not stop.is_set():
        with suppress(Unknown):
            await transport.txn([], [Put(key, str(seen.written))], 1.5)
            seen.written += 1
            now = time.monotonic()
            seen.gap, last = max(seen.gap, now - last), now
        await asyncio.sleep(EVERY)


async def watch(transport: Any, prefix: str, every: float, seen: Seen, listed: asyncio.Event) -> None:
    last = time.monotonic()
    async for step in follow(transport, prefix, 1.5, every):
        listed.set()
        now = time.monotonic()
        for event in step.events:
            if isinstance(event, Item) and event.value not in seen.values[-1:]:
                seen.values.append(event.value)
                seen.silence = max(seen.silence, now - last)
        last = now


async def lead(elector: EtcdElector, seen: Seen) -> None:
    epoch = await elector.campaign()
    while True:
        began = time.monotonic()
        try:
            await elector.renew()
        except Unknown:
            seen.unknown += 1
        seen.renewal = max(seen.renewal, time.monotonic() - began)
        seen.least = min(seen.least, elector.lease.remaining(monotonic()))
        seen.kept = elector.epoch == epoch and seen.least > 0
        await asyncio.sleep(max(0.0, elector.timing.renew_every - (time.monotonic() - began)))


async def measure(config: EtcdConfig, via: str, prefix: str, trouble: Any, mend: Any, seconds: float) -> Seen:
    """The three at once, each with connections of its own."""
    seen, stop, listed = Seen(), asyncio.Event(), asyncio.Event()
    transports: list[Any] = [etcd_transport(config, via) for _ in range(3)]
    elector = EtcdElector(transports[0], Candidate("a", ""), Timing(), prefix + "e/")
    watching = asyncio.create_task(watch(transports[1], prefix + "w/", config.probe_every, seen, listed))
    await listed.wait()
    leading = asyncio.create_task(lead(elector, seen))
    writing = asyncio.create_task(write(transports[2], prefix + "w/k", seen, stop))
    await asyncio.sleep(BEFORE)
    used = [each.endpoints.current for each in transports]
    await asyncio.to_thread(trouble)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(mend)
    await asyncio.sleep(AFTER)
    assert used == [0, 0, 0], used
    assert transports[2].endpoints.current != 0, "the fault did not bite"
    stop.set()
    await writing
    await asyncio.sleep(2.0)
    for task in (watching, leading):
        task.cancel()
    done = await asyncio.gather(watching, leading, return_exceptions=True)
    seen.kept &= all(isinstance(each, asyncio.CancelledError) for each in done)
    await elector.close()
    for each in transports[1:]:
        await each.close()
    return seen


def run(network: Network, seconds: float, election: int) -> bool:
    fine = True
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        timers = [f"--heartbeat-interval={election // 10}", f"--election-timeout={election}"]
        members = [
            Member(
                Path(directory) / name, name, options=timers, host=network.address(name), inside=network.inside(name)
            )
            for name in MEMBERS
        ]
        cluster = Cluster(members)
        try:
            cluster.start()
            print(f"{'':34} {'write gap':>9} {'renewal':>8} {'lease':>14} {'events':>11} {'watch gap':>9}")
            for fault in ("killed", "black-holed", "black-holed, it led etcd"):
                for via in ("gateway", "grpc"):
                    leader = cluster.leader()
                    followers = [each for each in members if each is not leader]
                    victim = leader if fault.endswith("etcd") else followers[0]
                    others = [each.endpoint for each in members if each is not victim]
                    config = EtcdConfig((victim.endpoint, *others))
                    if fault == "killed":
                        trouble, mend, lasts = victim.kill, cluster.start, 3.0
                    else:
                        trouble, mend = partial(network.cut, victim.label), partial(network.mend, victim.label)
                        lasts = seconds
                    seen = asyncio.run(measure(config, via, f"/{via}/{fault}/", trouble, mend, lasts))
                    whole = seen.values[: seen.written] == [str(number) for number in range(seen.written)]
                    lease = f"kept, {seen.least:.1f} s" if seen.kept else "LOST"
                    events = f"{len(seen.values)}/{seen.written}"
                    print(f"{via:8}{fault:26} {seen.gap:7.3f} s {seen.renewal:6.3f} s {lease:>14} {events:>11} "
                          f"{seen.silence:7.3f} s{'' if whole else '  EVENTS LOST'}", flush=True)  # fmt: skip
                    fine &= whole and (seen.kept or victim is leader)
                    time.sleep(2)
        finally:
            cluster.kill()
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=9.0, help="how long the member is cut off")
    parser.add_argument("--election", type=int, default=1000, help="etcd's election timeout in ms; 1000 is its default")
    parser.add_argument("--namespaces-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.namespaces_of is not None:  # in the clients' namespace
        sys.exit(
            0 if run(Network((*MEMBERS, "client"), options.namespaces_of), options.seconds, options.election) else 1
        )
    with hosts(*MEMBERS, "client") as network:
        again = [sys.executable, "-m", "tests.ha.measure_transports", "--seconds", str(options.seconds)]
        again += ["--election", str(options.election)]
        command = [*network.inside("client"), *again, "--namespaces-of", str(os.getpid())]
        with suppress(KeyboardInterrupt):
            sys.exit(subprocess.run(command, check=False, timeout=patient(60) + 8 * (options.seconds + 12)).returncode)


if __name__ == "__main__":
    main()
