"""The address that moves: the interface, the permission, whom it would disturb, who has it."""

import time
from collections.abc import Iterator
from pathlib import Path

from luigi_ha.appliance.cli.doctor_etcd import Patient
from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.cli.silence import silence
from luigi_ha.appliance.config import Serve
from luigi_ha.ha.errors import Unusable
from luigi_ha.ha.vip.configured import Ip, Vip, configured
from luigi_ha.ha.vip.kernel import Kernel, link, own_macs
from luigi_ha.ha.vip.sweep import depends_on, must_be_able
from luigi_ha.ha.vip.wire import Wire

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
LISTEN = 0.15  # s

_examiner = Examiner("address")


def address(serve: Serve, patient: Patient) -> Iterator[Finding]:
    """Removes and adds nothing."""
    vips, interface = configured(serve.vip), serve.vip_interface
    with Kernel() as kernel:
        must_be_able(kernel, vips, interface)
        found = link(interface)
        if found is not None and not found.running:
            yield _examiner.warn(interface, "up, but without a carrier", "a cable, and something at its other end")
        else:
            yield _examiner.ok(interface, "there, and up")
        here = {one.ip for one in kernel.addresses(0 if found is None else found.index)}
        for vip in vips:
            yield from _neighbours(kernel, vip, interface)
    missing = _missing_capabilities()
    if missing:
        yield _examiner.warn(
            "permission",
            f"this user lacks {' and '.join(missing)}; who else answers for the address was not asked",
            "the node to have them: systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
        )
        return
    yield _examiner.ok("permission", " and ".join(CAPABILITIES))
    rule = silence(serve)
    if rule is not None and rule.program is None:
        yield _examiner.warn(
            "refusals",
            "nft is not installed: whoever calls just after a scheduler was killed is refused, and a stock client then "
            "pauses for 30 s",
            "the package nftables",
        )
    yield from _holders(vips, interface, here, patient)


def _neighbours(kernel: Kernel, vip: Vip, interface: str) -> Iterator[Finding]:
    """The first address of a subnet on an interface carries the others: they go when it goes, unless promoted."""
    others = depends_on(kernel, vip, interface)
    if vip.ip.version != 4 or vip.prefix == 32:
        return
    if not others:
        yield _examiner.warn(
            str(vip), f"{interface} has no address of its own in this subnet", "one, or the prefix /32 for the address"
        )
    elif not all(one.primary for one in others) and not _promotes(interface):
        yield _examiner.warn(
            str(vip),
            f"another address of {interface} in this subnet depends on the first one there, and goes when that goes",
            f"the prefix /32 for the address, or net.ipv4.conf.{interface}.promote_secondaries = 1",
        )


def _promotes(interface: str) -> bool:
    settings = (Path("/proc/sys/net/ipv4/conf", name, "promote_secondaries") for name in (interface, "all"))
    return any(setting.exists() and setting.read_text().strip() == "1" for setting in settings)


def _missing_capabilities() -> list[str]:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]


def _holders(vips: tuple[Vip, ...], interface: str, here: set[Ip], patient: Patient) -> Iterator[Finding]:
    others = _who_answers(vips, interface)
    leader = patient.leader
    for vip in vips:
        mac = others.get(vip.ip)
        if vip.ip in here and mac is not None:
            yield _examiner.fail(str(vip), f"held here, and {mac} answers for it too", "one holder: find that host")
        elif vip.ip in here:
            yield _examiner.ok(str(vip), "held here")
        elif mac is None:
            led = leader is not None and leader.name != patient.name
            say = "nobody answers for it"
            yield (
                _examiner.warn(str(vip), f"{say}, though {leader.name} leads", "the leader to hold it")
                if led and leader
                else _examiner.ok(str(vip), say)
            )
        elif patient.leader_known and leader is None:
            yield _examiner.fail(str(vip), f"{mac} answers for it, though nobody leads", "nobody: find that host")
        else:
            yield _examiner.ok(str(vip), f"{mac} answers for it")


def _who_answers(vips: tuple[Vip, ...], interface: str) -> dict[Ip, str]:
    found = link(interface)
    if found is None or found.mac is None:
        return {}
    try:
        wire = Wire(interface, found.mac, [vip.ip for vip in vips])
    except (OSError, Unusable):
        return {}
    answers: dict[Ip, str] = {}
    try:
        for _ in range(2):
            for vip in vips:
                wire.ask(vip.ip)
            time.sleep(LISTEN / 2)
            answers |= {ip: mac.hex(":") for ip, mac in wire.heard() if mac not in own_macs()}
    finally:
        wire.close()
    return answers
