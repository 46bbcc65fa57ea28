"""What a command line of luigi asks for, with all that it depends on, as luigi itself finds it out.

luigi's own parser makes the task, and luigi's own Worker walks its dependencies and asks each whether it is complete.
What that Worker tells its scheduler is kept here, and sent only when all of it is known: nothing is submitted in part.
"""

import contextlib
import importlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import luigi
import luigi.worker
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import core
from luigi.parameter import ParameterException
from luigi.task_register import TaskClassException
from luigi.task_status import DONE

from luigi_ha.worker import private

_UNDECIDED = {"n_pending_tasks": 0, "running_tasks": [], "n_unique_pending": 0}


class Unresolved(Exception):  # noqa: N818 - it says what happened
    """There is nothing to submit, in one line."""


@dataclass
class Plan:
    """One submission: what is to be told, in order."""

    root: str  # task id
    worker_id: str
    info: dict[str, Any]
    url: str  # of the scheduler, as luigi is configured
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for whoever submits

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What is told of each task."""
        return [told for method, told in self.calls if method == "add_task"]

    @property
    def complete(self) -> int:
        """How many were found complete."""
        return sum(told["status"] == DONE for told in self.tasks)


class _Notes:
    """Luigi's scheduler, as its Worker sees it: writes down what is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[str] = []

    def add_task(self, **told: Any) -> None:
        self.calls.append(("add_task", told))

    def add_task_batcher(self, **told: Any) -> None:
        self.calls.append(("add_task_batcher", told))

    def announce_scheduling_failure(self, **told: Any) -> None:
        lines = [line.strip() for line in str(told["expl"]).splitlines() if line.strip()]
        shown = ", ".join(f"{name}={value}" for name, value in told["params"].items())
        self.failures.append(f"{told['task_name']}({shown}): {lines[-1] if lines else 'no reason'}"[:1000])


def resolve(module: str, arguments: Sequence[str]) -> Plan:
    """The plan for `Family --parameter value ...` of a module. Unresolved."""
    _imported(module)
    with _parsed(["--module", module, *arguments]) as task:
        return _described(task)


def _imported(module: str) -> None:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise Unresolved(f"module: {module} cannot be imported: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _parsed(arguments: Sequence[str]) -> Iterator[luigi.Task]:
    """The task; luigi's global options (`--Other-parameter value`) hold inside of the block."""
    said = io.StringIO()
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.redirect_stderr(said):
                parser = stack.enter_context(CmdlineParser.global_instance(list(arguments)))
                task = parser.get_task_obj()
        except SystemExit as ended:
            if ended.code in (0, None):
                raise  # luigi's own --help
            lines = [line for line in said.getvalue().splitlines() if "error: " in line]
            reason = lines[-1].partition("error: ")[2] if lines else str(ended.code)
            raise Unresolved(f"luigi does not understand {' '.join(arguments[2:]) or 'that'}: {reason}") from ended
        except (TaskClassException, ParameterException) as error:
            raise Unresolved(f"{type(error).__name__}: {' '.join(str(error).split())}"[:2000]) from error
        except Exception as error:  # of a parameter's parser, or of the task's constructor
            raise Unresolved(f"the task cannot be made: {type(error).__name__}: {error}") from error
        yield task


def _described(task: luigi.Task) -> Plan:
    if core().local_scheduler:
        raise Unresolved("--local-scheduler, or local_scheduler in [core], leaves nobody to submit to; use luigi")
    notes = _Notes()
    worker: Any = luigi.worker.Worker(scheduler=notes, worker_processes=0, no_install_shutdown_handler=True)
    try:
        complete = worker.add(task)
    except Exception as error:
        raise Unresolved(f"the dependencies of {task} cannot be resolved: {type(error).__name__}: {error}") from error
    finally:
        worker._task_result_queue.close()  # noqa: SLF001 - luigi leaves it open
        worker._task_result_queue.join_thread()  # noqa: SLF001
    if not complete:
        told = "; ".join(notes.failures[:5]) or "luigi could not schedule all of them"
        raise Unresolved(f"the dependencies of {task} cannot be resolved: {told}")
    configured = core()
    url = configured.scheduler_url or f"http://{configured.scheduler_host}:{configured.scheduler_port}"
    info = {**dict(worker._worker_info), "first_task": task.task_id}  # noqa: SLF001 - what luigi's Worker tells of itself
    return Plan(task.task_id, worker._id, info, url, notes.calls, _untold(worker))  # noqa: SLF001


def _untold(worker: Any) -> list[str]:
    """What workers will not get, a line for each class of tasks."""
    found = {}
    for task in worker._scheduled_tasks.values():  # noqa: SLF001 - luigi has no other list of them
        names = private.untold(task)
        if names:
            found[task.get_task_family()] = names
    return [
        f"note: {family}: luigi tells no scheduler the value of {', '.join(names)} (private); a worker takes its own, "
        f"from [{family}] of its luigi.cfg or the default"
        for family, names in found.items()
    ]


def quiet(*, verbose: bool) -> None:
    """Luigi's own messages on stderr, or none."""
    logger = logging.getLogger("luigi-interface")
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    else:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
