"""A pipeline of law: two workflows with branches, and a task that collects them.

Slices (branches of a workflow) are halved by another workflow, each of whose branches needs some of them.
"""

import law
import luigi
from noted import TARGETS, work

SLICES, HALVES = 12, 2


class Timed(law.Task):
    """What all have in common."""

    lot = luigi.Parameter()
    seconds = luigi.FloatParameter()

    def noted(self, name: str) -> None:
        work(name, self.seconds)
        self.output().touch()


class Slice(Timed, law.LocalWorkflow):
    """The first workflow."""

    def create_branch_map(self) -> dict[int, int]:
        return {number: number for number in range(SLICES)}

    def output(self) -> law.LocalFileTarget:
        return law.LocalFileTarget(str(TARGETS / f"slice-{self.branch}"))

    def run(self) -> None:
        self.noted(f"slice-{self.branch}")


class Half(Timed, law.LocalWorkflow):
    """The second one; its branches need branches of the first."""

    def create_branch_map(self) -> dict[int, list[int]]:
        return {half: [number for number in range(SLICES) if number % HALVES == half] for half in range(HALVES)}

    def workflow_requires(self) -> dict[str, law.Task]:
        return {**super().workflow_requires(), "slices": Slice.req(self, branch=-1)}

    def requires(self) -> list[law.Task]:
        return [Slice.req(self, branch=number) for number in self.branch_data]

    def output(self) -> law.LocalFileTarget:
        return law.LocalFileTarget(str(TARGETS / f"half-{self.branch}"))

    def run(self) -> None:
        self.publish_progress(50)
        self.noted(f"half-{self.branch}")


class Whole(Timed):
    """Collects."""

    def requires(self) -> law.Task:
        return Half.req(self)

    def output(self) -> law.LocalFileTarget:
        return law.LocalFileTarget(str(TARGETS / "whole"))

    def run(self) -> None:
        self.noted("whole")
