"""Handing Patroni's leader key to the synchronous standby, so that this one is promoted now.

Patroni's leader is whoever the key `leader` names. It believes a dead leader's lease for 20 s at the least. The key can
be handed on before that, in one transaction of etcd that holds only if nothing has changed since it was read:

    compare  leader, sync and config unmodified; no failover asked for; members/X still under X's lease
    then     leader = X under X's lease;  sync = the same value once more

The second put is what keeps acknowledged rows. A leader that lives, and was held up in the middle of its own turn, has
read `sync` before the hand-over. Without the put it could still write that key, name another standby than X there, and
acknowledge commits that X never had. With it, its write is refused, because the revision that it compares has gone.

X is in `sync`, so every acknowledged commit is on its disk; it streams (its own REST API says `/replica`), so it need
not be rewound first. A leader that lives finds the key with another's name, and demotes itself.
"""

import asyncio
from collections.abc import Callable, Sequence

import aiohttp

from luigi_ha.ha.errors import Fatal, Unknown
from luigi_ha.ha.etcd.transport import Field, Guard, Item, Listing, Put, Transport
from luigi_ha.ha.lease import NEVER
from luigi_ha.ha.log import Events
from luigi_ha.ha.primary.patroni_keys import Keys, lease_of, outlook, scopes
from luigi_ha.ha.primary.port import NotMoved, Outlook, Server

ANSWER_WITHIN = 1.0  # s for a member's REST API
LOOK_AGAIN = 0.02  # s between two questions whether it has been promoted
MAY_WRITE_EVERY = 60.0  # s between two questions whether we may write
NO_REVISION = 2**62  # no key ever has it
OK = 200
MANAGED_BY_NOBODY = "no Patroni in our etcd manages this database (below {namespace})"

_log = Events("primary")


class PatroniMover:
    """See `luigi_ha.ha.primary.port.PrimaryMover`. Owns the transport.

    `system`: the database's system identifier, as our own sessions have seen it; None: not seen yet. `namespace` ends
    in a slash.
    """

    def __init__(
        self, transport: Transport, system: Callable[[], int | None], budget: float, namespace: str = "/service/"
    ) -> None:
        self._transport = transport
        self._system = system
        self._budget = budget
        self._namespace = namespace
        self._session: aiohttp.ClientSession | None = None
        self._may_write = NEVER  # by the loop's clock: when we were last allowed to

    async def look(self) -> Outlook:
        try:
            listing, seen, keys = await self._read()
            if keys is not None and seen.why_not is None:
                await self._require_write(listing, keys)
        except Fatal as error:  # no permission: it is for a person to give it, or not
            return Outlook(why_not=f"etcd does not let us: {error}", managed=False)
        return seen

    async def move(self, outlook: Outlook, still: Callable[[], bool], to: Server | None = None) -> Server:
        if outlook.why_not is not None:
            raise NotMoved(outlook.why_not)
        standby = await self._ready(outlook.standbys if to is None else (to,))
        listing, now, keys = await self._read()
        if keys is None or now.primary != outlook.primary or standby not in now.standbys or now.why_not is not None:
            raise NotMoved(now.why_not or "Patroni's members have changed meanwhile")
        items = listing.items
        lease = lease_of(items, keys, standby)
        guards = [Guard(key, items[key].mod_revision) for key in (keys.leader, keys.sync, keys.config)]
        guards += [Guard(keys.failover, 0), Guard(keys.member(standby.name), lease, Field.LEASE)]
        if not still():
            raise NotMoved("the lease has run out meanwhile")
        try:
            outcome = await self._transport.txn(guards, changes(keys, standby, items[keys.sync], lease), self._budget)
            done = outcome.succeeded
        except Unknown:  # reading tells
            done = False
        if not done and not await self._has(keys, standby, lease):
            raise NotMoved("Patroni's keys have changed meanwhile")
        _log.info("primary_handed_over", before=items[keys.leader].value, now=standby.name)
        return standby

    async def _ready(self, standbys: Sequence[Server]) -> Server:
        """The first of them that says that it is a replica, in service: none that must be rewound first."""
        said = []
        for standby in standbys:
            status = await self._ask(standby, "/replica")
            if status == OK:
                return standby
            said.append(f"{standby.name}: {f'HTTP {status}' if status is not None else 'nothing'}")
        what = "; ".join(said) or "there is none"
        raise NotMoved(f"no standby is ready to be promoted: /replica says {what}; expected 200")

    async def _require_write(self, listing: Listing, keys: Keys) -> None:
        """Fatal if we may not write what a hand-over writes; asked now and then, by a transaction that cannot hold."""
        now = asyncio.get_running_loop().time()
        if now - self._may_write < MAY_WRITE_EVERY:
            return
        leader, sync = listing.items[keys.leader], listing.items[keys.sync]
        puts = [Put(keys.leader, leader.value, leader.lease), Put(keys.sync, sync.value, sync.lease)]
        await self._transport.txn([Guard(keys.leader, NO_REVISION)], puts, self._budget)
        self._may_write = now

    async def promoted(self, server: Server, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while await self._ask(server, "/primary") != OK:  # noqa: ASYNC110 - another host's
                    await asyncio.sleep(LOOK_AGAIN)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._transport.close()

    async def _read(self) -> tuple[Listing, Outlook, Keys | None]:
        listing = await self._transport.read(self._namespace, self._budget)
        system = self._system()
        if system is None:
            return listing, Outlook(why_not="the database has not been reached yet", managed=False), None
        found = scopes(listing.items, self._namespace, system)
        if len(found) != 1:
            nobody = MANAGED_BY_NOBODY.format(namespace=self._namespace)
            several = "two of Patroni's clusters say that they manage this database"
            return listing, Outlook(why_not=several if found else nobody, managed=bool(found)), None
        return listing, outlook(listing.items, found[0]), found[0]

    async def _has(self, keys: Keys, standby: Server, lease: int) -> bool:
        """Whether the leader key is this member's: the transaction was executed, whatever became of its reply."""
        item: Item | None = (await self._transport.read(keys.prefix, self._budget)).items.get(keys.leader)
        return item is not None and item.value == standby.name and item.lease == lease

    async def _ask(self, server: Server, path: str) -> int | None:
        """The status that this member's REST API answers with; None: it does not answer."""
        if self._session is None:
            # Who answers is known by the keys; the API's certificate is of the site's own making.
            connector = aiohttp.TCPConnector(ssl=False, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN)
            )
        try:
            async with self._session.get(server.api + path) as reply:
                return reply.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None


def changes(keys: Keys, standby: Server, sync: Item, lease: int) -> list[Put]:
    """What the hand-over writes: the leader key, and `sync` once more; see the module for the second."""
    return [Put(keys.leader, standby.name, lease), Put(keys.sync, sync.value, sync.lease)]
