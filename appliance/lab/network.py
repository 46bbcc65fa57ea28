"""The lab's wires: a switch in a namespace of its own, a cable to each host, and ways to break them.

Three kinds of damage, which heal() mends all: a dead port (nothing passes, the host still sees its carrier), filters
on a host (by port, by who sends, by peer, one way, now and then, of ARP), and the cable taken away (unplug; the host
dies with it). And an address that somebody else takes, or that is taken from a host.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from luigi_ha.appliance.lab import inside
from luigi_ha.appliance.lab.errors import LabError, NoBite
from luigi_ha.appliance.lab.plan import ACCOUNT, ETCD_PORT, PEER_PORT, POSTGRES_PORT, PREFIX, PREFIX6, Host

_BRIDGE = "br0"
_DEAD, _FORWARDING = 0, 3  # states of a bridge's port
_TABLE = "luigi_ha_lab_"
BITES_WITHIN = 5.0  # s until a filter must have dropped something


@dataclass(frozen=True)
class Filter:
    """A named cut by nftables in a host's own namespace: what it does not let out and in."""

    name: str
    out: tuple[str, ...]
    into: tuple[str, ...] = ()
    family: str = "inet"


_ETCD = f"tcp dport {{ {ETCD_PORT}, {PEER_PORT} }}"
_POSTGRES = f"tcp dport {POSTGRES_PORT}"
ETCD_FROM_LUIGI = Filter("etcd", (f'meta skuid != "{ACCOUNT}" {_ETCD}',))
ETCD_FROM_HOST = Filter("etcd_host", (_ETCD,), (_ETCD,))
POSTGRES_FROM_LUIGI = Filter("postgres", (f'meta skuid != "{ACCOUNT}" {_POSTGRES}',))
POSTGRES_FROM_HOST = Filter("postgres_host", (_POSTGRES,), (_POSTGRES,))
DEAF = Filter("deaf", (), ("meta iifname eth0",))
NO_ARP = Filter("arp", (), ("arp operation { request, reply }",), family="arp")


def lossy(percent: int) -> Filter:
    """So many of a hundred packets are lost, at random, in either direction."""
    match = f"meta %s eth0 numgen random mod 100 < {percent}"
    return Filter("lossy", (match % "oifname",), (match % "iifname",))


def peer(host: Host) -> Filter:
    """Nothing to and from this host; everybody else is reached."""
    return Filter(
        f"peer_{host.name}",
        (f"ip daddr {host.address}", f"ip6 daddr {host.address6}"),
        (f"ip saddr {host.address}", f"ip6 saddr {host.address6}"),
    )


def make_switch(switch: int) -> None:
    """A bridge without spanning tree (a port forwards at once) and without multicast snooping."""
    _ip(
        switch,
        "link set lo up",
        f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {_BRIDGE} up",
    )


def plug(switch: int, init: int, host: Host) -> None:
    """A cable from the switch to the host, with the host's addresses on its end `eth0`."""
    _ip(
        switch,
        f"link add {host.name} type veth peer name eth0 address {host.hardware} netns {init}",
        f"link set {host.name} master {_BRIDGE} up",
    )
    _ip(
        init,
        "link set lo up",
        f"addr add {host.address}/{PREFIX} broadcast + dev eth0",
        f"addr add {host.address6}/{PREFIX6} dev eth0 nodad",
        "link set eth0 up",
    )


def plugged(switch: int) -> dict[str, bool]:
    """Whose cables are in the switch, and whether their ports forward."""
    links = json.loads(inside.run(switch, ["ip", "-json", "-details", "link", "show", "type", "veth"]))
    return {
        link["ifname"]: link["linkinfo"].get("info_slave_data", {}).get("state") == "forwarding"
        for link in links
        if link
    }


def cut(switch: int, host: Host) -> None:
    """The port stops forwarding; the carrier stays."""
    _port(switch, host, _DEAD)


def unplug(switch: int, host: Host) -> None:
    """Take the cable away, on both ends. It may be gone already: a dead host's end takes the other with it."""
    try:
        _ip(switch, f"link delete {host.name}")
    except LabError:
        if host.name in plugged(switch):
            raise


def mend(switch: int, host: Host) -> None:
    """The port forwards again."""
    _port(switch, host, _FORWARDING)


def apply(init: int, cut_by: Filter) -> None:
    """Drop what the filter names, from now on, established connections too."""
    lines = [f"table {cut_by.family} {_TABLE}{cut_by.name} {{", "counter dropped {", "}"]
    priority = -300 if cut_by.family == "inet" else 0
    for hook, matches in (("output", cut_by.out), ("input", cut_by.into)):
        lines += [f"chain {hook} {{ type filter hook {hook} priority {priority};"]
        lines += [*(f"{match} counter name dropped drop" for match in matches), "}"]
    inside.run(init, ["nft", "-f", "-"], stdin="\n".join([*lines, "}"]) + "\n")


def filters(init: int) -> dict[str, int]:
    """The filters on a host, and how many packets each has dropped."""
    return {counter["table"].removeprefix(_TABLE): int(counter["packets"]) for counter in _counters(init)}


def bitten(init: int, cut_by: Filter, otherwise: str) -> int:
    """How many packets the filter has dropped, as soon as there are some. NoBite with `otherwise` if there are none."""
    deadline = time.monotonic() + BITES_WITHIN
    while not (dropped := filters(init)[cut_by.name]):
        if time.monotonic() > deadline:
            raise NoBite(f"{otherwise}, for {BITES_WITHIN:g} s")
        time.sleep(0.02)
    return dropped


def unfilter(init: int, name: str) -> None:
    """Let everything pass again that this filter has dropped."""
    family = next(counter["family"] for counter in _counters(init) if counter["table"] == _TABLE + name)
    inside.run(init, ["nft", "delete", "table", family, _TABLE + name])


def addresses(init: int) -> list[str]:
    """The host's addresses beside loopback, as its kernel shows them."""
    links = json.loads(inside.run(init, ["ip", "-json", "address", "show", "dev", "eth0"]))
    return [entry["local"] for link in links if link for entry in link["addr_info"] if entry["scope"] == "global"]


def take_address(init: int, address: str) -> None:
    """The host takes an address on its end of the cable."""
    _ip(init, f"addr add {address}/32 dev eth0")


def drop_address(init: int, address: str) -> None:
    """Take the address from the host, with whatever length its prefix has."""
    links = json.loads(inside.run(init, ["ip", "-json", "address", "show", "dev", "eth0"]))
    entries = [entry for link in links if link for entry in link["addr_info"]]
    for entry in entries:
        if entry["local"] == address:
            _ip(init, f"addr del {address}/{entry['prefixlen']} dev eth0")


def _counters(init: int) -> list[dict[str, Any]]:
    listed = json.loads(inside.run(init, ["nft", "-json", "list", "counters"]))["nftables"]
    found = [entry["counter"] for entry in listed if "counter" in entry]
    return [counter for counter in found if counter["table"].startswith(_TABLE)]


def _port(switch: int, host: Host, state: int) -> None:
    inside.run(switch, ["bridge", "link", "set", "dev", host.name, "state", str(state)])  # `ip link set` ignores it


def _ip(where: int, *lines: str) -> None:
    try:
        inside.run(where, ["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    except LabError as error:
        raise LabError(f"{error} ({'; '.join(lines)})") from None
