"""etcd and the cluster in it: each member by itself, then what they agree on about this node."""

import asyncio
import importlib.metadata
import math
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp

from luigi_ha.appliance.cli import doctor_machine
from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.cli.electing import elector
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.shared import LOCKS_OUT, different, shown
from luigi_ha.ha.elector import Leader, Member, View
from luigi_ha.ha.errors import HaError, Incoherent
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.elector import new_lease_id
from luigi_ha.ha.etcd.gateway import Gateway
from luigi_ha.ha.etcd.keys import Items, Keys
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.transport import Listing
from luigi_ha.ha.lease import Timing

PATIENCE = 2.0  # s for one answer
OLDEST = (3, 4)
CORRUPTING = ((3, 5, 0), (3, 5, 2))  # from, to: could lose data when stopped under load; fixed in 3.5.3

RENEWALS_FORGOTTEN = (((3, 4), (3, 4, 30)), ((3, 5), (3, 5, 12)))  # from, to: etcd#15247

_examiner = Examiner("etcd")
_node = Examiner("node")


@dataclass
class Patient:
    """This node, and what one examination leaves for the next."""

    name: str
    epoch: int | None = None  # in the database
    dates: dict[str, float] = field(default_factory=dict)  # place: seconds its clock is ahead of ours
    leader: Leader | None = None
    leader_known: bool = False
    options: dict[str, str] = field(default_factory=dict)  # ours, for people
    digests: dict[str, str] = field(default_factory=dict)  # the same, as nodes tell them each other
    others: dict[str, Any] = field(default_factory=dict)  # node: what it tells of its own


@dataclass
class _Answer:
    """Of one endpoint. `status` is etcd's own; empty over gRPC, which needs another way to ask for it."""

    endpoint: str
    version: str = ""
    listing: Listing | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def etcd(serve: Serve, config: EtcdConfig, patient: Patient) -> Iterator[Finding]:
    """Leaves the clocks of the others, and who leads."""
    keys = Keys(f"/luigi-ha/{serve.cluster}/")
    answers, granted = asyncio.run(_ask_all(serve, config, keys.prefix, patient))
    well = [answer for answer in answers if answer.listing is not None]
    for answer in answers:
        yield _endpoint(answer, enough=bool(well))
        yield from _version(answer)
    if not well:
        yield _examiner.fail(
            "etcd", "no member answers with a majority behind it", "most of the members up and connected"
        )
        return
    leaders = {answer.status["leader"] for answer in well if answer.status.get("leader")}
    if len(leaders) > 1:
        yield _examiner.warn("etcd", "its members name different leaders", "one; an election may be going on")
    yield from _renewals(answer.version for answer in well)
    yield _lease(serve, granted)
    newest = max((answer.listing for answer in well if answer.listing), key=lambda listing: listing.header.revision)
    yield from _epoch(keys, newest, patient)
    view = keys.view(newest.items)
    patient.leader, patient.leader_known = view.leader, True
    yield from _leadership(view, patient.name)
    yield from _members(keys, newest.items, patient, view)


def pair(serve: Serve, directory: Path, patient: Patient) -> Iterator[Finding]:
    """The two processes on one machine whose leadership is a file lock in `directory`."""
    if not directory.is_dir():
        yield _node.ok(str(directory), "not there yet; made at the first start")
        return

    async def look() -> tuple[View, list[Member]]:
        access = elector(serve, patient.name)
        try:
            found = await access.members()
            await asyncio.gather(*(_peer(serve, one.name, one.about.get("address", ""), patient) for one in found))
            return await access.observe(), found
        finally:
            await access.close()

    view, members = asyncio.run(look())
    yield from _leadership(view, patient.name)
    for member in members:
        able = "can lead" if member.about.get("able") == "yes" else f"cannot lead: {member.about.get('why', '?')}"
        yield _node.ok(member.name, f"runs, {able}")
        yield from _differences(patient, member.name, view.leader)


async def _ask_all(
    serve: Serve, config: EtcdConfig, prefix: str, patient: Patient
) -> tuple[list[_Answer], float | str]:
    answers = await asyncio.gather(*(_ask(serve, config, one, prefix, patient) for one in config.endpoints))
    if not any(answer.listing for answer in answers):
        return answers, "not asked"
    granted = await _granted(serve, config)
    members = next(Keys(prefix).members_of(answer.listing.items) for answer in answers if answer.listing)
    places = {one.name: one.about.get("address", "") for one in members}
    await asyncio.gather(*(_peer(serve, name, address, patient) for name, address in places.items()))
    return answers, granted


async def _ask(serve: Serve, config: EtcdConfig, endpoint: str, prefix: str, patient: Patient) -> _Answer:
    alone = replace(config, endpoints=(endpoint,), attempt_timeout=PATIENCE)
    answer = _Answer(endpoint)
    gateway, transport = Gateway(alone), etcd_transport(alone, serve.etcd_transport)
    try:
        with suppress(aiohttp.ClientError, OSError, ValueError, TimeoutError):  # what follows says why
            async with asyncio.timeout(PATIENCE), gateway.session().get(endpoint + "/version") as reply:
                answer.version = str((await reply.json(content_type=None)).get("etcdserver", ""))
                _date(endpoint, reply.headers.get("Date"), patient)
        answer.listing = await transport.read(prefix, PATIENCE)
        if serve.etcd_transport == "gateway":
            answer.status = await gateway.ask(endpoint, "/v3/maintenance/status", {}, dict, PATIENCE)
    except HaError as error:
        answer.error = str(error)
    finally:
        await transport.close()
        await gateway.close()
    return answer


async def _granted(serve: Serve, config: EtcdConfig) -> float | str:
    """The ttl that etcd gives to a lease like ours (it is revoked at once), or why there is none."""
    transport, lease = etcd_transport(config, serve.etcd_transport), new_lease_id()
    try:
        granted = await transport.grant(lease, math.ceil(serve.lease_ttl), PATIENCE)
        await transport.revoke(lease, PATIENCE)
    except HaError as error:
        return str(error)
    else:
        return granted
    finally:
        await transport.close()


async def _peer(serve: Serve, name: str, address: str, patient: Patient) -> None:
    path = address.removeprefix("unix:")
    unix = path != address
    connector = aiohttp.UnixConnector(path) if unix else aiohttp.TCPConnector(ssl=doctor_machine.trusting(serve))
    with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{'http://localhost' if unix else address}/health") as reply,
        ):
            _date(f"node {name}", reply.headers.get("Date"), patient)
            found = await reply.json(content_type=None)
            patient.others[name] = found.get("options") if isinstance(found, dict) else None


def _differences(patient: Patient, name: str, leader: Leader | None) -> Iterator[Finding]:
    """Between two nodes that run, this one or the leader being the measure; else between our options and the node's."""
    runs = next((one for one in (patient.name, leader.name if leader else "") if patient.others.get(one)), None)
    if name == runs:
        return
    names = different(patient.others[runs] if runs else patient.digests, patient.others.get(name))
    if names:
        say = _node.fail if runs and LOCKS_OUT & {*names} else _node.warn
        than = f"than {runs}" if runs else "than those given here"
        told = shown(names, patient.options) if not runs else ", ".join(names)
        yield say(name, f"has other options {than}: {told}", "the same options on every node")


def _date(place: str, date: str | None, patient: Patient) -> None:
    with suppress(ValueError, TypeError):
        patient.dates[place] = parsedate_to_datetime(date or "").timestamp() + 0.5 - wall()


def _endpoint(answer: _Answer, *, enough: bool) -> Finding:
    if answer.listing is None:
        say: Callable[[str, str, str], Finding] = _examiner.warn if enough else _examiner.fail
        what, _, expected = answer.error.removeprefix(f"{answer.endpoint}: ").partition("; expected ")
        return say(answer.endpoint, what, expected or "an etcd member that answers, with a majority behind it")
    alarms = answer.status.get("errors")
    if alarms:
        return _examiner.fail(answer.endpoint, f"alarms: {', '.join(alarms)}", "none: etcd refuses writes (NOSPACE?)")
    if answer.status.get("isLearner"):
        return _examiner.warn(answer.endpoint, "a learner, without a vote", "a voting member")
    leads = answer.status.get("leader") == str(answer.listing.header.member)
    return _examiner.ok(answer.endpoint, f"healthy, etcd {answer.version or '?'}{', leads etcd' if leads else ''}")


def _version(answer: _Answer) -> Iterator[Finding]:
    if not answer.version:
        return
    numbers = _numbers(answer.version)
    if numbers < OLDEST:
        yield _examiner.fail(answer.endpoint, f"etcd {answer.version}", "3.4 or newer")
    elif CORRUPTING[0] <= numbers <= CORRUPTING[1]:
        yield _examiner.warn(answer.endpoint, f"etcd {answer.version}, which can corrupt its data", "3.5.3 or newer")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".") if part.isdigit())


def _renewals(versions: Iterable[str]) -> Iterator[Finding]:
    """One warning for all members: Debian's own etcd has it, and nothing acknowledged is at stake."""
    found = {each for each in versions if any(low <= _numbers(each) <= high for low, high in RENEWALS_FORGOTTEN)}
    if found:
        what = "may end leases that are renewed, when its leader has stood still and wakes: another node leads then"
        yield _examiner.warn("renewals", f"etcd {', '.join(sorted(found))} {what}", "3.4.31, 3.5.13 or newer")


def _lease(serve: Serve, granted: float | str) -> Finding:
    if isinstance(granted, str):
        return _examiner.fail("lease", f"not granted: {granted}", "a lease of some seconds, and permission for it")
    asked = Timing(serve.lease_ttl, serve.renew_every, serve.request_timeout, serve.lease_margin)
    try:
        asked.granted(granted)
    except Incoherent as error:
        return _examiner.fail("lease", f"{granted:g} s granted: {error}", "times that fit it")
    if granted > math.ceil(serve.lease_ttl):
        floor = "etcd's --election-timeout at most two thirds of lease_ttl, or a lease_ttl to match"
        return _examiner.warn(
            "lease", f"{granted:g} s granted for lease_ttl = {serve.lease_ttl:g}: failover takes that long", floor
        )
    return _examiner.ok("lease", f"{granted:g} s granted for lease_ttl = {serve.lease_ttl:g}")


def _epoch(keys: Keys, listing: Listing, patient: Patient) -> Iterator[Finding]:
    following = listing.header.revision + 1 + keys.offset_of(listing.items)
    if patient.epoch is None:
        return
    if following <= patient.epoch:
        yield _examiner.warn(
            "epoch",
            f"the next one by etcd would be {following}, the database has {patient.epoch} already: etcd has lost its "
            "past (made anew, or restored from a backup)",
            f"nothing to be done: the next leader raises {keys.offset}. Look for other data that etcd has lost",
        )
    else:
        yield _examiner.ok("epoch", f"the next one, {following}, is above the database's {patient.epoch}")


def _leadership(view: View, name: str) -> Iterator[Finding]:
    if view.leader is None:
        last = f"; {view.farewell.name} was the last: {view.farewell.reason}" if view.farewell else ""
        yield _node.warn("leader", f"nobody leads{last}", "a leader, some seconds after a node is able to")
    else:
        yield _node.ok("leader", f"{view.leader.name} leads, epoch {view.leader.epoch}")
    if view.keeps is not None and view.keeps != name:
        yield _node.warn(
            "pause", f"paused: only {view.keeps} may lead", "luigi-ha resume, when the maintenance is over"
        )
    if view.successor is not None and view.successor != name:
        yield _node.warn("reservation", f"reserved for {view.successor} for some seconds", "none, after a switchover")


def _members(keys: Keys, items: Items, patient: Patient, view: View) -> Iterator[Finding]:
    members = {one.name: one.about for one in keys.members_of(items)}
    mine = members.get(patient.name)
    if mine is None:
        yield _node.warn(patient.name, "this node is not running", "luigi-ha serve, running")
    elif mine.get("host", socket.gethostname()) != socket.gethostname():
        yield _node.fail(
            patient.name, f"a node of this name runs on {mine['host']}", "a name of its own for each node (name)"
        )
    elif mine.get("able") == "no" and (view.leader is None or view.leader.name != patient.name):
        yield _node.fail(patient.name, f"runs, but cannot lead: {mine.get('why')}", "what the reason says")
    else:
        yield _node.ok(patient.name, f"runs: {mine.get('role', 'present')}")
    for name, about in members.items():
        if name != patient.name:
            able = "can lead" if about.get("able") == "yes" else f"cannot lead: {about.get('why', '?')}"
            yield _node.ok(name, f"present on {about.get('host', '?')}, {able}")
            yield from _differences(patient, name, view.leader)
            version, ours = about.get("version"), importlib.metadata.version("luigi-ha")
            if version != ours:
                yield _node.warn(name, f"luigi-ha {version}, here {ours}", "one version, after an upgrade of all nodes")
