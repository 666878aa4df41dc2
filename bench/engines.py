"""Engines: where the cells of a sweep run, if not on this machine: on a Ray cluster, or as jobs of Slurm.

An engine is a pool elsewhere: it starts the tasks of cells, tells of their events, and stops them, as a `Pool` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bench.kept import Kept
from bench.shared import Shared
from bench.slots import Slot
from bench.task import Event, Task
from bench.where import LOCAL, RAY, Wanted, Where

SHARED = "shared"  # of a results folder: what machines keep there that see it


class Engine(Protocol):
    """A pool elsewhere; an event of an end says where it was, if that is known."""

    slots: list[Slot]
    label: str  # in words
    kept: Kept

    def __len__(self) -> int:
        """How many tasks are under way."""

    def start(self, task: Task) -> None:
        """Start a task that runs one cell; its key is the cell's id."""

    def wait(self, seconds: float) -> list[Event]:
        """The events of the next moment; empty after `seconds` without any."""

    def stop(self) -> list[Event]:
        """Ask every task to stop; the events until all have ended."""


def start(where: Where, wanted: Wanted, said: Callable[[str], None]) -> Engine | None:
    """The engine, ready to start tasks; None for this machine, whose pool needs none. `said` gets what to show.

    Raises:
        InputError: as `Where.check`, and for storage that cannot be used.
        DeviceError: where the engine cannot be reached, or has not what is wanted.
    """
    where.check()
    if where.on == LOCAL:
        return None
    kept = Kept(Shared(where.shared or str(wanted.results.absolute() / SHARED)))
    if where.on == RAY:
        from bench.onray import OnRay

        return OnRay(where, wanted, kept, said)
    from bench.onslurm import OnSlurm

    return OnSlurm(where, wanted, kept, said)
