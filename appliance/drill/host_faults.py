"""Faults of hosts, networks, etcd and PostgreSQL: what a lab can do, and two nodes on one machine cannot."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from luigi_ha.appliance.drill import roles
from luigi_ha.appliance.drill.cluster import InLab
from luigi_ha.appliance.drill.fault import Arrange, Bite, Fails, Fault, Strike, ended, until_true
from luigi_ha.appliance.drill.place import Breakable, DrillError, Part, await_leader, now
from luigi_ha.appliance.drill.process_faults import GRAIN, kill_leader
from luigi_ha.appliance.lab import bites
from luigi_ha.appliance.lab.holders import Holders
from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import CLIENT, STRANGER, VIP
from luigi_ha.appliance.lab.targets import Target, found

ON = ("lab",)
PRIMARY_MOVES = 40.0  # s that nobody may be answered while Patroni moves the primary in its own time
HOUR = 3600.0
DEAF_FOR, MOVES_WITHIN, LEADS_WITHIN = 0.5, 60.0, 60.0  # s
HEARD_WITHIN = 3.0  # s in which a standby has heard the leader's time anew
Deed = Callable[[Lab], bites.Bite]


def _lab(place: Breakable) -> Lab:
    if not isinstance(place, InLab):
        raise DrillError(f"this needs a lab, and no {place.kind}")
    return place.lab


def _strike(deed: Deed) -> Strike:
    def strike(place: Breakable, _rng: random.Random) -> Bite:
        bite = deed(_lab(place))
        return Bite((bite.host,), bite.at, bite.at if bite.over is None else bite.over, bite.proof)

    return strike


def _arranged(arrange: Callable[[Lab], None]) -> Arrange:
    return lambda place: arrange(_lab(place))


# -- who is hit -------------------------------------------------------------------------------------------------


def _leader(lab: Lab) -> str:
    """As soon as there is one: another fault may just have struck."""
    return await_leader(InLab(lab), 0, LEADS_WITHIN)[0]


def _primary(lab: Lab) -> str:
    return lab.resolve("primary").name


def _etcd_leader(lab: Lab) -> str:
    return lab.resolve("etcd-leader").name


def _etcd_on(who: Callable[[Lab], str]) -> Arrange:
    return _arranged(lambda lab: roles.etcd_to(lab, who(lab)))


def _etcd_off(who: Callable[[Lab], str]) -> Arrange:
    return _arranged(lambda lab: roles.etcd_off(lab, who(lab)))


# -- what is done -----------------------------------------------------------------------------------------------


def _lose(holds: str) -> Strike:
    """Of the hosts, the one that has exactly these of the roles L, P and E at that moment."""

    def deed(lab: Lab) -> bites.Bite:
        name, state = roles.host_with(lab, holds)
        bite = lab.faults.unplug(name)
        return replace(bite, proof=f"{bite.proof}; before: {state}")

    return _strike(deed)


def _reboot(lab: Lab) -> bites.Bite:
    bite = lab.faults.unplug(_leader(lab))
    lab.faults.plug(bite.host)
    return bite


def _lose_all(place: Breakable, _rng: random.Random) -> Bite:
    """The power is gone everywhere."""
    bite = _lab(place).faults.unplug_all()
    return Bite(tuple(bite.host.split(", ")), bite.at, now(), bite.proof)


def _kill(who: Callable[[Lab], str], what: Target) -> Strike:
    return _strike(lambda lab: lab.faults.kill(who(lab), what))


def _freeze(who: Callable[[Lab], str], what: Target) -> Strike:
    return _strike(lambda lab: lab.faults.freeze(who(lab), what))


def _stop(who: Callable[[Lab], str], service: str, what: Target) -> Strike:
    """SIGTERM, and no start before it is mended."""

    def strike(place: Breakable, _rng: random.Random) -> Bite:
        lab = _lab(place)
        name, at = who(lab), now()
        lab.hold_back(name, service)
        ended(lambda: found(lab.init(name), what), f"{service} of {name}")
        return Bite((name,), at, now(), f"SIGTERM to {service} of {name}: it has ended")

    return strike


def _cut_from_clients(lab: Lab) -> bites.Bite:
    return lab.faults.cut(_leader(lab), CLIENT.name)


def _deaf_client(place: Breakable, rng: random.Random) -> Bite:
    """The leader is killed while the clients' host hears no ARP, until another host has had the address for half a
    second: what is announced first never comes to it, and it goes on sending to the host that was."""
    lab = _lab(place)
    holders = Holders(lab, VIP)
    before = holders.now()
    deaf = lab.faults.cut_arp(CLIENT.name)
    killed = kill_leader(Part.NODE)(place, rng)
    until_true(lambda: holders.now() not in ([], before), MOVES_WITHIN, "the address is nowhere else")
    time.sleep(DEAF_FOR)
    lab.faults.heal(CLIENT.name)
    return Bite(killed.nodes, killed.at, killed.over, f"{killed.proof}; meanwhile {CLIENT.name}: {deaf.proof}")


def _switch_with_primary(place: Breakable, _rng: random.Random) -> Bite:
    """To the host of the synchronous standby: the primary goes along."""
    lab = _lab(place)
    to, at = lab.state().synchronous[0], now()
    roles.lead(lab, to)
    until = now() + 5.0
    while lab.state().primary != to:
        if now() > until:
            raise DrillError(f"the primary did not go along to {to}")
        time.sleep(0.1)
    return Bite((to,), at, now(), f"{to} leads by `luigi-ha switchover`, and the primary is there too")


def _wrong_clock_leads(ahead: float) -> Strike:
    """The standbys' times of day are wrong, and then the leader is killed."""

    def strike(place: Breakable, rng: random.Random) -> Bite:
        lab = _lab(place)
        leader, on = _leader(lab), lab.inits()
        others = [host.name for host in lab.plan.servers if host.name != leader and host.name in on]
        said = [lab.faults.set_clock(name, ahead).proof for name in others]
        time.sleep(HEARD_WITHIN)
        killed = kill_leader(Part.NODE)(place, rng)
        return Bite(killed.nodes, killed.at, killed.over, f"{'; '.join(said)}; then {killed.proof}")

    return strike


def _cut_etcd_and_set_back(lab: Lab) -> bites.Bite:
    bite = lab.faults.cut_etcd(_leader(lab))
    back = lab.faults.set_clock(bite.host, -HOUR)
    return replace(bite, proof=f"{bite.proof}; {back.proof}")


def _both_at_once(place: Breakable, _rng: random.Random) -> Bite:
    """Scheduler leader and PostgreSQL's primary, which are on different hosts, in one moment: SIGKILL."""
    lab = _lab(place)
    leader, primary, at = _leader(lab), _primary(lab), now()
    one, two = lab.faults.kill(leader, Target.BOTH), lab.faults.kill(primary, Target.POSTGRES)
    return Bite((leader, primary), at, now(), f"{one.proof}; {two.proof}")


beside, apart = _arranged(roles.beside_primary), _arranged(roles.apart)
no_hook = _arranged(lambda lab: lab.stop_hook(on=False))
_host = partial(Fault, on=ON, watch=6.0)
_long = partial(Fault, on=ON, watch=8.0, fails=Fails.ANY)
_still = partial(Fault, on=ON, moves=False)
_TABLE = (
    # Hosts: L, P and E in every combination.
    _host("lose-leader", "the leader's host is lost; primary and etcd's leader are elsewhere",
          _lose("L"), arrange=apart, aim=_etcd_off(_leader)),
    _host("lose-leader-and-etcd", "... with etcd's leader", _lose("LE"), arrange=apart, aim=_etcd_on(_leader)),
    _host("lose-leader-and-primary", "... with PostgreSQL's primary", _lose("LP"), arrange=beside,
          aim=_etcd_off(_leader)),
    _host("lose-all-three", "... with both", _lose("LPE"), arrange=beside, aim=_etcd_on(_leader)),
    _still("lose-primary", "the primary's host is lost, which does not lead", _lose("P"), arrange=apart,
           aim=_etcd_off(_primary), watch=6.0),
    _still("lose-primary-and-etcd", "... with etcd's leader", _lose("PE"), arrange=apart, aim=_etcd_on(_primary),
           watch=6.0),
    _still("lose-etcd", "the host of etcd's leader is lost, which has no other role", _lose("E"),
           arrange=beside, aim=_etcd_on(roles.bystander), watch=4.0),
    _still("lose-bystander", "a host without any role is lost", _lose(""), arrange=beside,
           aim=_etcd_off(roles.bystander), watch=4.0),
    _host("reboot-leader", "the leader's host is off and on again", _strike(_reboot), within=20.0),
    _still("lose-everything", "all hosts off, and on again", _lose_all, watch=2.0, fails=Fails.ANY, within=150.0,
           recovers=False),
    # A host, or a part of it, that stands still.
    _long("freeze-keeper", "SIGSTOP to the leader's keeper", _freeze(_leader, Target.KEEPER), late=True,
          gone_after=GRAIN, within=20.0),
    _long("freeze-node", "SIGSTOP to the leader's keeper and scheduler", _freeze(_leader, Target.BOTH), late=True,
          gone_after=GRAIN, within=20.0),
    _long("freeze-host", "SIGSTOP to everything on the leader's host", _freeze(_leader, Target.HOST), arrange=apart,
          late=True, gone_after=GRAIN, within=20.0),
    # Networks.
    _host("cut-leader", "the leader's host is cut off from everybody",
          _strike(lambda lab: lab.faults.cut(_leader(lab))), arrange=apart, aim=_etcd_off(_leader),
          gone_after=GRAIN),
    _long("cut-leader-and-primary", "... with the primary", _strike(lambda lab: lab.faults.cut(_leader(lab))),
          arrange=beside, within=PRIMARY_MOVES, watch=30.0, gone_after=GRAIN),
    _host("deafen-leader", "packets leave the leader's host, and none come in", _strike(
        lambda lab: lab.faults.deafen(_leader(lab))), arrange=apart, fails=Fails.ANY, within=20.0,
        gone_after=GRAIN),
    _host("cut-etcd", "the leader's node reaches no etcd", _strike(lambda lab: lab.faults.cut_etcd(_leader(lab))),
          fails=Fails.ANY, gone_after=GRAIN),
    _host("cut-etcd-host", "nothing on the leader's host reaches an etcd, and its own is cut off",
          _strike(lambda lab: lab.faults.cut_etcd(_leader(lab), whole_host=True)), arrange=apart, fails=Fails.ANY,
          gone_after=GRAIN, within=20.0),
    _host("cut-postgres", "the leader's node reaches no PostgreSQL",
          _strike(lambda lab: lab.faults.cut_postgres(_leader(lab))), watch=8.0, fails=Fails.ANY, within=20.0),
    _still("cut-clients", "the clients' host and the leader's do not reach each other", _strike(_cut_from_clients),
           watch=3.0, fails=Fails.ANY),
    _still("lose-packets", "a fifth of the packets of the leader's host is lost",
           _strike(lambda lab: lab.faults.lose(_leader(lab), 20)), watch=6.0, fails=Fails.ANY, within=25.0),
    # The address.
    _host("deaf-clients", "SIGKILL to the leader while the clients' host hears no ARP", _deaf_client,
          watch=6.0, within=6.0),
    _still("take-address", "another machine takes the address, and announces it",
           _strike(lambda lab: lab.faults.take_address(STRANGER.name)), watch=3.0, fails=Fails.ANY),
    _still("flush-address", "the address is taken from the leader's host", _strike(
        lambda lab: lab.faults.flush_address(_leader(lab))), watch=3.0, fails=Fails.ANY),
    # Without a supervisor that runs `luigi-ha release` when a node has died.
    _host("kill-keeper-no-hook", "SIGKILL to the leader's keeper, and no stop hook runs", kill_leader(Part.KEEPER),
          arrange=no_hook, gone_after=GRAIN),
    _host("kill-node-no-hook", "SIGKILL to the leader's keeper and scheduler, and no stop hook runs",
          kill_leader(Part.NODE), arrange=no_hook, gone_after=GRAIN),
    # etcd.
    _still("kill-etcd", "SIGKILL to etcd's leader", _kill(_etcd_leader, Target.ETCD), watch=3.0),
    _still("freeze-etcd", "SIGSTOP to etcd's leader", _freeze(_etcd_leader, Target.ETCD), watch=6.0),
    _still("stop-etcd", "SIGTERM to etcd's leader", _stop(_etcd_leader, "etcd", Target.ETCD), watch=3.0),
    # PostgreSQL.
    _still("kill-postgres", "SIGKILL to the primary", _kill(_primary, Target.POSTGRES), watch=4.0, fails=Fails.ANY,
           within=PRIMARY_MOVES),
    _still("freeze-postgres", "SIGSTOP to the primary", _freeze(_primary, Target.POSTGRES), watch=6.0,
           fails=Fails.ANY, within=PRIMARY_MOVES),
    _still("kill-patroni", "SIGKILL to the primary's Patroni", _kill(_primary, Target.PATRONI), watch=3.0),
    _still("freeze-patroni", "SIGSTOP to the primary's Patroni for 35 s: its lease ends meanwhile",
           _freeze(_primary, Target.PATRONI), watch=35.0, fails=Fails.ANY, within=PRIMARY_MOVES),
    _still("stop-patroni", "SIGTERM to the primary's Patroni", _stop(_primary, "patroni", Target.PATRONI), watch=6.0,
           fails=Fails.ANY, within=PRIMARY_MOVES),
    _still("kill-leader-and-primary", "SIGKILL to the leader and, on another host, to the primary", _both_at_once,
           watch=6.0, arrange=apart, fails=Fails.ANY, within=PRIMARY_MOVES),
    _still("disk-full", "the primary's disk is full", _strike(lambda lab: lab.faults.fill_disk(_primary(lab))),
           disks=True, watch=10.0, fails=Fails.ANY, within=90.0),
    # Clocks.
    _host("clock-ahead", "SIGKILL to the leader, while the time of day of all standbys is an hour ahead",
          _wrong_clock_leads(HOUR), clocks=True),
    _host("clock-behind", "... an hour behind", _wrong_clock_leads(-HOUR), clocks=True),
    _host("cut-etcd-clock-back", "the leader's node reaches no etcd, and its time of day goes back an hour",
          _strike(_cut_etcd_and_set_back), clocks=True, fails=Fails.ANY, gone_after=GRAIN),
    _still("clock-set", "the leader's time of day is set an hour ahead", _strike(
        lambda lab: lab.faults.set_clock(_leader(lab), HOUR)), clocks=True, watch=4.0, fails=Fails.NONE),
    # Planned.
    _host("switchover-with-primary", "a planned switchover that takes the primary along", _switch_with_primary,
          arrange=beside, watch=2.0, fails=Fails.NONE),
)  # fmt: skip
ALL = {fault.name: fault for fault in _TABLE}
