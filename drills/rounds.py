"""The rounds: load, a kill, a restart, a comparison.

    scheduler drill:  start -> compare with the ledger -> load -> SIGKILL of the scheduler -> start ...
    database drill:   load -> SIGKILL of every process of PostgreSQL -> start it -> calls go on -> compare ...

Each kill is counted only when it is proven to have bitten, after the comparison that follows it:
    random        the process died of SIGKILL after calls of this round were acknowledged
    before-reply  the trap's witness, and at least one call without an answer took effect
    in-batch      SQLite: the trap's witness, and at least one call without an answer took no effect
                  PostgreSQL: its server was frozen with calls in flight when the scheduler died; thawed later, so that
                  what was sent may still commit, beside the start of the next one
    start         the process died before it was ready
    database      PostgreSQL's processes are gone, and calls were waiting meanwhile
A kill that did not bite is repeated, up to a limit.
"""

import asyncio
import contextlib
import random
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from drills.clients import CLIENTS, Client
from drills.comparison import Comparison
from drills.ledger import Call, Kind, Ledger, Outcome
from drills.load import Load
from drills.report import Meter, Report
from drills.scheduler import Scheduler, Trap
from tests.support.servers import PostgresServer

RANDOM, BEFORE_REPLY, IN_BATCH, START, DATABASE = "random", "before-reply", "in-batch", "start", "database"
CHOSEN = (BEFORE_REPLY, IN_BATCH, START)
SHORTEST_LOAD = 0.3  # s
FULL_EVERY = 25  # comparisons
TRAP_SECONDS = 15.0
LONG_OUTAGE = 10.5  # s; calls are parked for 9
RESUMES = 60.0  # s after which calls that wait for a restarted database are given up
REPEATS = 20


def schedule(kills: int, rng: random.Random) -> list[str]:
    """Which fault when: a tenth of each chosen kind, the others at random moments."""
    each = max(1, kills // 10)
    faults = [fault for fault in CHOSEN for _ in range(each)]
    faults += [RANDOM] * (kills - len(faults))
    rng.shuffle(faults)
    return faults


class Rounds:
    """One drill's rounds on one scheduler."""

    def __init__(
        self, scheduler: Scheduler, server: PostgresServer | None, rng: random.Random, rate: float, longest_load: float
    ) -> None:
        self.ledger = Ledger()
        self.scheduler = scheduler
        self._server = server
        self._random = rng
        self._longest = longest_load
        self._comparison = Comparison(self.ledger, scheduler.port, rng)
        self._clients = [
            Client(f"worker-{n}", scheduler.port, self.ledger, random.Random(rng.random()), rate / CLIENTS)
            for n in range(CLIENTS)
        ]
        self._thaw: asyncio.Task[None] | None = None
        self._set_for: str | None = None  # the fault whose trap the running scheduler has

    # -- the scheduler is killed -------------------------------------------------------------------------------

    async def kill_scheduler(self, faults: list[str], report: Report, meter: Meter) -> None:
        """All rounds, then a full comparison. Raises what makes going on senseless."""
        queue, repeats, number = deque(faults), REPEATS, 0
        await self._kill_starting(queue, report, meter)
        await self._up(queue[0] if queue else None)
        while queue:
            number += 1
            if self._set_for != queue[0]:  # the last kill missed and is repeated
                self.scheduler.end()
                await self._kill_starting(queue, report, meter)
                await self._up(queue[0] if queue else None)
                await self._compare(report, full=False)
                continue
            fault = queue.popleft()
            missed = await self._load_and_kill(f"Drill{number:05d}", fault, report)
            await self._kill_starting(queue, report, meter)
            await self._up(queue[0] if queue else None)
            calls = await self._compare(report, full=not queue)
            report.fate(fault, calls)
            missed = missed or self._disproven(fault, calls)
            if not missed:
                self._hit(fault, report, meter)
            else:
                report.missed.append(f"{fault}: {missed}")
                repeats -= 1
                if repeats > 0:
                    queue.append(fault)
        await self._finish(report)

    async def _up(self, fault: str | None) -> None:
        """A scheduler that takes calls, with the trap for the kill that comes next."""
        trap = None
        if fault == BEFORE_REPLY:
            trap = Trap(BEFORE_REPLY, self._random.randint(1, 40))
        elif fault == IN_BATCH and self._server is None:
            trap = Trap(IN_BATCH, self._random.randint(1, 12))
        self.scheduler.start(trap)
        self._set_for = fault
        await self.scheduler.ready()

    async def _load_and_kill(self, family: str, fault: str, report: Report) -> str:
        """Load for a while, then the kill; why it did not do what it should, as far as that shows at once, or ""."""
        async with self._load(family) as load:
            if fault == RANDOM:
                began = time.monotonic()
                await asyncio.sleep(self._random.uniform(SHORTEST_LOAD, self._longest))
                report.loaded(time.monotonic() - began, load.calls())
                if not self.scheduler.kill():
                    return "the process had ended before"
                return "" if load.acknowledged() else "no call was acknowledged before"
            await asyncio.sleep(self._random.uniform(0.1, SHORTEST_LOAD))
            if fault == IN_BATCH and self._server is not None:
                return await self._kill_beside_frozen(self._server, load)
            self.scheduler.arm()
            bit = await self.scheduler.dies(TRAP_SECONDS)
            self.scheduler.end()
            return "" if bit else "the trap was not sprung"

    async def _kill_beside_frozen(self, server: PostgresServer, load: Load) -> str:
        """PostgreSQL stands still with a batch in flight; the scheduler dies; a while later PostgreSQL goes on."""
        await asyncio.to_thread(server.freeze)
        await asyncio.sleep(0.05)  # what was committed just before is answered
        before = load.acknowledged()
        await asyncio.sleep(self._random.uniform(0.1, 0.3))
        bit = load.acknowledged() == before and self.in_flight() > 0 and self.scheduler.kill()
        missed = "" if bit else f"{load.acknowledged() - before} acknowledged meanwhile, {self.in_flight()} in flight"
        self.scheduler.end()

        async def thaw(delay: float) -> None:
            await asyncio.sleep(delay)
            await asyncio.to_thread(server.thaw)

        self._thaw = asyncio.create_task(thaw(self._random.uniform(0.0, 1.5)))
        return missed

    async def _kill_starting(self, queue: deque[str], report: Report, meter: Meter) -> None:
        """The kills during a start that come next, with clients that wait for it."""
        while queue and queue[0] == START:
            queue.popleft()
            where = self._random.choice(("after-lead", "in-load", "any"))
            trap = None
            if where != "any":
                most = max(1, len(self.ledger.tasks)) if where == "in-load" else 1
                trap = Trap(where, self._random.randint(1, most))
            self.scheduler.start(trap)
            async with self._load("Drill00000", wait=True):
                if trap is not None:
                    bit = await self.scheduler.dies(TRAP_SECONDS)
                else:
                    usual = statistics.median(self.scheduler.starts or [1.0])
                    await asyncio.sleep(self._random.uniform(0.2, 1.0) * usual)
                    bit = self.scheduler.alive() and not await self.scheduler.is_ready()
                self.scheduler.end()
            if bit:
                self._hit(START, report, meter)
            else:
                report.missed.append(f"{START}: {where}: it was ready already")
                if len(report.missed) <= REPEATS:
                    queue.append(START)

    def _disproven(self, fault: str, calls: list[Call]) -> str:
        """What speaks against it that the calls without an answer saw this kill, or ""."""
        if fault == BEFORE_REPLY and not any(call.applied for call in calls):
            return f"none of {len(calls)} calls without an answer took effect"
        if fault == IN_BATCH and self._server is None and all(call.applied for call in calls):
            return f"each of {len(calls)} calls without an answer took effect"
        return ""

    # -- the database is killed --------------------------------------------------------------------------------

    async def kill_database(self, kills: int, long_outages: int, report: Report, meter: Meter) -> None:
        """All rounds under one scheduler process, a restart of it at the end, and a full comparison."""
        assert self._server is not None
        await self._up(None)
        pid = self.scheduler.pid
        long = set(self._random.sample(range(kills), long_outages))
        for number in range(kills):
            outage = LONG_OUTAGE if number in long else self._random.uniform(0.0, 1.0)
            bit = await self._database_round(f"Drill{number + 1:05d}", outage, report)
            if not self.scheduler.alive() or self.scheduler.pid != pid:
                self.ledger.violate(Kind.WRONG, "serve", "stays up", self.scheduler.tail(500))
                break
            report.fate(DATABASE, await self._compare(report, full=False))
            if bit:
                self._hit(DATABASE, report, meter)
            else:
                report.missed.append(DATABASE)
        if self.scheduler.alive() and self.scheduler.stop() != 0:
            self.ledger.violate(Kind.WRONG, "serve", "ends with code 0 after SIGTERM", self.scheduler.tail(500))
        await self._up(None)
        await self._compare(report, full=True)
        await self._finish(report)

    async def _database_round(self, family: str, outage: float, report: Report) -> bool:
        server, long = self._server, outage >= LONG_OUTAGE
        assert server is not None
        answered_503 = self._answered_503()
        async with self._load(family) as load:
            began = time.monotonic()
            await asyncio.sleep(self._random.uniform(0.2, 0.6))
            report.loaded(time.monotonic() - began, load.calls())
            pids, began = server.processes(), time.monotonic()
            acknowledged = load.acknowledged()
            await asyncio.to_thread(server.kill)
            bit = acknowledged > 0 and len(pids) > 1 and not any(map(runs, pids))
            await asyncio.sleep(max(outage, 0.1))
            waited, before = self.in_flight(), load.acknowledged()
            await asyncio.to_thread(server.start)
            await load.resumes(before + CLIENTS, began + RESUMES)
            report.longest_outage = max(report.longest_outage, time.monotonic() - began)
            await asyncio.sleep(0.2)
            load.stop.set()
            await load.ended()
        report.long_outages += long
        if long:
            report.refused_in_long_outages += self._answered_503() - answered_503
        return bit and (waited > 0 or long)

    def _answered_503(self) -> int:
        return sum(call.outcome in (Outcome.REFUSED, Outcome.UNKNOWN) for call in self.ledger.calls)

    # -- both --------------------------------------------------------------------------------------------------

    def in_flight(self) -> int:
        """Calls that wait for their answer now."""
        return sum(client.in_flight for client in self._clients)

    @contextlib.asynccontextmanager
    async def _load(self, family: str, *, wait: bool = False) -> AsyncIterator[Load]:
        """All clients call inside this context; when it ends, nobody does. A client whose last call's fate is not known
        yet calls nobody: that would leave two in doubt."""
        # Half of the rounds in bursts: many calls in flight at once, many in one transaction.
        together = self._random.random() < 0.5
        doubtful = {call.client for call in self.ledger.unknown}
        clients = [client for client in self._clients if client.name not in doubtful]
        load = Load(clients, self.ledger, family, self.scheduler if wait else None, together=together)
        try:
            yield load
        finally:
            load.stop.set()
            await load.ended()

    async def _compare(self, report: Report, *, full: bool) -> list[Call]:
        """Compare; the calls whose fate was unknown until now."""
        if self._thaw is not None:
            await self._thaw
            self._thaw = None
        calls = list(self.ledger.unknown)
        report.comparisons += 1
        if full or report.comparisons % FULL_EVERY == 0:
            await self._comparison.full()
        else:
            await self._comparison.quick()
        return calls

    def _hit(self, fault: str, report: Report, meter: Meter) -> None:
        report.bit[fault] += 1
        done = sum(call.outcome is Outcome.ACKNOWLEDGED for call in self.ledger.calls)
        meter.step(f"{done} calls acknowledged, {len(self.ledger.violations)} contradictions")

    async def _finish(self, report: Report) -> None:
        """An orderly end of the scheduler: the database is free for the audit."""
        for client in self._clients:
            client.close()
        if self.scheduler.stop() != 0:
            self.ledger.violate(Kind.WRONG, "serve", "ends with code 0 after SIGTERM", self.scheduler.tail(500))
        report.starts = list(self.scheduler.starts)


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is not a dead one that nobody has collected yet."""
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""
