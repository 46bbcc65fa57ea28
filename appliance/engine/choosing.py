"""Which task a worker gets.

A worker whose tasks need no resources takes the first of its own ready tasks. For the others Luigi asks two
questions of each task in the order of work: are its resources free now, and would they be free if all workers
were scheduled again greedily (so that many low priorities cannot starve a high one)? Tasks of one ready group
get the same answers, and a greedy step uses up a worker's slot, so the walk ends after the groups and the slots.
Before the first task that the worker may have at all, and for one that needs nothing, there is no need to walk.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sortedcontainers import SortedList

from luigi_ha.appliance.engine.demand import Items, ResourceName, fits
from luigi_ha.appliance.engine.model import Task, Worker
from luigi_ha.appliance.engine.offers import Offer
from luigi_ha.appliance.engine.pruning import Pruning
from luigi_ha.appliance.engine.ready import ReadyGroup, ReadyKey
from luigi_ha.appliance.engine.reserving import Reserving


class _Candidates(NamedTuple):
    """Ready tasks that get the same answers, in the order of work."""

    tasks: SortedList[ReadyKey]
    group: ReadyGroup
    taken: bool  # by what the worker offers


_Head = tuple[ReadyKey, Iterator[ReadyKey], _Candidates | None]


class Choosing(Pruning, Reserving):
    """Reads only."""

    def _choose(self, caller: Worker, offer: Offer, *, assistant: bool, own_only: bool) -> Task | None:
        """The next task for a worker. `own_only`: none of its tasks needs resources, and it runs no others."""
        best: ReadyKey | None = None  # of those that need nothing
        needing: ReadyKey | None = None
        for group in self._ready.groups if not own_only else _groups_of(caller):
            if not (own_only or (assistant and group.runnable) or group.team in caller.teams):
                continue
            head = _head(group, offer, reserved=self._is_reserved(group.team, caller, offer))
            if head is None:
                continue
            if own_only or not group.demand.items:
                best = head if best is None else min(best, head)
            else:
                needing = head if needing is None else min(needing, head)
        if needing is not None and (best is None or needing < best):
            return self._first_greedy(caller, offer, assistant=assistant)
        return None if best is None else best[3]

    def _first_greedy(self, caller: Worker, offer: Offer, *, assistant: bool) -> Task | None:
        capacity = self.capacity
        used = self._usage.amounts
        slots = self._active_slots()
        greedy: dict[ResourceName, float] = {}
        heads: list[_Head] = []
        for group in self._ready.groups:
            for candidates in _candidates(group, offer, reserved=self._is_reserved(group.team, caller, offer)):
                _push(heads, iter(candidates.tasks), candidates)
        _push(heads, iter(self._running), None)
        heapq.heapify(heads)
        while heads:
            key, rest, found = heapq.heappop(heads)
            task: Task = key[3]
            if found is None:
                if task.worker_running in slots:
                    slots[task.worker_running] -= 1
                    _add(greedy, self._held(task))
            else:
                group = found.group
                items = group.demand.items
                if not fits(items, greedy, capacity):
                    continue  # nor will the rest of the group: greedy use only grows
                its_own = (assistant and group.runnable) or group.team in caller.teams
                if its_own and found.taken and fits(items, used, capacity) and not offer.has_given_back(task.id):
                    return task
                if not self._take_slot(slots, group, caller if assistant and found.taken else None):
                    continue
                _add(greedy, items)
            following = next(rest, None)
            if following is not None:
                heapq.heappush(heads, (following, rest, found))
        return None

    def _active_slots(self) -> dict[str | None, float]:
        """Free slots of the workers that asked for work lately, before anything is given to them."""
        since = self._clock() - self.settings.worker_disconnect_delay
        return {
            worker.id: worker.slots
            for worker in self.workers.values()
            if worker.last_get_work is not None and worker.last_get_work > since and not worker.draining
        }

    def _take_slot(self, slots: dict[str | None, float], group: ReadyGroup, assistant: Worker | None) -> bool:
        """Use up a slot of the first worker that could run a task of this group."""
        for worker in group.team.members:
            if slots.get(worker.id, 0) > 0:
                slots[worker.id] -= 1
                return True
        if assistant is not None and slots.get(assistant.id, 0) > 0:
            slots[assistant.id] -= 1
            return True
        return False

    def _lost_run(self, worker_id: str, named: Callable[[Task], bool]) -> Task | None:
        """The first task in the order of work that the worker should be running and does not name."""
        lost = [task for task in self._running_on.get(worker_id, {}).values() if not named(task)]
        return min(lost, key=lambda task: task.ready_key or (), default=None)


def _groups_of(caller: Worker) -> Iterator[ReadyGroup]:
    return (group for team in caller.teams for group in team.groups.values())


def _candidates(group: ReadyGroup, offer: Offer, *, reserved: bool) -> Iterator[_Candidates]:
    """A group's tasks, by family if the offer tells them apart."""
    taken = offer.able(group.demand) and offer.loads(group.module, reserved=reserved)
    if not taken or not offer.sifts:
        yield _Candidates(group.tasks, group, taken)
        return
    for family, tasks in group.split().items():
        yield _Candidates(tasks, group, offer.takes(family) and offer.refusal(family, group.module) is None)


def _head(group: ReadyGroup, offer: Offer, *, reserved: bool) -> ReadyKey | None:
    """The first of a group's tasks that the offer takes."""
    if not offer.able(group.demand) or not offer.loads(group.module, reserved=reserved):
        return None
    if not offer.sifts:
        return _first_left(group.tasks, offer)
    families = group.split()
    names = families if offer.families is None else families.keys() & offer.families
    chosen = [name for name in names if offer.takes(name) and offer.refusal(name, group.module) is None]
    heads = [_first_left(families[name], offer) for name in chosen]
    return min((head for head in heads if head is not None), default=None)


def _first_left(tasks: SortedList[ReadyKey], offer: Offer) -> ReadyKey | None:
    """The first that was not given back by itself."""
    if offer.cannot_load is None:
        first: ReadyKey = tasks[0]
        return first
    return next((key for key in tasks if not offer.has_given_back(key[3].id)), None)


def _push(heads: list[_Head], keys: Iterator[ReadyKey], found: _Candidates | None) -> None:
    first = next(keys, None)
    if first is not None:
        heads.append((first, keys, found))


def _add(sums: dict[ResourceName, float], items: Items | Mapping[ResourceName, float]) -> None:
    for name, amount in items if isinstance(items, tuple) else items.items():
        sums[name] = sums.get(name, 0) + amount
