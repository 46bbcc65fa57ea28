"""A node's process that holds addresses: python -m tests.vip.host INTERFACE ADDRESS...

Commands on standard input, one answer a line: `start`, `hold SECONDS`, `drop`, `held`, `freeze` (the next addition to
the kernel is preceded by SIGSTOP of the whole process, after the last look at the clock), `events`. With the variable
REFUSALS=<port>, refusals are suppressed.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading

from luigi_ha.ha.clock import monotonic
from luigi_ha.ha.errors import HaError
from luigi_ha.ha.vip.configured import Vip, configured
from luigi_ha.ha.vip.kernel import Kernel
from luigi_ha.ha.vip.netlink import NetlinkAddress
from luigi_ha.ha.vip.refusals import Refusals

_EVENTS: list[str] = []
_FREEZE: list[bool] = []


class Remember(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _EVENTS.append(record.getMessage())


def freeze_before_the_effect() -> None:
    """The pause between check and effect that no program can exclude (trap 23), put where it hurts most."""
    put = Kernel.put

    def frozen_put(self: Kernel, vip: Vip, index: int, seconds: int) -> None:
        if _FREEZE:
            _FREEZE.clear()
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # before this thread does anything more
        put(self, vip, index, seconds)

    Kernel.put = frozen_put  # type: ignore[method-assign]


async def main(interface: str, *addresses: str) -> None:
    logging.getLogger("luigi_ha.vip").addHandler(Remember())
    logging.getLogger("luigi_ha.vip").setLevel(logging.INFO)
    freeze_before_the_effect()
    port = int(os.environ.get("REFUSALS", "0"))
    refusals = Refusals(configured(addresses), "lhv", port) if port else None
    address = NetlinkAddress(addresses, interface, refusals=refusals)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *rest = line.split()
        answer: object = None
        try:
            match command:
                case "start":
                    await address.start()
                case "hold":
                    await address.hold(monotonic() + float(rest[0]))
                case "drop":
                    await address.drop()
                case "held":
                    answer = address.held
                case "freeze":
                    _FREEZE.append(True)
                case "events":
                    answer = _EVENTS
        except HaError as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
