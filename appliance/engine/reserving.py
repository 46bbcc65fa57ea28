"""What a client runs itself is left to it: by workers that say which modules they have loaded, unless it is of those.

Stock `luigi` describes its tasks, then says how many it runs at once (`add_worker`: "workers"), and then asks for work.
A client with `--workers 0` describes tasks for others. A client that has gone leaves its tasks to everybody.
"""

from typing import Final

from luigi_ha.appliance.engine.model import Task, Worker
from luigi_ha.appliance.engine.offers import Offer
from luigi_ha.appliance.engine.state import State
from luigi_ha.appliance.engine.workersets import WorkerSet

UNSAID: Final = 10.0  # s after its last word in which a client may yet say that it runs its tasks itself


class Reserving(State):
    """Reads only."""

    def _is_reserved(self, team: WorkerSet, caller: Worker, offer: Offer) -> bool:
        """Whether tasks of this team are run by a client of their own, which leaves them to nobody."""
        if offer.modules is None or caller in team.members:
            return False
        return any(self._runs_itself(worker) for worker in team.members)

    def _runs_itself(self, worker: Worker) -> bool:
        """Whether a worker that described tasks also runs them, as `luigi` does. Until it has said so, as it does once
        all of them are described, that is assumed for a while after each word of it."""
        if worker.assistant:
            return False
        slots = worker.info.get("workers")
        if isinstance(slots, (int, float)):
            return slots > 0
        return worker.last_get_work is not None or self._clock() - worker.last_active < UNSAID

    def _takes(self, task: Task, caller: Worker, offer: Offer) -> bool:
        """Whether an offer, which may be the caller's or not, takes this task, as far as modules go."""
        reserved = self._is_reserved(task.team, caller, offer)
        known = offer.refusal(task.family, task.module, task.id)
        return known is None and offer.loads(task.module, reserved=reserved)
