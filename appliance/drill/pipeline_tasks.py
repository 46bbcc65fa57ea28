"""The pipeline that the drill lets stock luigi run: layers of tasks that take some seconds each.

Task `number` of a layer needs those of the layer before whose number is its own modulo the layer's width; the last
layer has one task, which needs all of the others in the end. Each task appends a line to `effects.log` when it begins
and one when it is done (one write each, O_APPEND: CLOCK_BOOTTIME s; which worker ran it), and then makes its target:
what happened is read there, and no scheduler is believed. The directory comes from the environment: it is no part of a
task's identity.
"""

import os
import time
from pathlib import Path

import luigi

DIRECTORY, BY = "PIPELINE_DIRECTORY", "PIPELINE_BY"
LOG, TARGETS = "effects.log", "targets"


def widths(text: str) -> list[int]:
    """Of the layers, the first one first: "8,4,1"."""
    return [int(width) for width in text.split(",")]


def required(text: str) -> dict[str, tuple[str, ...]]:
    """Every task of the pipeline by its name, with the names of those that must be done before it."""
    layers = widths(text)
    return {
        f"{layer}-{number}": tuple(f"{layer - 1}-{below}" for below in _below(layers, layer, number))
        for layer, width in enumerate(layers)
        for number in range(width)
    }


def _below(layers: list[int], layer: int, number: int) -> list[int]:
    return [] if layer == 0 else [below for below in range(layers[layer - 1]) if below % layers[layer] == number]


def _tell(what: str, name: str) -> None:
    log = os.open(Path(os.environ[DIRECTORY]) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        at, by = time.clock_gettime(time.CLOCK_BOOTTIME), os.environ.get(BY, "luigi")
        os.write(log, f"{what} {at:.6f} {name} {os.getpid()} {by}\n".encode())
    finally:
        os.close(log)


class Piece(luigi.Task):
    """One task. `lot` is in the ids: those of one run are its own."""

    lot = luigi.Parameter()
    layers = luigi.Parameter()
    seconds = luigi.FloatParameter()
    layer = luigi.IntParameter()
    number = luigi.IntParameter()

    @property
    def name(self) -> str:
        return f"{self.layer}-{self.number}"

    def requires(self) -> list[luigi.Task]:
        below = _below(widths(self.layers), self.layer, self.number)
        return [self.clone(layer=self.layer - 1, number=number) for number in below]

    def output(self) -> luigi.LocalTarget:
        return luigi.LocalTarget(Path(os.environ[DIRECTORY]) / TARGETS / self.name)

    def run(self) -> None:
        _tell("start", self.name)
        time.sleep(self.seconds)
        _tell("end", self.name)
        with self.output().open("w") as out:
            out.write(self.name)
