"""What the commands about leadership do, with access to where it is kept."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

from luigi_ha.appliance.cli.electing import elector
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import asked, configured, require_pair, shared
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.config import ConfigError
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.ha.elector import Elector
from luigi_ha.ha.errors import Fatal, HaError, Refused, Unknown

T = TypeVar("T")
Done = dict[str, Any]


def switch_over(config: Path | None, flags: Mapping[str, Any], to: str, within: float) -> Done:
    """Ask, and wait until `to` leads or the leader refuses."""
    return _ask(config, flags, lambda access: _switch_over(access, to, within))


async def _switch_over(access: Elector, to: str, within: float) -> Done:
    began = monotonic()
    before = (await access.observe()).leader
    if before is None:
        raise _failed("nobody leads, so there is nobody to hand over")
    if before.name == to:
        return {"leader": to, "epoch": before.epoch, "seconds": 0.0, "before": to, "led_already": True}
    names = [member.name for member in await access.members()]
    if to not in names:
        raise _failed(
            f"no node {to!r} is present; expected one of {', '.join(n for n in names if n != before.name) or 'none'}"
        )
    request = await access.ask_switchover(to)
    try:
        async with asyncio.timeout(within), aclosing(access.watch()) as views:
            async for view in views:
                answer = view.asked
                if answer is not None and answer.id == request.id and answer.refused is not None:
                    raise _failed(f"{before.name} does not hand over: {answer.refused}")
                leader = view.leader
                if leader is not None and leader.epoch > before.epoch:
                    if leader.name != to:
                        raise _failed(f"{leader.name} leads instead of {to} (epoch {leader.epoch})")
                    return {"leader": to, "epoch": leader.epoch, "seconds": monotonic() - began, "before": before.name}
    except TimeoutError:
        pass
    raise _failed(f"{to} does not lead after {within:g} s; `luigi-ha status` says who does")


def addresses(config: Path | None) -> dict[str, str]:
    """The nodes that are present, and the URL of each."""

    async def work(access: Elector) -> Done:
        return {member.name: member.about.get("address", "") for member in await access.members()}

    found = _ask(config, {}, work)
    found.pop("asked")
    return found


def pause(config: Path | None, flags: Mapping[str, Any]) -> Done:
    """Keep the present leader."""

    async def work(access: Elector) -> Done:
        before = (await access.observe()).keeps
        await access.pause()
        return {"paused": True, "keeps": (await access.observe()).keeps, "was_paused": before is not None}

    return _ask(config, flags, work)


def resume(config: Path | None, flags: Mapping[str, Any]) -> Done:
    """End the pause."""

    async def work(access: Elector) -> Done:
        before = (await access.observe()).keeps
        await access.resume()
        return {"paused": False, "kept": before, "was_paused": before is not None}

    return _ask(config, flags, work)


def _ask(config: Path | None, flags: Mapping[str, Any], work: Callable[[Elector], Awaitable[Done]]) -> Done:
    with configured():
        serve = shared(config, flags)
        require_pair(serve)
        who = asked(serve)

        async def run() -> Done:
            access = elector(serve, f"command-{os.getpid()}", seen=False)
            try:
                return await work(access)
            finally:
                with suppress(HaError):
                    await access.close()

        try:
            return {**asyncio.run(run()), "asked": who}
        except Refused as error:
            raise _failed(f"{error} (asked: {who})") from error
        except Unknown as error:
            raise CommandError(f"{error} (asked: {who})", ExitCode.UNREACHABLE) from error
        except CommandError as error:
            raise CommandError(f"{error} (asked: {who})", error.code) from error
        except Fatal as error:
            raise ConfigError("election", str(error), "see docs/leadership.md") from error


def _failed(what: str) -> CommandError:
    return CommandError(what, ExitCode.FAILED)
