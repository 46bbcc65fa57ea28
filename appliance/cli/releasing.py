"""What `release` does: takes what a node that was killed may still hold.

Callers wait for it, so it is quick: what a step needs is loaded by that step, and the address goes before anything that
talks to etcd is loaded.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.sharing import asked, configured, shared
from luigi_ha.appliance.config import ConfigError, Serve
from luigi_ha.appliance.config.election import kind, node_name
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.ha.errors import Fatal, HaError


def run(config: Path | None, flags: Mapping[str, Any], *, as_json: bool) -> None:
    """Release, and say whether this node led. CommandError if something may still be held."""
    with configured():
        serve = shared(config, flags)
        try:
            led = release(serve)
        except Fatal as error:
            raise ConfigError("election", str(error), "see docs/leadership.md") from error
        except HaError as error:
            raise CommandError(f"not known to be released: {error}", ExitCode.UNREACHABLE) from error
    name, who = node_name(serve, serve.database, os.getpid()), asked(serve)
    if as_json:
        print(json.dumps({"released": led, "node": name, "asked": who}, indent=2))
    else:
        said = f"the leadership of {name} has been released" if led else f"{name} did not lead"
        print(f"{said} (asked: {who})")


def release(serve: Serve) -> bool:
    """Address, then lease, then silence (`luigi_ha.ha.vip.refusals`), each also if the one before could not be had; but
    callers are refused again only if the address is certainly gone. Whether this node led. HaError if anything may be
    held."""
    try:
        _sweep(serve)
    except BaseException:
        _revoke(serve)
        raise
    try:
        return _revoke(serve)
    finally:
        _allow_refusals(serve)


def _sweep(serve: Serve) -> None:
    if serve.vip:
        from luigi_ha.ha.vip.sweep import sweep  # noqa: PLC0415 - see above

        sweep(serve.vip, serve.vip_interface)


def _revoke(serve: Serve) -> bool:
    if kind(serve, serve.database) == "file":
        return False  # the kernel has done it
    import asyncio  # noqa: PLC0415

    from luigi_ha.appliance.cli.electing import elector  # noqa: PLC0415

    name = node_name(serve, serve.database, os.getpid())

    async def revoke() -> bool:
        access = elector(serve, name, seen=False)
        try:
            return await access.release(name)
        finally:
            with suppress(HaError):
                await access.close()

    return asyncio.run(revoke())


def _allow_refusals(serve: Serve) -> None:
    from luigi_ha.appliance.cli.silence import silence  # noqa: PLC0415

    rule = silence(serve)
    if rule is not None:
        try:
            rule.allow()
        except HaError as error:  # harmless where the address is not
            print(f"luigi-ha: a rule of nftables stays: {error}", file=sys.stderr)
