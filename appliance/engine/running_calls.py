"""The calls a running task makes about itself, from its own process."""

from typing import Any

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.changes import JsonText
from luigi_ha.appliance.engine.demand import checked_resources
from luigi_ha.appliance.engine.lifecycle import Lifecycle
from luigi_ha.appliance.engine.model import DETAIL, RUNNING, to_json


class RunningCalls(Lifecycle):
    """RPCs of running tasks."""

    def set_task_status_message(self, task_id: str, status_message: Any) -> None:
        """Free text from a running task."""
        self._set_detail(task_id, "status_message", to_json(status_message))

    def set_task_progress_percentage(self, task_id: str, progress_percentage: Any) -> None:
        """0 to 100, by custom."""
        self._set_detail(task_id, "progress_percentage", to_json(progress_percentage))

    def _set_detail(self, task_id: str, field: str, value: JsonText) -> None:
        task = self.tasks.get(checks.text("task_id", task_id))
        if task is None:
            return
        if getattr(task, field) != value:
            setattr(task, field, value)
            self._touched(task, DETAIL)
        if task.status == RUNNING and task.batch_id is not None:
            self._copy_to_members(task, field)

    def decrease_running_task_resources(self, task_id: str, decrease_resources: Any) -> None:
        """A running task, and its batch, gives up a part of its resources."""
        task = self.tasks.get(checks.text("task_id", task_id))
        decrease = checked_resources("decrease_resources", decrease_resources)
        if task is None or task.status != RUNNING:
            return
        for holder in (task, *self.batch_members(task.batch_id)):
            held = holder.demand.resources if holder.resources_running is None else holder.resources_running
            self._leave(holder)
            holder.resources_running = {
                name: max(0, amount - decrease.get(name, 0)) if decrease.get(name, 0) > 0 else amount
                for name, amount in held.items()
            }
            self._enter(holder)
            self._touched(holder)

    def report_task_statistics(self, task_id: str, statistics: Any) -> None:
        """Accepted as luigid does without a collector; the scheduler keeps its own metrics."""
        checks.text("task_id", task_id)
        checks.mapping("statistics", statistics)

    def update_metrics_task_started(self, task: Any) -> None:
        """As `report_task_statistics`."""
