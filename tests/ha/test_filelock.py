"""The file lock with real processes: killed, frozen, in a directory that cannot be used."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from luigi_ha.ha.errors import Fatal, LeaseLost, Refused, Unknown, Unusable
from luigi_ha.ha.filelock import FileLockElector
from tests.ha.conftest import TIMING
from tests.ha.worlds import candidate
from tests.support.patience import allowed, patient

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import asyncio, sys
from pathlib import Path
from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.hold import hold
from tests.ha.conftest import TIMING
from tests.ha.worlds import candidate

async def main():
    elector = FileLockElector(Path(sys.argv[1]), candidate("holder"), TIMING)
    print(await elector.campaign(), flush=True)
    print(repr(await hold(elector, monotonic)), flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


@contextmanager
def holder(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that leads. It has printed its epoch."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], cwd=ROOT, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def elector(directory: Path, name: str = "standby") -> FileLockElector:
    return FileLockElector(directory, candidate(name), TIMING)


def test_a_killed_holder_is_succeeded_at_once_with_a_greater_epoch(tmp_path: Path) -> None:
    async def main() -> None:
        with holder(tmp_path) as process:
            first = int(said(process))
            standby = elector(tmp_path)
            async with aclosing(standby.watch()) as views:
                leader = (await anext(views)).leader
                assert leader is not None
                assert (leader.name, leader.epoch) == ("holder", first)
                with pytest.raises(Refused):
                    await standby.campaign()
                killed = time.monotonic()
                process.kill()
                assert (await asyncio.wait_for(anext(views), patient(5))).leader is None
                assert await standby.campaign() == first + 1
                gap = time.monotonic() - killed
            await standby.close()
        print(f"killed holder succeeded after {gap:.3f} s")
        assert gap < allowed(1.0, killed)

    asyncio.run(main())


def test_a_frozen_holder_keeps_the_lock_and_knows_on_waking_that_it_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        with holder(tmp_path) as process:
            first = int(said(process))
            os.kill(process.pid, signal.SIGSTOP)
            standby = elector(tmp_path)
            await asyncio.sleep(TIMING.ttl + 0.2)
            with pytest.raises(Refused):
                await standby.campaign()
            os.kill(process.pid, signal.SIGCONT)
            assert "LeaseLost" in await asyncio.to_thread(said, process)
            process.kill()
            process.wait()
            assert await standby.campaign() == first + 1
            await standby.close()

    asyncio.run(main())


def test_waiting_for_the_lock_leaves_the_event_loop_free_and_ends_when_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        leader, standby = elector(tmp_path, "leader"), elector(tmp_path)
        await leader.campaign()

        async def wait() -> None:
            async with aclosing(standby.watch()) as views:
                async for view in views:
                    if view.leader is None:
                        return

        waiting = asyncio.create_task(wait())
        longest, last = 0.0, time.monotonic()
        for _ in range(50):
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 0.5
        waiting.cancel()
        before = time.monotonic()
        await asyncio.wait([waiting])
        assert time.monotonic() - before < allowed(0.5, before)
        for each in (leader, standby):
            await each.close()

    asyncio.run(main())


@pytest.mark.parametrize("place", ["file", "/proc/nothing"])
def test_a_directory_that_cannot_be_written_is_refused_with_its_name(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match=place) as refused:
        elector(tmp_path / place)
    assert isinstance(refused.value, Fatal)
    assert "expected a directory that this user can write" in str(refused.value)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_refused_never_taken_for_success(tmp_path: Path, number: int) -> None:
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(Unusable, match="flock fails here"):
        FileLockElector(tmp_path, candidate("a"), TIMING, flock=flock)


def test_a_file_system_whose_locks_do_not_exclude_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="do not exclude"):
        FileLockElector(tmp_path, candidate("a"), TIMING, flock=lambda _descriptor, _how: None)
    assert not list(tmp_path.iterdir())


def test_locks_that_stop_working_later_are_no_leadership(tmp_path: Path) -> None:
    import fcntl

    broken = False

    def flock(descriptor: int, how: int) -> None:
        if broken:
            raise OSError(errno.ENOLCK, "No locks available")
        fcntl.flock(descriptor, how)

    async def main() -> None:
        nonlocal broken
        one = FileLockElector(tmp_path, candidate("a"), TIMING, flock=flock)
        broken = True
        with pytest.raises(Unusable):
            await one.campaign()
        assert not one.lease.valid(time.monotonic())
        broken = False
        await one.campaign()
        await one.close()

    asyncio.run(main())


def test_the_epoch_is_on_the_disk_and_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        one = elector(tmp_path)
        await one.campaign()
        await one.resign()
        assert json.loads((tmp_path / "leader.json").read_text())["epoch"] == 1
        for content in ("", "{", "[]", '{"epoch": "x"}'):
            (tmp_path / "leader.json").write_text(content)
            with pytest.raises(Unusable, match=r"leader\.json"):
                await one.campaign()
        (tmp_path / "leader.json").write_text('{"epoch": 41}')
        assert await one.campaign() == 42
        await one.close()

    asyncio.run(main())


def test_a_lock_file_that_was_replaced_protects_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        one, other = elector(tmp_path, "a"), elector(tmp_path, "bb")
        await one.campaign()
        (tmp_path / "leader.lock").unlink()
        epoch = await other.campaign()
        with pytest.raises(LeaseLost, match="removed or replaced"):
            await one.renew()
        with pytest.raises(Refused, match=f"bb leads .epoch {epoch}"):
            await one.campaign()
        for each in (one, other):
            await each.close()

    asyncio.run(main())


def test_a_disk_that_does_not_answer_is_unknown_until_the_deadline(tmp_path: Path) -> None:
    async def main() -> None:
        one = elector(tmp_path)
        await one.campaign()
        one._worker.submit(time.sleep, TIMING.request_timeout + 0.4)
        with pytest.raises(Unknown, match="did not answer"):
            await one.renew()
        assert one.epoch is not None
        await one.renew()
        await one.close()

    asyncio.run(main())


def test_a_reservation_of_another_boot_has_lapsed(tmp_path: Path) -> None:
    async def main() -> None:
        one = elector(tmp_path)
        control = {"boot": "another", "successor": "somebody", "until": 1e12, "keeps": None}
        (tmp_path / "control.json").write_text(json.dumps(control))
        assert (await one.observe()).successor is None
        await one.campaign()
        await one.close()

    asyncio.run(main())
