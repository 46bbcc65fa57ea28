"""A module that no worker is told to import: it is loaded when a task of it comes."""

from typing import Any

from tests.worker.pipelines import Noted, note


class Late(Noted):
    """What it holds in memory cannot be put in writing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.how = lambda: f"Late {self.n}"

    def run(self) -> Any:
        note(self.how())
        self.done()
