"""Cleaning up that a cancellation must not interrupt, and that must not swallow the cancellation."""

import asyncio
from typing import Any


async def finished(work: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Wait until `work` is done, or for `seconds`; not for less when cancelled. The cancellation is raised afterwards.

    The result or error of `work` is left to the caller.
    """
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    while not work.done() and (until is None or until > loop.time()):
        try:
            await asyncio.wait([work], timeout=None if until is None else until - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
