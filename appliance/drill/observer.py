"""Asks each node all the time how it is, and writes down what changes."""

import json
import threading
from pathlib import Path
from typing import Any, Self

from luigi_ha.appliance.drill.place import Breakable, now

LOOK_EVERY = 0.03  # s between two looks at the nodes


class Observer:
    """Asks each node all the time how it is, and writes down what changes."""

    def __init__(self, place: Breakable, path: Path) -> None:
        self._place = place
        self._path = path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(node,), daemon=True) for node in place.nodes]
        self._lock = threading.Lock()
        self.failed: list[str] = []  # why a node was not looked at to the end

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, node: str) -> None:
        try:
            self._look(node)
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            self.failed.append(f"{node}: {type(error).__name__}: {error}")

    def _look(self, node: str) -> None:
        before: list[Any] | None = None
        last = now()
        while not self._over.is_set():
            asked, said = now(), self._place.health(node)
            seen: list[Any] = [None, 0, False]
            if said is not None:  # ready: its lease is valid, too
                seen = [said.get("state"), said.get("epoch"), bool(said.get("leading") and said.get("ready"))]
            if seen != before and before is not None:
                self._write(last, node, before)
            if seen != before:
                self._write(now(), node, seen)
            before, last = seen, asked
            self._over.wait(LOOK_EVERY)
        if before is not None:
            self._write(last, node, before)

    def _write(self, at: float, node: str, seen: list[Any]) -> None:
        with self._lock, self._path.open("a") as out:
            out.write(json.dumps([round(at, 4), node, *seen]) + "\n")
