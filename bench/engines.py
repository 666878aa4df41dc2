"""Where the cells of a sweep run: on this machine, on a Ray cluster, or as jobs of Slurm.

An engine is a pool elsewhere: it starts the tasks of cells, tells of their events, and stops them, as a `Pool` does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench import remote, shared
from bench.answer import Answer
from bench.errors import InputError, StoreError
from bench.pool import Died, Event, Returned, Task
from bench.shared import Shared
from bench.slots import Slot

LOCAL, RAY, SLURM = "local", "ray", "slurm"
ENGINES = (LOCAL, RAY, SLURM)
SHARED = "shared"  # of a results folder: what machines keep there that see it


@dataclass(frozen=True)
class Where:
    """Which engine, and what was said of it.

    `address` is of a Ray cluster, None for one of this machine alone. `shared` is storage that all machines see, None
    for the results folder. `partition`, `time_limit` (as sbatch takes it) and further `options` of sbatch are Slurm's.
    """

    on: str = LOCAL
    address: str | None = None
    shared: str | None = None
    partition: str | None = None
    time_limit: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Whether that can be.

        Raises:
            InputError: for what another engine takes, or an engine that is not installed.
        """
        takers = {
            "address": (RAY,),
            "shared": (RAY, SLURM),
            "partition": (SLURM,),
            "time_limit": (SLURM,),
            "options": (SLURM,),
        }
        for name, engines in takers.items():
            if getattr(self, name) and self.on not in engines:
                option = "slurm" if name == "options" else name.replace("_", "-")
                raise InputError(f"--{option}: only with --on {' or --on '.join(engines)}")
        for engine, module, name in ((RAY, "ray", "Ray"), (SLURM, "submitit", "submitit")):
            if self.on == engine and importlib.util.find_spec(module) is None:
                raise InputError(f"--on {engine} needs {name}: pip install 'resbench[{engine}]'")


@dataclass(frozen=True)
class Wanted:
    """What a sweep asks of an engine.

    `device` is auto, cpu or cuda; `workers` cells at a time, None for as many as there is room for; `devices` for each;
    `cells` in all. `results` is the driver's folder, `witness` a file that no other folder has.
    """

    device: str
    workers: int | None
    devices: int
    cells: int
    results: Path
    witness: Path


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


class Kept:
    """What is kept of cells in shared storage, as the driver sees it; without storage, nothing."""

    def __init__(self, storage: Shared | None) -> None:
        self.storage = storage

    def left(self, cell_id: str, data_sha256: str | None, *, with_net: bool) -> Returned | Died | None:
        """The end of a cell that is left there, `with_net` only if its net is too.

        Raises:
            DataError: for one that is damaged or of something else.
        """
        content = self.storage.read(shared.answer(cell_id)) if self.storage else None
        if content is None:
            return None
        answer = Answer.unpacked(content, cell_id, data_sha256)
        if with_net and answer.value is not None and not self.storage.has(shared.net(cell_id)):
            return None
        return remote.event(cell_id, answer)

    def bring_net(self, cell_id: str, path: Path) -> None:
        """Bring the net of a cell to `path`.

        Raises:
            StoreError: where it is not there.
        """
        if self.storage and not self.storage.fetch(shared.net(cell_id), path):
            raise StoreError(f"{self.storage.where}: the net of cell {cell_id} is not there")

    def forget(self, cell_id: str, *, checkpoint: bool = False) -> None:
        """Remove how a cell ended, and its `checkpoint` too where it is done with."""
        if self.storage is None:
            return
        names = [shared.answer(cell_id), shared.net(cell_id), shared.said(cell_id), shared.job(cell_id)]
        self.storage.remove(*names, *([shared.checkpoint(cell_id)] if checkpoint else []))


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
