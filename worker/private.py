"""Parameters that luigi keeps from every scheduler (`ParameterVisibility.PRIVATE`).

Their values are in no call, so a worker that is handed a task cannot get them: it takes its own, from luigi.cfg or the
parameter's default, as luigi's own workers do. What cannot work is said where it is seen: by whoever submits, and by
the worker.
"""

from functools import cache
from typing import Any

from luigi.parameter import ParameterVisibility, _no_value


@cache
def names(family: Any) -> tuple[str, ...]:
    """Return the names of a task class's private parameters, in their order. Nearly every class has none."""
    private = ParameterVisibility.PRIVATE
    return tuple(name for name, parameter in family.get_params() if parameter.visibility == private)


def own_value(family: Any, name: str) -> Any:
    """Return what a worker with this process's luigi.cfg would take; luigi's `_no_value` if there is nothing."""
    parameter = dict(family.get_params())[name]
    if not parameter.has_task_value(family.get_task_family(), name):
        return _no_value
    return parameter.task_value(family.get_task_family(), name)


def missing(family: Any) -> list[str]:
    """Return the private parameters for which a worker with this process's luigi.cfg has no value."""
    return [name for name in names(family) if own_value(family, name) == _no_value]


def untold(task: Any) -> list[str]:
    """Return the private parameters of a task whose values a worker with this process's luigi.cfg would not have."""
    family: Any = type(task)
    return [name for name in names(family) if own_value(family, name) != getattr(task, name)]
