"""`Lab`: the whole cluster, up and down, and everything one can ask of it from a program.

    lab = Lab(Path("/var/tmp/drill"))
    lab.up(print)
    lab.faults.kill("leader", "scheduler")
    lab.run_in("client", ["luigi", ...])          # a Popen, inside of the client
    lab.down()

Up cleans what an earlier lab left in the same directory. Down finds what there is from the kernel, not from what was
remembered, so it works after a crash of anything, also of itself and of a lab that never became ready.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luigi_ha.appliance.lab import clocks, inside, machines, network, processes, recipes, state
from luigi_ha.appliance.lab.errors import LabError, NoLab, WrongUse
from luigi_ha.appliance.lab.exclusive import exclusive
from luigi_ha.appliance.lab.faults import Faults
from luigi_ha.appliance.lab.plan import DEFAULT_DIRECTORY, ETCD_PORT, MARK, SWITCH, Host, Plan, check_machine
from luigi_ha.appliance.lab.processes import Process
from luigi_ha.appliance.lab.state import ClusterState

READY_SECONDS = 180.0  # each: etcd, PostgreSQL, luigi-ha; together about 15 on a quiet machine
Progress = Callable[[str], object]
Complete = Callable[[ClusterState], bool]


def _silent(_line: str) -> None:
    pass


class Lab:
    """The lab in one directory. Holds no state of its own: two objects, or two processes, may use one lab.

    `ready_seconds`: how long each of its services may take to be ready.
    """

    def __init__(self, directory: Path = DEFAULT_DIRECTORY, *, ready_seconds: float = READY_SECONDS) -> None:
        self.directory = directory.resolve()
        self._ready_seconds = ready_seconds
        self.faults = Faults(self)

    # ------------------------------------------------------------------------------------------------ up and down

    def up(self, progress: Progress = _silent, **options: Any) -> None:
        """Bring up a new lab (`options`: those of Plan) and wait until it is ready. What ran here before is ended.

        When it fails, what came up stays for a look; `down` cleans. When it is interrupted, it cleans itself.
        """
        _as_root()
        check_machine(self.directory)
        plan = Plan(self.directory, **options)
        if plan.clocks:
            clocks.check()
        with exclusive(self.directory):
            if self._clean():
                progress("removed what an earlier lab had left")
            try:
                self._build(plan, _timed(progress))
            except KeyboardInterrupt:
                self._clean()
                raise

    def down(self) -> bool:
        """End everything of this lab and remove its directory; whether there was anything. Harmless to repeat."""
        _as_root()
        with exclusive(self.directory):
            return self._clean()

    def wait_until_ready(self, timeout: float | None = None, *, serve: bool = True) -> None:
        """Until etcd and PostgreSQL are complete (with a synchronous standby), and luigi-ha answers everywhere, leads
        and holds the address. Without `serve`: the first two alone."""
        self._await_etcd(timeout)
        self._await_postgres(timeout)
        if serve:
            self._await_serve(timeout)

    # ------------------------------------------------------------------------------------------------ asking

    @property
    def plan(self) -> Plan:
        """As it was brought up; NoLab if there is none here."""
        return Plan.load(self.directory)

    def inits(self) -> dict[str, Process]:
        """Process 1 of each host that runs."""
        return processes.inits(self.directory)

    def init(self, name: str) -> Process:
        """Process 1 of a host; NoLab if it does not run."""
        found = self.inits().get(self.plan.host(name).name)
        if found is None:
            raise NoLab(f"{name} does not run: luigi-ha lab fault plug {name}")
        return found

    def state(self) -> ClusterState:
        """Who is what, asked of the parts themselves."""
        return state.cluster(self.plan, self.inits())

    def leader(self) -> str | None:
        """The host whose luigi-ha leads now; None: nobody."""
        return self.state().leader

    def resolve(self, name: str) -> Host:
        """A host by its name or by what it is now: leader, standby, primary, sync-standby, etcd-leader, ..."""
        found: str | None = name
        now = self.state() if name in ROLES else None
        if now is not None:
            servers = [host.name for host in self.plan.servers]
            match name:
                case "leader":
                    found = now.leader
                case "standby":
                    found = next((host for host in servers if host != now.leader), None) if now.leader else None
                case "primary":
                    found = now.primary
                case "sync-standby":
                    found = next(iter(now.synchronous), None)
                case _:
                    found = now.etcd_leader
        if found is None or " " in found:
            raise LabError(f"there is no {name} now" if found is None else f"more than one {name} now: {found}")
        return self.plan.host(found)

    # ------------------------------------------------------------------------------------------------ on a host

    def options_on(self, name: str) -> dict[str, str]:
        """Variables for the commands of a person on this host: whose they are, and where the cluster is."""
        config = self.plan.config(self.plan.host(name))
        if config.is_file():
            return {"LUIGI_HA_CONFIG": str(config)}
        endpoints = ",".join(f"http://{node.address}:{ETCD_PORT}" for node in self.plan.nodes)
        hosts = ",".join(node.address for node in self.plan.data_nodes)
        return {"LUIGI_HA_ETCD_ENDPOINTS": endpoints, "LUIGI_HA_DATABASE": f"postgresql://luigi@{hosts}/luigi"}

    def run_in(self, name: str, argv: Sequence[str], **options: Any) -> inside.Inside:
        """Start a program on a host (`options` as for subprocess.Popen). It dies with the host, and with us."""
        init = self.init(name)
        more: Mapping[str, str] = options.pop("env", None) or {}
        where = options.pop("cwd", None)
        command = inside.entering(init.pid, argv, where)
        return inside.Inside(command, env=inside.environ(self.plan.vip_url, more), **options)

    def run(self, name: str, argv: Sequence[str], timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program on a host to its end; LabError with its words if it fails."""
        init = self.init(name)
        done = subprocess.run(
            inside.entering(init.pid, argv), env=inside.environ(self.plan.vip_url, {}), capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"{' '.join(argv)} on {name}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done

    def ask(self, name: str, address: str, port: int, path: str, **options: Any) -> tuple[int, Any]:
        """An HTTP question asked from a host, in this process; see inside.ask."""
        return inside.ask(self.init(name).pid, address, port, path, **options)

    def socket_in(self, name: str, *options: int) -> socket.socket:
        """A socket on a host, for this process; see inside.socket_in."""
        return inside.socket_in(self.init(name).pid, *options)

    def hold_back(self, name: str, service: str) -> None:
        """Stop a service of a host in order, and do not start it again before `let`."""
        (self.plan.of(self.plan.host(name)) / "held" / service).touch()

    def let(self, name: str, service: str) -> None:
        """Start a service that was held back."""
        (self.plan.of(self.plan.host(name)) / "held" / service).unlink(missing_ok=True)

    def holds_back(self, name: str, service: str) -> bool:
        """Whether a service of a host is held back."""
        return (self.plan.of(self.plan.host(name)) / "held" / service).exists()

    def stop_hook(self, *, on: bool) -> None:
        """From now on, run `luigi-ha release` after serve has died, or do not (on every host)."""
        for host in self.plan.servers:
            (self.let if on else self.hold_back)(host.name, "stop-hook")

    def start_host(self, host: Host) -> None:
        """Boot a host that does not run, and plug it in."""
        switch = self.inits().get(SWITCH.name)
        if switch is None:
            raise NoLab(f"the lab in {self.directory} is broken (no switch): luigi-ha lab up")
        machines.start(self.directory, host.name, lambda init: network.plug(switch.pid, init, host))

    # ------------------------------------------------------------------------------------------------ inside

    def _build(self, plan: Plan, progress: Progress) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / MARK).touch()
        recipes.write(plan)
        plan.save()
        for host in plan.data_nodes:
            self.hold_back(host.name, "patroni")  # until etcd's members agree: it would exit and come back later
            self.hold_back(host.name, "serve")  # until the database has its tables
        machines.start(self.directory, SWITCH.name, network.make_switch)
        for host in plan.hosts:
            self.start_host(host)
        progress(f"{len(plan.nodes)} hosts, a client, an observer and a stranger on a switch of their own")
        self._await_etcd()
        progress("etcd has a leader")
        for host in plan.data_nodes:
            self.let(host.name, "patroni")
        self._await_postgres()
        now = self.state()
        progress(f"PostgreSQL: primary on {now.primary}, synchronous standby on {', '.join(now.synchronous)}")
        server = plan.servers[0]
        self.run(server.name, ["luigi-ha", "db", "upgrade", "--config", str(plan.config(server))])
        for host in plan.servers:
            self.let(host.name, "serve")
        self._await_serve()
        progress(f"luigi-ha leads on {self.leader()}: {plan.vip_url}")

    def _clean(self) -> bool:
        found = False
        for _ in range(50):  # what was just being started is found in the next round
            left = processes.carriers(self.directory)
            if not left:
                break
            found = True
            stubborn = processes.kill(process.pid for _name, process in left)
            machines.reap()
            if stubborn:
                raise LabError(f"processes {stubborn} of the lab do not die; they wait for a disk")
        else:
            raise LabError("hosts of this lab keep being started; is another program bringing it up?")
        if (self.directory / MARK).exists():
            found = True
            _remove(self.directory)
        return found

    def _await_etcd(self, timeout: float | None = None) -> None:
        def complete(now: ClusterState) -> bool:
            return now.etcd_leader is not None and all(node.etcd for node in now.nodes.values())

        self._await("etcd", complete, timeout)

    def _await_postgres(self, timeout: float | None = None) -> None:
        data = [host.name for host in self.plan.data_nodes]

        def complete(now: ClusterState) -> bool:
            said = [now.nodes[name].patroni for name in data]
            streaming = [one for one in said if one and one["replication_state"] == "streaming"]
            return now.primary in data and bool(now.synchronous) and len(streaming) == len(data) - 1

        self._await("patroni", complete, timeout)

    def _await_serve(self, timeout: float | None = None) -> None:
        servers = [host.name for host in self.plan.servers]

        def complete(now: ClusterState) -> bool:
            answering = all(now.nodes[name].serve for name in servers)
            return now.leader in servers and answering and (not self.plan.vip or now.vip_holder == now.leader)

        self._await("serve", complete, timeout)

    def _await(self, service: str, complete: Complete, timeout: float | None) -> None:
        timeout = self._ready_seconds if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while not complete(now := self.state()):
            if time.monotonic() > deadline:
                raise LabError(
                    f"{service} is not ready after {timeout:g} s: {state.brief(now)}; "
                    f"logs: {self.plan.logs}/*-{service}.log"
                )
            time.sleep(0.1)


ROLES = ("leader", "standby", "primary", "sync-standby", "etcd-leader")


def _as_root() -> None:
    if os.geteuid() != 0:
        raise WrongUse("the lab makes namespaces: run it as root")


def _remove(directory: Path) -> None:
    """The mark goes last, so that an interrupted removal can be repeated."""
    for entry in directory.iterdir():
        if entry.name != MARK:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    shutil.rmtree(directory)


def _timed(progress: Progress) -> Progress:
    started = time.monotonic()
    return lambda line: progress(f"[{time.monotonic() - started:5.1f} s] {line}")
