"""A pipeline of b2luigi: slices, halves that need some of them, and a task that collects them."""

from pathlib import Path

import b2luigi
from noted import DIRECTORY, TARGETS, work

SLICES, HALVES = 12, 2
b2luigi.set_setting("result_dir", str(DIRECTORY / "results"))


class Timed(b2luigi.Task):
    """What all have in common."""

    lot = b2luigi.Parameter()
    seconds = b2luigi.FloatParameter()

    def noted(self, name: str) -> None:
        work(name, self.seconds)
        Path(self.get_output_file_name("done.txt")).write_text(name)
        (TARGETS / name).touch()


class Slice(Timed):
    """The first layer."""

    number = b2luigi.IntParameter()

    def output(self):
        yield self.add_to_output("done.txt")

    @b2luigi.on_temporary_files
    def run(self) -> None:
        self.noted(f"slice-{self.number}")


class Half(Timed):
    """The second one."""

    half = b2luigi.IntParameter()

    def requires(self):
        for number in range(self.half, SLICES, HALVES):
            yield self.clone(Slice, number=number)

    def output(self):
        yield self.add_to_output("done.txt")

    def run(self) -> None:
        assert len(self.get_input_file_names("done.txt")) == SLICES // HALVES
        self.noted(f"half-{self.half}")


class Whole(Timed):
    """Collects."""

    def requires(self):
        for half in range(HALVES):
            yield self.clone(Half, half=half)

    def output(self):
        yield self.add_to_output("done.txt")

    def run(self) -> None:
        self.noted("whole")

