"""Attempts at cells: the tasks of a pool that train them, one or several each, and what these tell of each cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.evaluation import Evaluation
from bench.pool import Pool, log_end
from bench.slots import Slot
from bench.task import Died, Event, Returned, Sent, Task


@dataclass
class Attempt:
    """A cell under way, or one whose end is to be recorded: the so-manieth attempt, its clock and its curve so far."""

    cell: Cell
    slot: Slot
    number: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    curve: dict[int, Evaluation] = field(default_factory=dict)
    _clock: float = field(default_factory=time.monotonic)
    _shared: float = 0.0  # integral over time of the number of cells on the device

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self._clock

    @property
    def sharing(self) -> float:
        """How many cells were on the device on average, this one included."""
        return max(1.0, self._shared / self.seconds)

    def share(self, cells: int, seconds: float) -> None:
        """Take note that for so long so many cells were on the device."""
        self._shared += cells * seconds


@dataclass(frozen=True)
class _Gang:
    """The cells of one task, where it runs, and the file its output goes to."""

    cell_ids: tuple[str, ...]
    slot: Slot
    log: Path

    def events_of_cells(self, event: Event) -> list[Event]:
        """What an event of the task tells of its cells (`bench.gang.run_cells`)."""
        if isinstance(event, Died):
            return [replace(event, key=cell_id) for cell_id in self.cell_ids]
        if isinstance(event, Returned):
            return []  # each cell has told its own end
        cell_id, kind, body = event.message
        if kind == "sent":
            return [Sent(cell_id, body)]
        if kind == "returned":
            return [Returned(cell_id, body)]
        return [Died(cell_id, *body, log=log_end(self.log))]


class Attempts:
    """What is under way, a task in a slot. An attempt ends with the event that tells of it."""

    def __init__(self, slots: Sequence[Slot], pool: Any = None) -> None:
        """`pool` starts tasks as a `Pool` does; None for one."""
        self._free = list(slots)
        self._tasks: dict[str, _Gang] = {}
        self._under_way: dict[str, Attempt] = {}
        self._pool = Pool() if pool is None else pool
        self._ticked = time.monotonic()

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def free(self) -> Slot | None:
        """The slot where the next task may start, if there is one."""
        return next(iter(self._free), None)

    @property
    def places(self) -> int:
        """How many slots there are, taken or free."""
        return len(self._free) + len(self._tasks)

    def withdraw(self, slot: Slot) -> None:
        """Start nothing more in a slot like this that is free."""
        self._free = [free for free in self._free if free != slot]

    def start(self, task: Task, slot: Slot, cells: Sequence[Cell], number: int) -> None:
        """Start the `number`-th attempts at cells, as one task; the key of a cell's own is its id."""
        self._pool.start(task)
        self._account_time()
        self._free.remove(slot)
        self._tasks[task.key] = _Gang(tuple(cell.id for cell in cells), slot, task.log)
        self._under_way |= {cell.id: Attempt(cell, slot, number) for cell in cells}

    def wait(self, seconds: float) -> list[tuple[Attempt, Event]]:
        """The events of the next moment, each with the attempt it tells of; empty after `seconds` without any."""
        events = self._pool.wait(seconds)
        self._account_time()
        return self._of_attempts(events)

    def stop(self) -> list[tuple[Attempt, Event]]:
        """Ask every task to stop; the events until all have ended."""
        return self._of_attempts(self._pool.stop())

    def _of_attempts(self, events: list[Event]) -> list[tuple[Attempt, Event]]:
        found = []
        for event in self._of_cells(events):
            over = not isinstance(event, Sent)
            attempt = self._under_way.pop(event.key, None) if over else self._under_way.get(event.key)
            if attempt:  # else it is of a gang that died after this cell's end
                found.append((attempt, event))
        return found

    def _of_cells(self, events: list[Event]) -> list[Event]:
        """The events of cells in those of the tasks that train them; the slot of a task that ended is free."""
        found: list[Event] = []
        for event in events:
            gang = self._tasks[event.key]
            if not isinstance(event, Sent):
                del self._tasks[event.key]
                self._free.append(gang.slot)
            found += [event] if event.key in gang.cell_ids else gang.events_of_cells(event)
        return found

    def _account_time(self) -> None:
        now = time.monotonic()
        beside = [attempt.slot.shares for attempt in self._under_way.values()]
        for attempt in self._under_way.values():
            attempt.share(beside.count(attempt.slot.shares), now - self._ticked)
        self._ticked = now
