"""The defects: in which module, and what is done to it. Each has been a real one, of ours or of a respected project."""

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

Change = Callable[[Any], None]


def _message(epoch: str) -> Callable[..., str]:
    """PostgreSQL's fence as a plain update."""

    def fence(own: int, _previous: Any, last: Any, at: float) -> str:
        where = epoch.format(own)
        return (
            f"UPDATE leadership SET seq = {last.seq}, hash = '{last.hash}', last_time = {at!r} WHERE id = 1{where};\n"
        )

    return fence


def _fence_off(module: ModuleType) -> None:
    module.fence = _message("")  # type: ignore[attr-defined]


def _fence_off_sqlite(module: ModuleType) -> None:
    module.FENCE = _unconditional(module.FENCE, "epoch", "seq", "hash")  # type: ignore[attr-defined]


def _unconditional(statement: str, *columns: str) -> str:
    """The same statement, with the same number of values, that compares nothing of these columns."""
    for column in columns:
        for old in (f"{column} = ?", f"{column} = %s"):
            head, where, conditions = statement.partition("WHERE")
            value = old.rpartition(" ")[2]
            statement = head + where + conditions.replace(old, f"({value} IS NOT NULL)")
    return statement


def _seq_not_compared(module: ModuleType) -> None:
    module.fence = _message(" AND epoch = {}")  # type: ignore[attr-defined]


def _wall_clock(module: ModuleType) -> None:
    module.monotonic = time.time  # type: ignore[attr-defined]


def _deadline_from_the_reply(module: ModuleType) -> None:
    lease = module.Lease
    granted, renewed = lease.granted, lease.renewed
    lease.granted = lambda self, _sent, ttl, now: granted(self, now, ttl, now)
    lease.renewed = lambda self, _sent, ttl, now: renewed(self, now, ttl, now)


def _announced_once(module: ModuleType) -> None:
    module.BURST = (0.0, 1e9)  # type: ignore[attr-defined]


def _lease_without_an_end(module: ModuleType) -> None:
    lease = module.Lease
    lease.deadline = property(lambda self: module.NEVER if self._ended or self._sent == module.NEVER else 1e12)


def _watch_that_never_resumes(module: ModuleType) -> None:
    follow = module.follow

    async def once(*arguments: Any) -> Any:
        failed = False
        transport = arguments[0]

        class Once:
            """The transport, whose first lost stream is the last."""

            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            async def stream(self, *words: Any) -> Any:
                nonlocal failed
                if failed:
                    await module.asyncio.Event().wait()
                failed = True
                return await transport.stream(*words)

        async for step in follow(Once(), *arguments[1:]):
            yield step

    module.follow = once  # type: ignore[attr-defined]


def _no_grace(when: str) -> Change:
    def change(module: ModuleType) -> None:
        opened = module.Leading.open

        def open_(self: Any) -> None:
            engine, again = self._node.engine, getattr(self, "opened_for", None) == self._node.epoch
            self.opened_for = self._node.epoch
            if again is (when == "again"):

                def started() -> None:
                    engine.mirrors = False
                    engine._by_num = engine._by_wid = None

                engine.started = started
            opened(self)
            if "started" in vars(engine):
                del engine.started

        module.Leading.open = open_

    return change


def _stale_run_accepted(module: ModuleType) -> None:
    for each in vars(module).values():
        if isinstance(each, type) and "_objection" in vars(each):
            each._objection = lambda *_: None  # type: ignore[attr-defined]


def _acknowledged_too_early(name: str) -> Change:
    """The last batch is written when the next one comes."""

    def change(module: ModuleType) -> None:
        writer = getattr(module, name)
        write = writer.write

        def late(self: Any, batch: Any) -> None:
            before, self.held = getattr(self, "held", None), batch
            if before is not None:
                write(self, before)

        writer.write = late

    return change


def _any_primary(module: ModuleType) -> None:
    module.Primary._lower = lambda _self, _lineage: False
    module._beats = lambda *_: False  # type: ignore[attr-defined]


def _mirror_ahead(module: ModuleType) -> None:
    """What the mirror has and the database has not stays, whatever the chain says."""
    read, no_prefix, tail = module._read, module.NotAPrefix, module.Tail

    def believed(session: Any, after: Any, limit: int) -> Any:
        try:
            return read(session, after, limit)
        except no_prefix:
            return tail([], after, 0.0, 0)

    module._read = believed  # type: ignore[attr-defined]


def _one_put(module: ModuleType) -> None:
    changes = module.changes
    module.changes = lambda *words: changes(*words)[:1]  # type: ignore[attr-defined]


def _past_accepted(module: ModuleType) -> None:
    module.behind = lambda *_: None  # type: ignore[attr-defined]


def _own_date(module: ModuleType) -> None:
    module.SchedulerClock.heard = lambda _self, _moment: None
    module.SchedulerClock.lead = lambda self, **_: setattr(self, "_follows", False)


STORE, NODE = "luigi_ha.appliance.store", "luigi_ha.appliance.node"
ALL: dict[str, tuple[str, Change]] = {
    "fence-off": (f"{STORE}.postgres_sql", _fence_off),
    "fence-off-sqlite": (f"{STORE}.sqlite_writer", _fence_off_sqlite),
    "seq-not-compared": (f"{STORE}.postgres_sql", _seq_not_compared),
    "wall-clock-for-the-lease": ("luigi_ha.ha.clock", _wall_clock),
    "deadline-from-the-reply": ("luigi_ha.ha.lease", _deadline_from_the_reply),
    "one-arp-only": ("luigi_ha.ha.vip.holder", _announced_once),
    "address-kept-without-etcd": ("luigi_ha.ha.lease", _lease_without_an_end),
    "no-resync-after-a-lost-watch": ("luigi_ha.ha.etcd.watch", _watch_that_never_resumes),
    "no-grace-after-a-promotion": (f"{NODE}.leading", _no_grace("first")),
    "no-grace-after-an-outage-of-the-database": (f"{NODE}.leading", _no_grace("again")),
    "completion-of-a-stale-run": ("luigi_ha.appliance.engine.runs", _stale_run_accepted),
    "lost-tail": (f"{STORE}.sqlite_writer", _acknowledged_too_early("SqliteWriter")),
    "wrong-one-of-two-primaries": (f"{STORE}.primary", _any_primary),
    "mirror-ahead-of-the-database": (f"{STORE}.tailing", _mirror_ahead),
    "one-put-in-the-hand-over": ("luigi_ha.ha.primary.patroni", _one_put),
    "next-leader-by-its-own-date": ("luigi_ha.appliance.clock", _own_date),
    "reloaded-from-a-past": (f"{STORE}.past", _past_accepted),
}
