"""Running a study: what is pending, on which devices, until every cell has a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import damage, engines, forecast, host, run, sizing
from bench.attempts import Attempt, Attempts
from bench.cell import Cell
from bench.elsewhere import Elsewhere
from bench.engines import Engine
from bench.errors import DataError, DeviceError, StoreError
from bench.evaluation import Evaluation
from bench.forecast import Cost
from bench.interruption import interruptible
from bench.kept import Kept
from bench.leases import Leases
from bench.loading import FAIL
from bench.recorder import Recorder
from bench.slots import Slot, check_gpus, check_recipes, check_shares, choose_gpus, fallen_away, slots
from bench.source import Source
from bench.store import Store
from bench.task import Died, Event, Returned, Sent, Task
from bench.watcher import Watcher
from bench.where import Wanted, Where

RUN_CELL = "bench.worker:run_cell"
RUN_GANG = "bench.gang:run_cells"
RUN_TEAM = "bench.launch:run"


@dataclass(frozen=True)
class Options:
    """How a sweep runs, none of which changes a result.

    `workers` side by side: None for one a core, or one a GPU. `retries` after a failed attempt. `timeout` in seconds an
    attempt, None for none. `device` is auto, cpu or cuda. `gang`, how many cells of one net a GPU trains at once, None
    for what it does best; a CPU trains one. `devices`, over how many of them each cell is spread. Images of any size
    are read by `loaders` processes beside each of a cell's own: None for its share of the cores on a GPU, for none on a
    CPU; one that cannot be decoded fails the cell, or (`bad_images` "skip") another takes its place. `analysis` records
    the layers at each evaluation, `keep_nets` keeps the trained nets. `where` is on which engine.
    """

    workers: int | None = None
    retries: int = 1
    timeout: float | None = None
    device: str = "auto"
    gang: int | None = None
    loaders: int | None = None
    bad_images: str = FAIL
    checkpoint_seconds: float = 10.0
    analysis: bool = True
    keep_nets: bool = False
    devices: int = 1
    where: Where = field(default_factory=Where)
    entry: str = RUN_CELL


def pending(cells: Sequence[Cell], store: Store) -> tuple[list[Cell], dict[str, str], dict[str, int]]:
    """The cells to run; the outcome of each that needs no run; the attempts already made at those that failed."""
    rows = store.runs((cell.id for cell in cells), ["cell_id", "outcome", "attempts"]).to_pylist()
    recorded = {row["cell_id"]: row["outcome"] for row in rows if row["outcome"] in run.FINAL}
    attempts = {row["cell_id"]: row["attempts"] for row in rows}
    return [cell for cell in cells if cell.id not in recorded], recorded, attempts


def sweep(
    cells: Sequence[Cell], sources: dict[str, Source], store: Store, options: Options, watcher: Watcher
) -> dict[str, int]:
    """Run every pending cell, record each as it ends, and count the outcomes of all cells.

    Raises:
        Interrupted: on SIGINT or SIGTERM, within seconds; a rerun continues from checkpoints.
        DataError, DeviceError, StoreError: when the sweep cannot start or its results cannot be written.
    """
    with store.writing() as leases, interruptible():
        _mend(cells, store, leases, watcher)
        waiting, recorded, attempts = pending(cells, store)
        outcomes = list(recorded.values())
        if waiting:
            outcomes += _Sweep(waiting, recorded, attempts, sources, store, leases, options, watcher).run(cells)
        return {outcome: outcomes.count(outcome) for outcome in run.OUTCOMES if outcome in outcomes}


def _mend(cells: Sequence[Cell], store: Store, leases: Leases, watcher: Watcher) -> None:
    """Set what is damaged aside, so that it is run again."""
    ids = {cell.id for cell in cells}
    for damaged in store.damaged(ids):
        with leases.held():
            aside = store.set_aside(damaged.path)
        if aside:
            watcher.note(f"{damaged.path}: damaged ({damaged.reason}); {aside}")
    if store.lacking(ids):
        with leases.held():
            gone, where = store.withdraw(ids)
        if gone:
            watcher.note(
                f"{damage.named(gone)}: missing, though a row was there; it is in {where}, the cell runs again"
            )


class _Sweep:
    def __init__(
        self,
        waiting: list[Cell],
        recorded: dict[str, str],
        attempts: dict[str, int],
        sources: dict[str, Source],
        store: Store,
        leases: Leases,
        options: Options,
        watcher: Watcher,
    ) -> None:
        self._leases, self._elsewhere = leases, Elsewhere(store, leases, attempts, watcher.note)
        self._recorded = recorded
        self._sources, self._store, self._options, self._watcher = sources, store, options, watcher
        check_shares(waiting, options.devices)
        if trouble := host.cache_trouble():
            watcher.note(trouble)
        toolkit, self._costs, self._checksums = forecast.survey(
            waiting, sources, watcher.note, store.log("survey"), load=True
        )
        self._check_data()
        self._engine = engine = self._open_engine(waiting)
        self._kept = Kept(None) if engine is None else engine.kept
        gpus = choose_gpus(options.device, toolkit) if engine is None else []
        check_gpus(gpus)
        here = host.describe(toolkit, gpus[0] if gpus else None)  # on an engine each cell tells its own
        places = slots(gpus, options.workers, options.devices) if engine is None else engine.slots
        self._slots = places[: len(waiting)]
        self._label = here.label if engine is None else engine.label
        self._recorder = Recorder(
            store,
            leases,
            self._kept,
            here,
            {cell.id: self._cost(cell) for cell in waiting},
            {cell.id: self._checksums[cell.reads] for cell in waiting},
            attempts,
            len(self._slots),
            options.keep_nets,
        )
        on_gpu = bool(gpus) if engine is None else places[0].device != "cpu"
        check_recipes(waiting, on_gpu=on_gpu)
        longest_first = sorted(waiting, key=lambda c: -self._cost(c).multiply_adds * forecast.work(c))
        gangs = sizing.split(longest_first, self._gang_size(waiting, on_gpu=on_gpu))
        self._queue = deque((gang, 1) for gang in gangs)  # the last minute is not one core's
        self._under_way = Attempts(self._slots, self._engine)

    def _open_engine(self, waiting: Sequence[Cell]) -> Engine | None:
        """Where cells run, None for this machine."""
        how = self._options
        wanted = Wanted(how.device, how.workers, how.devices, len(waiting), self._store.root, self._leases.witness)
        return engines.start(how.where, wanted, self._watcher.note)

    def run(self, cells: Sequence[Cell]) -> list[str]:
        over = f", each over {self._options.devices} devices" if self._options.devices > 1 else ""
        place = f"{self._label}, {len(self._slots)} at a time{over}"
        self._watcher.begin(cells, self._recorded, self._costs, place)
        outcomes: list[str] = []
        try:
            while self._queue or self._under_way or self._elsewhere:
                outcomes += self._fill()
                outcomes += self._hear()
                for attempt, event in self._under_way.wait(0.25):
                    if not isinstance(event, Died):  # else its GPU may be gone
                        outcomes += self._fill()  # a core that is free works while tables are written
                    outcomes += self._handle(attempt, event)
                self._watcher.tick()
        finally:
            for attempt, event in self._under_way.stop():
                if isinstance(event, Returned):
                    outcomes += self._handle(attempt, event)
        return outcomes

    def _fill(self) -> list[str]:
        """Start what can start; the outcomes of cells that ended already, for a driver that is no more."""
        outcomes: list[str] = []
        while self._queue and (slot := self._under_way.free):
            cells, number = self._queue.popleft()
            mine = self._elsewhere.claim(cells)
            if mine and (event := self._left(mine[0])):
                outcomes += self._handle(Attempt(mine[0], slot, number), event)
            elif mine:
                self._start(slot, mine, number)
        return outcomes

    def _left(self, cell: Cell) -> Returned | Died | None:
        """The end of a cell that an engine ran for a driver that is no more."""
        try:
            return self._kept.left(cell.id, self._checksums[cell.reads], with_net=self._options.keep_nets)
        except DataError as error:
            self._watcher.note(f"{cell.label}: an answer that was left is {error}; it is run again")
            self._kept.forget(cell.id)
            return None

    def _hear(self) -> list[str]:
        """The outcomes of cells that ended elsewhere; those that nobody runs any more are run here."""
        ended, lapsed = self._elsewhere.look()
        self._queue.extend(([cell], 1) for cell in lapsed)
        for cell, outcome in ended:
            self._watcher.ended_elsewhere(cell, outcome)
        return [outcome for _, outcome in ended]

    def _gang_size(self, waiting: list[Cell], *, on_gpu: bool) -> Callable[[Cell], int]:
        if self._engine is not None:
            return lambda _: 1
        if not on_gpu or self._options.devices > 1:
            if self._options.gang:
                who = "a cell over several devices trains alone" if on_gpu else "a CPU trains one cell a process"
                self._watcher.note(f"{who}: --gang changes nothing")
            return lambda _: 1
        if size := self._options.gang:
            return lambda cell: 1 if cell.recipe.crop_size else size
        slot = self._slots[0]
        log, here = self._store.log("gangs"), self._recorder.host.id
        small = [cell for cell in waiting if not cell.recipe.crop_size]  # others have loader processes, and fill a GPU
        sizes = sizing.gang_sizes(small, self._job(slot), slot.environment, here, self._watcher.note, log)
        return lambda cell: sizes.get(cell.net, 1)

    def _check_data(self) -> None:
        recorded = self._store.data_checksums()
        for (name, streamed), checksum in self._checksums.items():
            for other in recorded.get((name, streamed), set()) - {checksum}:
                raise DataError(
                    f"{self._sources[name]} has checksum {checksum[:12]}, but {self._store.root} holds runs on other "
                    f"images named {name} (checksum {other[:12]}); rename the folder or use another --results"
                )

    def _cost(self, cell: Cell) -> Cost:
        return self._costs[cell.priced]

    def _job(self, slot: Slot) -> Callable[[Cell], dict[str, Any]]:
        """What a child is told of a cell that it trains in this slot."""
        return lambda cell: (
            slot.job(cell, self._sources[cell.data], self._checksums[cell.reads])
            | {
                "checkpoint": str(self._store.checkpoint(cell.id)),
                "checkpoint_seconds": self._options.checkpoint_seconds,
                "analysis": self._options.analysis,
                "loading": {"loaders": self._loaders(slot), "bad_images": self._options.bad_images},
                "net": str(self._store.unclaimed_net(cell.id)) if self._options.keep_nets else None,
            }
        )

    def _loaders(self, slot: Slot) -> int | None:
        if self._options.loaders is not None or self._engine is not None:  # a machine knows its own
            return self._options.loaders
        return 0 if slot.device == "cpu" else max(1, host.cores() // (len(self._slots) * slot.devices))

    def _start(self, slot: Slot, cells: list[Cell], number: int) -> None:
        jobs = {cell.id: self._job(slot)(cell) for cell in cells}
        first, *others = jobs
        entry, job = (RUN_GANG, {"jobs": jobs}) if others else (self._options.entry, jobs[first])
        if slot.devices > 1:
            entry, job = RUN_TEAM, job | {"entry": entry, "devices": slot.devices}
        key = f"gang of {first}" if others else first
        task = Task(key, entry, job, self._store.log(first), slot.environment, self._options.timeout)
        self._under_way.start(task, slot, cells, number)
        for cell in cells:
            self._watcher.started(cell)

    def _handle(self, attempt: Attempt, event: Event) -> list[str]:
        """Take one event in; the outcome, if a cell got its row by it."""
        if isinstance(event, Sent) and "said" in event.message:
            self._watcher.note(f"{attempt.cell.label}: {event.message['said']}")
            return []
        if isinstance(event, Sent):
            point = Evaluation(**event.message)
            attempt.curve[point.iteration] = point
            self._watcher.evaluated(attempt.cell, point)
            return []
        if isinstance(event, Returned):
            if event.value["curve"] is None:
                return []  # asked to stop, it saved its state
            curve = [Evaluation(**point) for point in event.value["curve"]]
            outcome = run.DIVERGED if curve and curve[-1].diverged else run.DONE
            return [self._record(attempt, curve, outcome, event)]
        if event.cause == "unwritable":
            raise StoreError(f"{event.reason}; what ended is recorded: run again to continue")
        if event.cause == "error" and (gpu := fallen_away(attempt.slot)):
            self._lose(gpu, attempt)
            return []
        if event.cause not in ("refused", "stopped") and attempt.number <= self._options.retries:
            self._watcher.note(f"{attempt.cell.label}: {event.reason}; trying again")
            self._kept.forget(attempt.cell.id)
            self._queue.appendleft(([attempt.cell], attempt.number + 1))  # alone: no other cell can be the reason
            return []
        if event.cause == "stopped":
            return []
        outcome = event.cause if event.cause in run.OUTCOMES else run.FAILED
        curve = [attempt.curve[iteration] for iteration in sorted(attempt.curve)]
        return [self._record(attempt, curve, outcome, event)]

    def _lose(self, gpu: str, attempt: Attempt) -> None:
        """Go on without a GPU that fell away; that a cell died with it is not the cell's fault.

        Raises:
            DeviceError: where it was the last.
        """
        self._under_way.withdraw(attempt.slot)
        self._queue.appendleft(([attempt.cell], attempt.number))
        if not self._under_way.places:
            raise DeviceError(
                f"{gpu} has fallen away and no other is left; what ended is recorded: run again to continue"
            )
        self._watcher.note(f"{gpu} has fallen away: going on without it; {attempt.cell.label} is tried elsewhere")

    def _record(self, attempt: Attempt, curve: Sequence[Evaluation], outcome: str, end: Returned | Died) -> str:
        result = self._recorder.record(attempt, curve, outcome, end)
        self._leases.release([attempt.cell.id])
        self._watcher.ended(attempt.cell, result)
        return outcome


def failures(outcomes: dict[str, int]) -> int:
    """How many cells ended without a result."""
    return sum(count for outcome, count in outcomes.items() if outcome not in run.FINAL)
