"""Asks each node all the time how it is, and writes down what changes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from luigi_ha.appliance.drill.place import Breakable, now
from luigi_ha.appliance.lab.looking import looking

LOOK_EVERY = 0.03  # s between two looks at the nodes


@contextmanager
def observed(place: Breakable, path: Path) -> Iterator[list[str]]:
    """Between `with` and its end. What it gives says why a node was not looked at to the end."""
    lock = threading.Lock()

    def write(at: float, node: str, seen: list[Any]) -> None:
        with lock, path.open("a") as out:
            out.write(json.dumps([round(at, 4), node, *seen]) + "\n")

    def look(node: str, over: threading.Event) -> None:
        before: list[Any] | None = None
        last = now()
        while not over.is_set():
            asked, said = now(), place.health(node)
            seen: list[Any] = [None, 0, False]
            if said is not None:  # ready: its lease is valid, too
                seen = [said.get("state"), said.get("epoch"), bool(said.get("leading") and said.get("ready"))]
            if seen != before and before is not None:
                write(last, node, before)
            if seen != before:
                write(now(), node, seen)
            before, last = seen, asked
            over.wait(LOOK_EVERY)
        if before is not None:
            write(last, node, before)

    with looking({node: partial(look, node) for node in place.nodes}) as failed:
        yield failed
