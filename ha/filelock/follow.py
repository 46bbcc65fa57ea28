"""Watching the file lock: a thread that looks every 20 ms."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from luigi_ha.ha.elector import View
from luigi_ha.ha.errors import HaError, Unknown
from luigi_ha.ha.log import Events

POLL = 0.02  # s between two looks

_log = Events("filelock")


async def follow(look: Callable[[], View]) -> AsyncGenerator[View, None]:
    """What `look` returns now, then each change; it is called in a thread of its own, which ends within `POLL` after
    the generator is closed. Raises what `look` raises, except Unknown: then it looks again."""
    loop = asyncio.get_running_loop()
    views: asyncio.Queue[View | HaError] = asyncio.Queue()
    stop = threading.Event()

    def tell(view: View | HaError) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(views.put_nowait, view)

    def keep_looking() -> None:
        last: View | None = None
        while not stop.is_set():
            try:
                view = look()
                if view != last:
                    last = view
                    tell(view)
            except Unknown as error:  # somebody holds the control lock for long
                _log.info("watch_waits", error=str(error))
            except HaError as error:
                tell(error)
                return
            stop.wait(POLL)

    threading.Thread(target=keep_looking, name="filelock-watch", daemon=True).start()
    try:
        while True:
            view = await views.get()
            if isinstance(view, HaError):
                raise view
            yield view
    finally:
        stop.set()
