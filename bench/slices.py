"""Taking loss slices of cells that are done: a net that was not kept is trained again first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import forecast, run
from bench.analysis import SlicePoint, Slicing
from bench.cell import Cell
from bench.errors import InputError, StoreError
from bench.interruption import interruptible
from bench.matrix import one_a_net
from bench.pool import Pool
from bench.slots import Slot, choose_gpus, slots
from bench.source import Source
from bench.store import Store
from bench.sweep import RUN_CELL
from bench.task import Died, Event, Returned, Task

TAKE_SLICES = "bench.worker:take_slices"
CHECKPOINT_SECONDS = 10.0  # of nets that are trained again
SILENCE_SECONDS = 60.0  # after which a cell says how far it is


def lowest_seeds(cells: Iterable[Cell]) -> list[Cell]:
    """Of cells that differ in the seed alone, the one with the lowest."""
    return list(one_a_net(sorted(cells, key=lambda cell: cell.seed)))


def take(
    cells: Sequence[Cell],
    sources: dict[str, Source],
    store: Store,
    slicing: Slicing,
    told: Callable[[str], None],
    *,
    device: str = "auto",
    workers: int | None = None,
) -> int:
    """Take and record the slices of cells that are done, and count those that failed; `told` gets what to say.

    Raises:
        Interrupted: on SIGINT or SIGTERM, within seconds; slices taken before are recorded.
        InputError: for a cell that is not recorded or not done.
        DataError, DeviceError, StoreError: when it cannot start or the slices cannot be written.
    """
    rows = _done(cells, store)
    with store.writing() as leases, interruptible():
        taken = leases.take(cell.id for cell in cells)
        for cell in cells:
            if cell.id not in taken:
                raise StoreError(f"{store.root}: another resbench works on {cell.label}; wait for it")
        missing = sum(not store.net(cell.id, rows[cell.id]["run_id"]).exists() for cell in cells)
        if missing:
            told(f"of {len(cells)} nets {missing} were not kept (resbench run --keep-nets) and are trained again first")
        return _Slicer(cells, rows, sources, store, slicing, told, device, workers).run()


def _done(cells: Sequence[Cell], store: Store) -> dict[str, dict[str, Any]]:
    rows = {row["cell_id"]: row for row in store.runs(cell.id for cell in cells).to_pylist()}
    for cell in cells:
        outcome = rows[cell.id]["outcome"] if cell.id in rows else "not recorded"
        if outcome != run.DONE:
            raise InputError(f"slices need trained nets, but {cell.label} is {outcome} in {store.root}")
    return rows


@dataclass
class _Job:
    """A cell under way: trained again, or (`slicing`) its slices taken."""

    cell: Cell
    slot: Slot
    began: float
    slicing: bool
    said: float


class _Slicer:
    def __init__(
        self,
        cells: Sequence[Cell],
        rows: dict[str, dict[str, Any]],
        sources: dict[str, Source],
        store: Store,
        slicing: Slicing,
        told: Callable[[str], None],
        device: str,
        workers: int | None,
    ) -> None:
        self._rows, self._sources, self._store, self._slicing, self._told = rows, sources, store, slicing, told
        toolkit, _, _ = forecast.survey(cells, sources, told, store.log("survey"), load=True)
        self._free = slots(choose_gpus(device, toolkit), workers)[: len(cells)]
        self._queue = deque(cells)
        self._under_way: dict[str, _Job] = {}
        self._failed = 0
        self._pool = Pool()

    def run(self) -> int:
        try:
            while self._queue or self._under_way:
                while self._queue and self._free:
                    cell = self._queue.popleft()
                    self._start(cell, self._free.pop(0), slicing=self._net(cell).exists())
                for event in self._pool.wait(0.25):
                    self._handle(event)
        finally:
            self._pool.stop()
        return self._failed

    def _net(self, cell: Cell) -> Any:
        return self._store.net(cell.id, self._rows[cell.id]["run_id"])

    def _start(self, cell: Cell, slot: Slot, *, slicing: bool) -> None:
        job = slot.job(cell, self._sources[cell.data], self._rows[cell.id]["data_sha256"])
        if slicing:
            job |= {"net": str(self._net(cell)), "slicing": asdict(self._slicing)}
        else:
            job |= {
                "net": str(self._store.unclaimed_net(cell.id)),
                "checkpoint": str(self._store.checkpoint(cell.id)),
                "checkpoint_seconds": CHECKPOINT_SECONDS,
                "analysis": False,
            }
        entry = TAKE_SLICES if slicing else RUN_CELL
        self._pool.start(Task(cell.id, entry, job, self._store.log(cell.id), slot.environment))
        now = time.monotonic()
        self._under_way[cell.id] = _Job(cell, slot, now, slicing, now)

    def _handle(self, event: Event) -> None:
        job = self._under_way[event.key]
        if not isinstance(event, Died | Returned):
            self._say_how_far(job, event.message)
            return
        del self._under_way[event.key]
        answer = event.value["points" if job.slicing else "curve"] if isinstance(event, Returned) else None
        if answer is not None and not job.slicing:
            self._keep(job, answer[-1]["train_error"])
            self._start(job.cell, job.slot, slicing=True)
            return
        self._free.append(job.slot)
        if answer is not None:
            self._record(job, [SlicePoint(**point) for point in answer])
        else:
            self._failed += 1
            reason = event.reason if isinstance(event, Died) else "stopped by a signal"
            self._told(f"{job.cell.label}: {reason}; its output is in {self._store.log(job.cell.id)}")

    def _say_how_far(self, job: _Job, message: Any) -> None:
        if isinstance(message, dict) and "said" in message:
            self._told(f"{job.cell.label}: {message['said']}")
        elif time.monotonic() - job.said > SILENCE_SECONDS:
            job.said = time.monotonic()
            what = (
                f"{message} of {self._slicing.points} points"
                if job.slicing
                else f"training, iteration {message['iteration']:,}"
            )
            self._told(f"{job.cell.label}: {what}")

    def _keep(self, job: _Job, train_error: float) -> None:
        row = self._rows[job.cell.id]
        self._store.keep_net(job.cell.id, row["run_id"], self._store.unclaimed_net(job.cell.id))
        self._store.checkpoint(job.cell.id).unlink(missing_ok=True)
        self._told(f"{job.cell.label}: trained again, {time.monotonic() - job.began:.0f} s")
        if train_error != (recorded := row["final_train_error"]):
            self._told(
                f"{job.cell.label}: its training error is {train_error:.2%} and the recorded one {recorded:.2%} "
                "(another host, device or version): these slices are of the net trained again"
            )

    def _record(self, job: _Job, points: Sequence[SlicePoint]) -> None:
        self._store.commit_slices(job.cell.id, self._rows[job.cell.id]["run_id"], points)
        self._store.log(job.cell.id).unlink(missing_ok=True)
        (centre,) = (point for point in points if point.dimensions == 1 and point.a == 0)
        count = " x ".join([str(self._slicing.steps)] * self._slicing.dimensions)
        self._told(
            f"{job.cell.label}: {count} points over {centre.images} images, training loss {centre.loss:.3g} at the "
            f"net; {time.monotonic() - job.began:.0f} s"
        )
