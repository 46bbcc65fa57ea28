"""Looking at something all the time, on threads of their own, while a `with` lasts."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Look = Callable[[threading.Event], object]


@contextmanager
def looking(looks: Mapping[str, Look]) -> Iterator[list[str]]:
    """Run each of `looks`, by its name, on a thread until its event is set, at the end of the `with`. What it gives
    says which of them ended early, and why; it is whole after the `with`."""
    failed: list[str] = []
    over = threading.Event()

    def run(name: str, look: Look) -> None:
        try:
            look(over)
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it
            failed.append(f"{name}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in looks.items()]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join()
