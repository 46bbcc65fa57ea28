"""Faults, each with the proof that it bit.

Every method does one thing to one host and then looks: is the process really dead, is the packet really dropped? If
not, NoBite. What it returns says when it happened (`at`: CLOCK_BOOTTIME s, read just before the deed) and how that
was seen. A probe that would have failed before the deed proves nothing, so probes run before it too.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from luigi_ha.appliance.lab import arp, clocks, disks, machines, moves, network, probes, processes
from luigi_ha.appliance.lab.bites import Bite, listed, now
from luigi_ha.appliance.lab.errors import LabError, NoBite, WrongUse
from luigi_ha.appliance.lab.network import Filter
from luigi_ha.appliance.lab.plan import CLIENT, ETCD_PORT, OBSERVER, POSTGRES_PORT, STRANGER, SWITCH, VIP, Host
from luigi_ha.appliance.lab.processes import Process
from luigi_ha.appliance.lab.targets import Target, found

if TYPE_CHECKING:
    from luigi_ha.appliance.lab.lab import Lab


class Faults:
    """The faults of one lab. Hosts may be named by role: see Lab.resolve."""

    def __init__(self, lab: "Lab") -> None:
        self._lab = lab

    # ------------------------------------------------------------------------------------------------ processes

    def kill(self, name: str, what: Target) -> Bite:
        """SIGKILL, to all of them as one moment."""
        host = self._lab.resolve(name)
        targets = self._targets(host, what)
        at = now()
        left = processes.kill(process.pid for process in targets)
        if left:
            raise NoBite(f"{what.value} of {host.name}: {left} live on after SIGKILL")
        return Bite(f"kill-{what.value}", host.name, at, f"dead: {listed(targets)}", now())

    def freeze(self, name: str, what: Target) -> Bite:
        """SIGSTOP, until `thaw`. A frozen host's kernel goes on: it answers ping and drops addresses in time."""
        host = self._lab.resolve(name)
        self._targets(host, what)
        at = now()
        init = self._lab.init(host.name)
        stopped = processes.freeze(lambda: found(init, what))
        running = [process for process in found(init, what) if process.state not in "Tt"]
        if running or not stopped:
            raise NoBite(f"{what.value} of {host.name}: {listed(running)} run on after SIGSTOP")
        return Bite(f"freeze-{what.value}", host.name, at, f"stopped: {listed(stopped)}")

    def thaw(self, name: str, what: Target = Target.HOST) -> Bite:
        """SIGCONT."""
        host = self._lab.resolve(name)
        init, at = self._lab.init(host.name), now()
        running = processes.thaw(lambda: found(init, what))
        stopped = [process for process in found(init, what) if process.state in "Tt"]
        if stopped:
            raise NoBite(f"{what.value} of {host.name}: {listed(stopped)} are still stopped")
        return Bite(f"thaw-{what.value}", host.name, at, f"running: {listed(running)}")

    # ------------------------------------------------------------------------------------------------ the host

    def unplug(self, name: str) -> Bite:
        """The host is lost at once: not a packet leaves it any more, and everything on it is dead. Its disk stays."""
        host, switch = self._pluggable(name), self._lab.init(SWITCH.name)
        init = self._lab.init(host.name)
        lives = len(processes.inside(init))
        probe = self._observer(host)
        self._must(probes.ping(probe, host.address), f"{host.name} did not answer before either")
        at = now()
        network.cut(switch.pid, host)  # before the kill: the dying processes' farewells must not get out
        over = now()
        left = processes.kill([init.pid])
        network.unplug(switch.pid, host)
        machines.reap()
        alive = [process.pid for process in processes.every() if process.space == init.space and process.alive]
        if left or alive or host.name in network.plugged(switch.pid) or probes.ping(probe, host.address):
            raise NoBite(f"{host.name} is not gone: processes {left or alive}")
        return Bite("unplug", host.name, at, f"{lives} processes dead, cable gone, no answer to ping", over)

    def unplug_all(self) -> Bite:
        """All hosts of the cluster at once, as when the power goes."""
        switch = self._lab.init(SWITCH.name)
        inits = {host: self._lab.inits()[host.name] for host in self._lab.plan.nodes if host.name in self._lab.inits()}
        at = now()
        for host in inits:
            network.cut(switch.pid, host)
        left = processes.kill(init.pid for init in inits.values())
        over = now()
        for host in inits:
            network.unplug(switch.pid, host)
        machines.reap()
        if left or any(host.name in network.plugged(switch.pid) for host in inits):
            raise NoBite(f"processes {left} live on, or a cable is left")
        names = ", ".join(host.name for host in inits)
        return Bite("unplug-all", names, at, f"{names}: all processes dead, cables gone", over)

    def plug(self, name: str) -> Bite:
        """The host comes back, with its disk as it was left."""
        host, at = self._pluggable(name), now()
        if host.name in self._lab.inits():
            raise WrongUse(f"{host.name} is plugged in already")
        switch = self._lab.init(SWITCH.name)
        if host.name in network.plugged(switch.pid):
            network.unplug(switch.pid, host)
        self._lab.start_host(host)
        self._must(probes.ping(self._observer(host), host.address), f"{host.name} does not answer ping")
        return Bite("plug", host.name, at, "booted; answers ping")

    # ------------------------------------------------------------------------------------------------ the network

    def cut(self, name: str, other: str | None = None) -> Bite:
        """The host is isolated from everybody (its carrier stays), or from one other host."""
        host = self._pluggable(name)
        if other is not None:
            return self._cut_peer(host, self._pluggable(other))
        probe, switch = self._observer(host), self._lab.init(SWITCH.name)
        self._must(probes.ping(probe, host.address), f"{host.name} did not answer before either")
        at = now()
        network.cut(switch.pid, host)
        over = now()
        if probes.ping(probe, host.address):
            raise NoBite(f"{host.name} still answers ping")
        proof = "no answer to ping; its port in the switch is dead, its carrier is there"
        return Bite("cut", host.name, at, proof, over)

    def cut_etcd(self, name: str, *, whole_host: bool = False) -> Bite:
        """luigi-ha on this host reaches no etcd, its own member neither; Patroni and etcd itself are spared.

        `whole_host`: nothing on this host reaches an etcd of any host, and its member is cut off from the others.
        """
        filter_ = network.ETCD_FROM_HOST if whole_host else network.ETCD_FROM_LUIGI
        members = [node for node in self._lab.plan.nodes if node.etcd]
        return self._filter("cut-etcd", self._lab.resolve(name), filter_, members, ETCD_PORT)

    def cut_postgres(self, name: str, *, whole_host: bool = False) -> Bite:
        """luigi-ha on this host reaches no PostgreSQL, its own neither; replication goes on.

        `whole_host`: nothing on this host reaches a PostgreSQL over the network, and its own is reached by nobody.
        """
        filter_ = network.POSTGRES_FROM_HOST if whole_host else network.POSTGRES_FROM_LUIGI
        return self._filter("cut-postgres", self._lab.resolve(name), filter_, self._lab.plan.data_nodes, POSTGRES_PORT)

    def deafen(self, name: str) -> Bite:
        """One way: the host's packets get out, and none gets in."""
        host = self._pluggable(name)
        probe, pid = self._observer(host), self._lab.init(host.name).pid
        self._must(probes.ping(probe, host.address), f"{host.name} did not answer before either")
        at = now()
        network.apply(pid, network.DEAF)
        over = now()
        if probes.ping(probe, host.address):
            raise NoBite(f"{host.name} still answers ping")
        dropped = network.filters(pid)[network.DEAF.name]
        return Bite("deafen", host.name, at, f"{dropped} packets dropped on their way in; no answer to ping", over)

    def lose(self, name: str, percent: int) -> Bite:
        """So many of a hundred packets of the host are lost, at random, in either direction."""
        host = self._pluggable(name)
        pid, at = self._lab.init(host.name).pid, now()
        filter_ = network.lossy(percent)
        network.apply(pid, filter_)
        dropped = network.bitten(pid, filter_, f"{host.name} loses nothing")
        return Bite("lose", host.name, at, f"{percent} % of its packets are dropped: {dropped} so far")

    def cut_arp(self, name: str) -> Bite:
        """Nobody on the segment is understood by this host when they say who has which address."""
        host = self._pluggable(name)
        pid, at = self._lab.init(host.name).pid, now()
        network.apply(pid, network.NO_ARP)
        dropped = network.bitten(pid, network.NO_ARP, f"{host.name} hears no ARP that could be dropped")
        return Bite("cut-arp", host.name, at, f"{dropped} ARP packets dropped")

    # ------------------------------------------------------------------------------------------------ the address

    def take_address(self, name: str) -> Bite:
        """This host, which is none of the cluster's, takes the cluster's address, and says so to everybody."""
        host = self._pluggable(name)
        pid, at = self._lab.init(host.name).pid, now()
        network.take_address(pid, VIP)
        arp.announce(pid, host, VIP)
        if VIP not in network.addresses(pid):
            raise NoBite(f"{host.name} has no {VIP}")
        return Bite("take-address", host.name, at, f"{host.name} has {VIP} too, and has announced it")

    def flush_address(self, name: str) -> Bite:
        """The cluster's address is taken from the host that has it, behind its back."""
        host = self._pluggable(name)
        pid = self._lab.init(host.name).pid
        self._must(VIP in network.addresses(pid), f"{host.name} does not have {VIP}")
        at = now()
        network.drop_address(pid, VIP)
        return Bite("flush-address", host.name, at, f"`ip address del {VIP}` on {host.name}")

    def set_clock(self, name: str, ahead: float) -> Bite:
        """From now on the host's time of day is so many seconds ahead of the machine's, as its luigi-ha says."""
        host, at = self._lab.resolve(name), now()
        clocks.put(self._lab.plan, host, ahead)
        said = clocks.said(self._lab, host, ahead)
        return Bite("set-clock", host.name, at, f"{host.name} says that its time of day is {said:+.1f} s ahead")

    def right_clock(self, name: str) -> None:
        """The host's time of day is the machine's again."""
        clocks.put(self._lab.plan, self._lab.resolve(name), 0.0)

    def give_address_back(self) -> None:
        """Nobody but the cluster has its address any more."""
        for host in (CLIENT, OBSERVER, STRANGER):
            if host.name in self._lab.inits():
                network.drop_address(self._lab.init(host.name).pid, VIP)

    def heal(self, name: str | None = None) -> list[Bite]:
        """Take back every cut of this host, or of all. What is unplugged or frozen stays so."""
        plan, switch = self._lab.plan, self._lab.init(SWITCH.name)
        hosts, healed = plan.hosts if name is None else (self._lab.resolve(name),), []
        inits, ports = self._lab.inits(), network.plugged(switch.pid)
        for host in hosts:
            if host.name not in inits:
                continue
            at, mended = now(), []
            for cut_by in network.filters(inits[host.name].pid):
                network.unfilter(inits[host.name].pid, cut_by)
                mended.append(f"filter {cut_by}")
            if not ports.get(host.name, True):
                network.mend(switch.pid, host)
                self._must(probes.ping(self._observer(host), host.address), f"{host.name} does not answer ping")
                mended.append("port")
            if mended:
                healed.append(Bite("heal", host.name, at, f"removed: {', '.join(mended)}"))
        return healed

    # ------------------------------------------------------------------------------------------------ the disk

    def fill_disk(self, name: str) -> Bite:
        """The disk that PostgreSQL of this host is on is full, and PostgreSQL has met that."""
        host = self._lab.resolve(name)
        at = now()
        return Bite("fill-disk", host.name, at, disks.fill(self._lab, host))

    def free_disk(self, name: str) -> None:
        """Take away what fills it."""
        disks.free(self._lab, self._lab.resolve(name))

    # ------------------------------------------------------------------------------------------------ moves

    def move_etcd_leader(self, name: str) -> Bite:
        """etcd's own leader moves to this host's member."""
        host, at = self._lab.resolve(name), now()
        return Bite("move-etcd-leader", host.name, at, moves.etcd_leader(self._lab.plan, self._lab.inits(), host))

    def switchover_postgres(self, name: str) -> Bite:
        """PostgreSQL's primary moves to this host, by Patroni's switchover."""
        host, at = self._lab.resolve(name), now()
        return Bite("switchover-postgres", host.name, at, moves.primary(self._lab.plan, self._lab.inits(), host))

    # ------------------------------------------------------------------------------------------------ inside

    def _cut_peer(self, host: Host, other: Host) -> Bite:
        pid = self._lab.init(host.name).pid
        self._must(probes.ping(pid, other.address), f"{other.name} did not answer before either")
        at = now()
        network.apply(pid, network.peer(other))
        if probes.ping(pid, other.address):
            raise NoBite(f"{other.name} still answers {host.name}")
        return Bite("cut", host.name, at, f"{other.name} does not answer it any more")

    def _filter(self, fault: str, host: Host, filter_: Filter, servers: Iterable[Host], port: int) -> Bite:
        pid = self._lab.init(host.name).pid
        if filter_.name in network.filters(pid):
            raise WrongUse(f"{host.name} is cut so already; heal it first")
        reached = probes.reached(pid, servers, port)
        self._must(bool(reached), f"{host.name} reached none before either")
        at = now()
        network.apply(pid, filter_)
        through = [server.name for server in probes.reached(pid, reached, port)]
        dropped = network.filters(pid)[filter_.name]
        if through or not dropped:
            raise NoBite(f"{host.name} still reaches {', '.join(through) or 'them'}")
        names = ", ".join(server.name for server in reached)
        return Bite(fault, host.name, at, f"{dropped} packets dropped; port {port} of {names} is not reached any more")

    def _targets(self, host: Host, what: Target) -> list[Process]:
        targets = found(self._lab.init(host.name), what)
        if not targets:
            raise WrongUse(f"no {what.value} runs on {host.name} now")
        return targets

    def _pluggable(self, name: str) -> Host:
        host = self._lab.resolve(name)
        if host.name == SWITCH.name:
            raise WrongUse("the switch itself has no cable to pull")
        return host

    def _observer(self, host: Host) -> int:
        """From where to look at a host."""
        return self._lab.init((CLIENT if host.name == OBSERVER.name else OBSERVER).name).pid

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            raise LabError(otherwise)
