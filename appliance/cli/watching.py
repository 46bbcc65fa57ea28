"""Showing something again and again, until Ctrl-C.

An outage is what one watches for: it is shown, and the watching goes on. Only what asking again cannot mend ends it.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.shown import moment
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.exit_codes import ExitCode

EVERY = 2.0  # s
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(ask: Callable[[], Any], shown: Callable[[Any], str], every: float, *, as_json: bool) -> None:
    """Show what `ask` returns every so many seconds. As JSON one document a line, an outage as {"error": ...}."""
    on_screen = sys.stdout.isatty() and not as_json
    if on_screen:
        print(_HOME + _REST, end="")
    try:
        while True:
            try:
                state, outage = ask(), None
            except CommandError as error:
                if error.code is not ExitCode.UNREACHABLE:
                    raise
                state, outage = None, str(error)
            if as_json:
                print(json.dumps(state if outage is None else {"error": outage}), flush=True)
            else:
                text = outage or shown(state)
                _draw(f"{moment(wall())}  every {every:g} s, until Ctrl-C\n\n{text}\n", on_screen=on_screen)
            time.sleep(every)
    except KeyboardInterrupt:
        print(flush=True)


def _draw(text: str, *, on_screen: bool) -> None:
    """Over what was there before, at once: a screen that is cleared first flickers."""
    if on_screen:
        text = _HOME + text.replace("\n", f"{_REST_OF_LINE}\n") + _REST
    else:
        text += "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


class WithWatch(TyperCommand):
    """`--watch` may come without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        following = [*args[1:], "-"]
        told = [
            f"{arg}={EVERY:g}" if arg == "--watch" and after.startswith("-") and not _is_number(after) else arg
            for arg, after in zip(args, following, strict=False)  # there may be none
        ]
        return super().parse_args(ctx, told)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
