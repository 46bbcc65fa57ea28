"""The place that counts: three hosts with etcd, PostgreSQL under Patroni and luigi-ha, in a lab."""

import csv
import io
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from luigi_ha.appliance.drill.fleet import Daemon
from luigi_ha.appliance.drill.place import (
    ASKING,
    Answer,
    DrillError,
    Part,
    Strike,
    TooLong,
    await_leader,
    degraded,
    now,
    silent,
)
from luigi_ha.appliance.drill.records import ADDRESS, WIRE
from luigi_ha.appliance.lab import arp, clocks, network
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.holders import Holders
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.looking import looking
from luigi_ha.appliance.lab.plan import CLIENT, OBSERVER, PORT, STRANGER, VIP, Host
from luigi_ha.appliance.lab.targets import Target, found

MENDS = 3  # times that all is mended, if some of it fails
HELD_BACK = ("etcd", "patroni", "serve", "stop-hook")
SETTLES_WITHIN = 90.0  # s for the nodes to be content, when all parts are there


class InLab:
    """A cluster of three hosts."""

    kind = "lab"
    workers: Sequence[Daemon] = ()

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = lab.plan.vip_url
        self.nodes = tuple(host.name for host in lab.plan.servers)

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        with log.open("ab") as out:
            return self.lab.run_in(
                "client", argv, env=dict(env), cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        return Answer(*self.lab.ask("client", VIP, PORT, path, method=method, body=body, timeout=timeout))

    def leading(self) -> tuple[str, int] | None:
        found_ = [(host.name, said["epoch"]) for host in self.lab.plan.servers if (said := self._health(host))]
        return found_[0] if len(found_) == 1 else None

    # -- one node ------------------------------------------------------------------------------------------------

    def health(self, node: str) -> Mapping[str, Any] | None:
        host = self.lab.plan.host(node)
        try:
            _status, said = self.lab.ask(host.name, host.address, PORT, "/health", timeout=1.0)
        except (OSError, LabError):
            return None
        return said if isinstance(said, dict) else None

    def log_of(self, node: str) -> Path:
        return self.lab.plan.logs / f"{node}-serve.log"

    def pids(self, node: str, part: Part) -> list[int]:
        target = {Part.KEEPER: Target.KEEPER, Part.SCHEDULER: Target.SCHEDULER, Part.NODE: Target.BOTH}[part]
        return [each.pid for each in found(self.lab.init(node), target)]

    def stop(self, node: str) -> str:
        self.lab.hold_back(node, "serve")
        until = time.monotonic() + 60
        while self.pids(node, Part.NODE):
            if time.monotonic() > until:
                raise DrillError(f"{node} has not ended within a minute")
            time.sleep(0.05)
        return "its service was stopped, and none of its processes is left"

    def keep_down(self, node: str) -> None:
        self.lab.hold_back(node, "serve")

    def start(self, node: str) -> None:
        if node not in self.lab.inits():
            self.lab.faults.plug(node)
        self.lab.let(node, "serve")

    def degraded(self) -> list[str]:
        return degraded(self)

    def heal(self) -> None:
        """Each thing by itself, and what fails once more: one that cannot be mended keeps no other from being so."""
        wrong: list[str] = []
        for _ in range(MENDS):
            wrong = []
            for mend in self._mends():
                try:
                    mend()
                except (LabError, OSError) as error:
                    wrong.append(str(error))
            if not wrong:
                return
            time.sleep(1.0)
        raise DrillError(f"not mended: {'; '.join(wrong)}")

    def _mends(self) -> Iterator[Callable[[], object]]:
        faults, plan = self.lab.faults, self.lab.plan
        for host in plan.nodes:
            if host.name not in self.lab.inits():
                yield partial(faults.plug, host.name)
            yield partial(faults.thaw, host.name)
            for what in HELD_BACK:
                yield partial(self.lab.let, host.name, what)
            if plan.disks:
                yield partial(faults.free_disk, host.name)
            if plan.clocks:
                yield partial(faults.right_clock, host.name)
        yield faults.give_address_back
        yield faults.heal

    def left(self) -> list[str]:
        lab, found = self.lab, []
        inits = lab.inits()
        for host in lab.plan.hosts:
            init = inits.get(host.name)
            if init is None:
                found.append(f"{host.name} is off")
                continue
            found += [f"filter {name} on {host.name}" for name in network.filters(init.pid)]
            found += [f"{what} of {host.name} held back" for what in HELD_BACK if lab.holds_back(host.name, what)]
            if host in (OBSERVER, CLIENT, STRANGER) and VIP in network.addresses(init.pid):
                found.append(f"{host.name} has {VIP}")
            if lab.plan.clocks and host in lab.plan.nodes and clocks.ahead(lab.plan, host):
                found.append(f"the clock of {host.name}")
        return found

    @property
    def lease(self) -> float | None:
        return self.lab.plan.lease

    @contextmanager
    def watching(self, directory: Path) -> Iterator[list[str]]:
        """Who has the address by the hosts' kernels, and who answers for it on the wire."""
        observer, hosts = self.lab.init(OBSERVER.name).pid, self.lab.plan.hosts
        with (directory / ADDRESS).open("w") as held, (directory / WIRE).open("w") as wire:
            kernels = partial(Holders(self.lab, VIP).watch, partial(_line, held))
            answers = partial(arp.ask, observer, OBSERVER, hosts, VIP, partial(_line, wire))
            with looking({"kernels": kernels, "wire": answers}) as failed:
                yield failed

    @property
    def named(self) -> list[str]:
        hosts = ",".join(host.address for host in self.lab.plan.data_nodes)
        return ["--database", f"postgresql://luigi@{hosts}/luigi"]

    def url_of(self, node: str) -> str | None:
        return f"http://{self.lab.plan.host(node).address}:{PORT}"

    def switch_to(self, node: str) -> str:
        config = str(self.lab.plan.config(self.lab.plan.host(node)))
        return self.lab.run(node, ["luigi-ha", "switchover", node, "--config", config]).stdout.strip()

    # -- all of them ---------------------------------------------------------------------------------------------

    def kill_leader(self) -> Strike:
        name, before = await_leader(self, 0)
        bite = self.lab.faults.kill(name, Target.BOTH)
        _name, after = await_leader(self, before)
        return Strike("kill", name, bite.at, now(), before, after, bite.proof)

    def outage(self) -> Strike:
        _name, before = await_leader(self, 0)
        at, proofs = now(), []
        for host in self.lab.plan.servers:
            self.lab.hold_back(host.name, "serve")
            try:
                proofs.append(self.lab.faults.kill(host.name, Target.BOTH).proof)
            except LabError as error:  # its supervisor was quicker
                proofs.append(str(error))
        until = time.monotonic() + 30
        while any(found(self.lab.init(host.name), Target.BOTH) for host in self.lab.plan.servers):
            if time.monotonic() > until:
                raise DrillError("schedulers are left that do not die")
            time.sleep(0.05)
        proof = f"{'; '.join(proofs)}; {silent(self)}"
        return Strike("outage", "all", at, now(), before, before, proof)

    def restore(self) -> int:
        for host in self.lab.plan.servers:
            self.lab.let(host.name, "serve")
        return await_leader(self, 0)[1]

    def wait_until_ready(self) -> None:
        """Until the lab is, and the nodes themselves say that nothing is less than it should be."""
        self.lab.wait_until_ready(180.0)
        until, wrong = time.monotonic() + SETTLES_WITHIN, ["nobody answers"]
        while wrong and time.monotonic() < until:
            with suppress(OSError):
                wrong = self.degraded()
            time.sleep(0.1)
        if wrong:
            raise TooLong(f"after {SETTLES_WITHIN:g} s: {'; '.join(wrong)}")

    def rows(self, query: str) -> list[list[str]]:
        primary = self.lab.resolve("primary")
        copy = f"COPY ({query}) TO STDOUT (FORMAT csv)"
        argv = ["psql", "-h", primary.address, "-U", "luigi", "-d", "luigi", "-c", copy]
        return list(csv.reader(io.StringIO(self.lab.run(primary.name, argv).stdout)))

    def _health(self, host: Host) -> dict[str, Any] | None:
        """What a leader says of itself; None of anybody else."""
        try:
            status, said = self.lab.ask(host.name, host.address, PORT, "/leader", timeout=1.0)
        except (OSError, LabError):
            return None
        return said if status == 200 and isinstance(said, dict) else None


def _line(out: TextIO, at: float, seen: Any) -> None:
    out.write(json.dumps([round(at, 4), seen]) + "\n")
    out.flush()
