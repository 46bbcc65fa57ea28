"""The place that counts: three hosts with etcd, PostgreSQL under Patroni and luigi-ha, in a lab."""

import csv
import io
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drills.fleet.evidence import Strike
from drills.fleet.place import ASKING, Answer, DrillError, await_leader, now, silent
from luigi_ha.appliance.lab.errors import LabError
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, VIP, Host
from luigi_ha.appliance.lab.targets import Target, found


class InLab:
    """A cluster of three hosts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.url = lab.plan.vip_url

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        with log.open("ab") as out:
            return self._lab.run_in(
                "client", argv, env=dict(env), cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        return Answer(*self._lab.ask("client", VIP, PORT, path, method=method, body=body, timeout=timeout))

    def leading(self) -> tuple[str, int] | None:
        found_ = [(host.name, said["epoch"]) for host in self._lab.plan.servers if (said := self._health(host))]
        return found_[0] if len(found_) == 1 else None

    def kill_leader(self) -> Strike:
        name, before = await_leader(self, 0)
        bite = self._lab.faults.kill(name, Target.BOTH)
        _name, after = await_leader(self, before)
        return Strike("kill", name, bite.at, now(), before, after, bite.proof)

    def outage(self) -> Strike:
        _name, before = await_leader(self, 0)
        at, proofs = now(), []
        for host in self._lab.plan.servers:
            self._lab.hold_back(host.name, "serve")
            try:
                proofs.append(self._lab.faults.kill(host.name, Target.BOTH).proof)
            except LabError as error:  # its supervisor was quicker
                proofs.append(str(error))
        until = time.monotonic() + 30
        while any(found(self._lab.init(host.name), Target.BOTH) for host in self._lab.plan.servers):
            if time.monotonic() > until:
                raise DrillError("schedulers are left that do not die")
            time.sleep(0.05)
        proof = f"{'; '.join(proofs)}; {silent(self)}"
        return Strike("outage", "all", at, now(), before, before, proof)

    def restore(self) -> int:
        for host in self._lab.plan.servers:
            self._lab.let(host.name, "serve")
        return await_leader(self, 0)[1]

    def wait_until_ready(self) -> None:
        self._lab.wait_until_ready(180.0)

    def rows(self, query: str) -> list[list[str]]:
        primary = self._lab.resolve("primary")
        copy = f"COPY ({query}) TO STDOUT (FORMAT csv)"
        argv = ["psql", "-h", primary.address, "-U", "luigi", "-d", "luigi", "-c", copy]
        return list(csv.reader(io.StringIO(self._lab.run(primary.name, argv).stdout)))

    def _health(self, host: Host) -> dict[str, Any] | None:
        """What a leader says of itself; None of anybody else."""
        try:
            status, said = self._lab.ask(host.name, host.address, PORT, "/leader", timeout=1.0)
        except (OSError, LabError):
            return None
        return said if status == 200 and isinstance(said, dict) else None
