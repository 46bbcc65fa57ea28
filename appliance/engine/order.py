"""All tasks in the order of their numbers, so that a list of them can be read in pages.

A task that goes leaves a hole; when half of it are holes they are closed up. Adding costs the same however many there
are, and so does removing, on average.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luigi_ha.appliance.engine.model import Task


class Order:
    """Tasks by number."""

    def __init__(self) -> None:
        self._nums = array("q")
        self._tasks: list[Task | None] = []
        self._holes = 0

    def add(self, task: Task) -> None:
        """Enter a task: nearly always one with the highest number yet."""
        nums = self._nums
        if nums and nums[-1] >= task.num:
            place = bisect_left(nums, task.num)
            nums.insert(place, task.num)
            self._tasks.insert(place, task)
        else:
            nums.append(task.num)
            self._tasks.append(task)

    def remove(self, task: Task) -> None:
        """Take a task out."""
        self._tasks[bisect_left(self._nums, task.num)] = None
        self._holes += 1
        if self._holes > 1000 and self._holes * 2 > len(self._tasks):
            self._tasks = [kept for kept in self._tasks if kept is not None]
            self._nums = array("q", [kept.num for kept in self._tasks if kept is not None])
            self._holes = 0

    def after(self, num: int, most: int) -> Iterator[Task]:
        """Tasks with higher numbers, from at most `most` places."""
        start = bisect_left(self._nums, num + 1)
        return (task for task in self._tasks[start : start + most] if task is not None)

    def place_after(self, num: int, places: int) -> int | None:
        """The number that so many places after `num` have; None: there is nothing behind them."""
        place = bisect_left(self._nums, num + 1) + places
        return self._nums[place - 1] if place < len(self._nums) else None
