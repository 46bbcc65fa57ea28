"""A module that has a task of another one among its names."""

from tests.worker.pipelines import Noted


class Lent(Noted):
    pass
