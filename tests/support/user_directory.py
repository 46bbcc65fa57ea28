"""The directory of a user who has modules with the names of our folders, and a pipeline."""

from pathlib import Path

PIPELINE = """
import luigi
from luigi_ha.targets import LocalTarget


class Report(luigi.Task):
    to = luigi.Parameter()

    def output(self):
        return LocalTarget(self.to)

    def run(self):
        with self.output().open("w") as out:
            out.write("done")
"""


def fill(directory: Path) -> None:
    """Whoever imports one of those modules in place of ours fails."""
    for name in ("worker.py", "ha.py"):
        (directory / name).write_text("raise RuntimeError('the user has a file of this name')\n")
    (directory / "appliance").mkdir()
    package = directory / "appliance" / "__init__.py"
    package.write_text("raise RuntimeError('the user has a package of this name')\n")
    (directory / "pipeline.py").write_text(PIPELINE)
