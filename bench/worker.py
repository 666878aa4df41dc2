"""What a child process runs: one cell from start or checkpoint to its end, or a survey of what cells will need."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench import landscape, saved
from bench.accuracy import PROTOCOLS, Accuracy
from bench.album import Album
from bench.analysis import Slicing
from bench.cell import Cell
from bench.dataset import Dataset
from bench.errors import DataError, StoreError, in_a_line, is_out_of_memory
from bench.evaluation import Evaluation
from bench.feed import images_of
from bench.host import cache_directory
from bench.loading import Loading
from bench.measure import Wait, peak_memory
from bench.run import TESTS
from bench.source import Source
from bench.task import Caller
from bench.team import ALONE, Team
from bench.train import Training

CHUNK_SECONDS = 0.25  # of steps between two looks at the clock: how soon a cell notices that it should stop
SAVES_APART = 50  # checkpoints, by how long the last took to write: they take at most about 2 % of a cell's time
_log = logging.getLogger(__name__)


def run_cell(
    job: dict[str, Any], caller: Caller, wait: Wait = torch.cuda.Event.synchronize, team: Team = ALONE
) -> dict[str, Any]:
    """Train one cell, sending each evaluation, and return what became of it.

    `job`: `cell` (flat fields), `source` (with its place), `device` (a torch device), `threads`, `checkpoint` (a path),
    `checkpoint_seconds` (between two checkpoints at least, or 50 times what the last took; 0: one after each piece of
    work), `data_sha256` (what earlier runs saw, or None), `analysis` (whether
    to probe the layers), `net` (a path where to keep the trained net, or None), `loading` (the fields of a
    `Loading`, where the cell's images are of any size). `wait` is how it waits for an event of its stream. Of a
    `team` the first process alone sends evaluations, writes, and decides when; what it returns counts.

    Returns `curve`, and `layers` (the `names` of the layers and the fields of their `readings`, None without analysis),
    `base_rss_bytes`, `tests` (the columns of `run.TESTS`) and `loading` (what `Training.loading` tells), both None
    where images are arrays. Sends also `{"said": a line to show}`. An existing checkpoint is resumed. Asked to stop, it
    writes a checkpoint and returns `{"curve": None}`.

    Raises:
        DataError: when the data is not what earlier runs recorded under its name.
        StoreError: when a checkpoint or the net cannot be written.
    """
    base = peak_memory(torch.device("cpu")).resident
    cell, images = prepare(job)
    checkpoint = Path(job["checkpoint"])
    training, curve = _start(cell, images, job, wait, team)
    first = team.rank == 0
    for point in curve if first else ():
        caller.send(asdict(point))
    saves = _Saves(job["checkpoint_seconds"])
    steps, bad = 1, 0
    while not training.ended:
        started = time.monotonic()
        training.advance(min(training.next_evaluation, training.iteration + steps))
        took = time.monotonic() - started
        steps = max(1, min(2 * steps, int(steps * CHUNK_SECONDS / max(took, 1e-6))))
        if training.iteration == training.next_evaluation:
            curve.append(training.evaluate())
            if first:
                caller.send(asdict(curve[-1]))
        bad = _tell_bad(training, caller, bad)
        steps, stopping, due = team.of_first(steps, caller.stopping(), saves.due)
        if stopping or training.ended or due:
            with saves.saving():
                if first:
                    _save(training, curve, checkpoint, cell)
        if stopping and not training.ended:
            return {"curve": None}
    tests = None
    if training.streamed and not training.diverged:
        try:
            tests = _tests(training, caller, team)
        except Stopped:
            return {"curve": None}
        _tell_bad(training, caller, bad)
    if job["net"] is not None and first:
        _keep(training, Path(job["net"]), cell)
    layers = training.probe and {"names": training.probe.names, "readings": [*map(vars, training.probe.readings)]}
    curve = [asdict(point) for point in curve]
    loading = training.loading  # of this process; what follows is of all
    if loading:
        bad_images = len(set().union(*team.told(list(training.bad_images))))
        loading |= {"loaders": team.size * loading["loaders"], "bad_images": bad_images}
    return {"curve": curve, "layers": layers, "base_rss_bytes": base, "tests": tests, "loading": loading}


class _Saves:
    """When the next checkpoint is due, by what it may cost."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._ended, self._took = seconds, time.monotonic(), 0.0

    @property
    def due(self) -> bool:
        apart = self._seconds and max(self._seconds, SAVES_APART * self._took)
        return time.monotonic() - self._ended >= apart

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Within, one is written."""
        began = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._took = self._ended - began


class Stopped(Exception):  # noqa: N818 - no error
    """The parent asked for an end between two checkpoints."""


def _tell_bad(training: Training, caller: Caller, told: int) -> int:
    """Tell of the images that could not be decoded, those after the first `told`; how many are told of then."""
    found = list(training.bad_images.items())
    for name, reason in found[told:]:
        caller.send({"said": f"{name} is skipped, for it cannot be decoded: {reason}"})
    return len(found)


def _tests(training: Training, caller: Caller, team: Team) -> dict[str, float]:
    """The last net's errors as section 3.4 tests, by their columns in `runs`.

    Raises:
        Stopped: when asked to.
    """
    found: dict[str, float] = {}
    for protocol, columns in PROTOCOLS.items():
        accuracy = _tested(training, protocol, caller, team)
        found |= zip(columns, (accuracy.top1_error, accuracy.top5_error), strict=True)
    return {name: found[name] for name in TESTS}


def _tested(training: Training, protocol: str, caller: Caller, team: Team) -> Accuracy:
    """All processes' shares of a test; if one is stopped, all are."""

    def heard(_: int) -> None:
        if caller.stopping():
            raise Stopped

    mine, stopped = Accuracy(), False
    try:
        mine = training.test(protocol, heard)
    except Stopped:
        stopped = True
    if team.any(stopped):
        raise Stopped
    return Accuracy(*team.total(mine.images, mine.wrong1, mine.wrong5, mine.bad))


def prepare(job: dict[str, Any]) -> tuple[Cell, Dataset | Album]:
    """Set the process up for a job; its cell and the data set, which must be that of earlier runs."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_directory() / "compiled"))  # seeds share it
    torch.set_num_threads(job["threads"])
    torch.set_flush_denormal(True)  # plain nets' vanishing activations are denormal: 10 times slower, and noise
    cell = Cell.from_flat(job["cell"])
    images = images_of(cell, Source.parse(job["source"]), job["data_sha256"])
    if job["data_sha256"] not in (None, images.sha256):
        raise DataError(
            f"{job['source']} has checksum {images.sha256[:12]}, but recorded runs name other images {cell.data} "
            f"(checksum {job['data_sha256'][:12]}); rename the folder or use another --results"
        )
    return cell, images


def _save(training: Training, curve: list[Evaluation], path: Path, cell: Cell) -> None:
    with training.stream():
        _write(training.state() | {"cell_id": cell.id, "curve": [asdict(point) for point in curve]}, path)


def _keep(training: Training, path: Path, cell: Cell) -> None:
    with training.stream():
        net = {name: tensor.cpu() for name, tensor in training.net.state_dict().items()}
    _write({"cell_id": cell.id, "net": net}, path)


def _write(content: dict[str, Any], path: Path) -> None:
    """Save it.

    Raises:
        StoreError: naming the file, as where the disk is full, which is no fault of the cell.
    """
    try:
        saved.save(content, path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


def _start(
    cell: Cell, images: Dataset | Album, job: dict[str, Any], wait: Wait, team: Team
) -> tuple[Training, list[Evaluation]]:
    """Where an earlier attempt left off, or the beginning; a checkpoint that cannot be used is set aside."""

    loading = Loading(**job.get("loading", {}))

    def begin() -> Training:
        return Training(cell, images, job["device"], probing=job["analysis"], wait=wait, loading=loading, team=team)

    training, path = begin(), Path(job["checkpoint"])
    curve: list[Evaluation] = []
    reason: Exception | None = None
    if path.exists():
        try:
            with training.stream():
                state = saved.load(path, job["device"])
                if state["cell_id"] != cell.id:
                    raise ValueError(f"it is of cell {state['cell_id']}")
                training.restore(state)
            curve = [Evaluation(**point) for point in state["curve"]]
        except Exception as error:  # whatever is wrong with a file, the cell can start again
            if is_out_of_memory(error):  # nothing is: the next attempt may have more room
                raise
            reason = error
    if not team.any(reason is not None):  # nobody goes on, and writes another, before all have read it
        return training, curve
    if team.rank == 0:
        damaged = path.with_suffix(".damaged")
        path.replace(damaged)
        _log.warning("checkpoint set aside as %s, the cell starts again: %s", damaged, in_a_line(reason))
    return begin(), []


def take_slices(job: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Measure the loss around a trained net, sending the number of points done at each, and return `{"points": ...}`.

    `job`: `cell`, `source`, `device`, `threads` and `data_sha256` as in `run_cell`, `net` (where that kept it),
    `slicing` (the fields of a `Slicing`). `points` are the fields of `SlicePoint`s, None when asked to stop.

    Raises:
        DataError: when the data is not what the run saw, or the net is damaged or another cell's.
    """
    cell, images = prepare(job)
    training = Training(cell, images, job["device"], loading=Loading(**job.get("loading", {})))
    path, slicing = Path(job["net"]), Slicing(**job["slicing"])
    try:
        with training.stream():
            kept = saved.load(path, job["device"])
            if kept["cell_id"] != cell.id:
                raise ValueError(f"it is of cell {kept['cell_id']}")
            training.net.load_state_dict(kept["net"])
    except Exception as error:  # whatever is wrong with a file
        if is_out_of_memory(error):
            raise
        raise DataError(f"{path}: not the net of {cell.label} ({in_a_line(error)}); remove it to train again") from None
    points = []
    with training.stream():  # the weights are displaced between measurements
        for point in landscape.slices(training.net, lambda: training.measure("train", slicing.images), slicing):
            points.append(asdict(point))
            caller.send(len(points))
            if caller.stopping():
                return {"points": None}
    return {"points": points}
