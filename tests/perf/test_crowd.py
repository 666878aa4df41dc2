"""What one driver manages: cells that train nothing, on 1, 10 and 100 workers. Run by `make bench`; never a check."""

import contextlib
import io
import os
import subprocess
import time

import clusters
import pytest
from conftest import ROOT
from crowd import Crowd
from rich.console import Console
from synthetic import a_cell

from bench import engines, progress
from bench.cell import Recipe
from bench.source import Source
from bench.store import Store
from bench.sweep import Options, sweep
from bench.where import Where

RECIPE = Recipe(eval_every=1000, split="holdout")  # of the paper: 64 evaluations
DIGITS = {"digits": Source("digits")}


class Timed(progress.Lines):
    """When the n-th cell was recorded."""

    def __init__(self):
        super().__init__(Console(file=io.StringIO()))
        self.times = []

    def ended(self, cell, result):
        super().ended(cell, result)
        self.times.append(time.monotonic())


@pytest.mark.parametrize("workers,seconds,cells", [
    *((workers, 0.0, 1_000) for workers in (1, 10, 100)),
    *((workers, 1.0, 40 * workers) for workers in (1, 10, 100)),
    *((workers, 10.0, 4 * workers) for workers in (1, 10, 100)),
    (100, 0.0, 10_000),
])  # fmt: skip
def test_cells_of_so_many_seconds_on_so_many_workers(benchmark, tmp_path, monkeypatch, workers, seconds, cells):
    """56-layer nets with 64 evaluations and the readings of their layers; `used` is the workers' share of the time."""
    monkeypatch.setattr(engines, "start", lambda *_: Crowd(workers, every[0], seconds, tmp_path / "shared"))
    every = [a_cell(56, seed=seed, recipe=RECIPE) for seed in range(cells)]
    store, watcher = Store(tmp_path / "results"), Timed()
    processor = time.process_time()
    benchmark.pedantic(lambda: sweep(every, DIGITS, store, Options(where=Where("ray")), watcher), rounds=1)
    processor = time.process_time() - processor
    took, tenth = watcher.times[-1] - watcher.times[0], cells // 10
    benchmark.extra_info |= {
        "cells_a_second": round((cells - 1) / took, 2),
        "used": round(cells * seconds / workers / benchmark.stats["mean"], 3),
        "processor_ms_a_cell": round(1000 * processor / cells, 1),
        "first_tenth_seconds": round(watcher.times[tenth] - watcher.times[0], 2),
        "last_tenth_seconds": round(watcher.times[-1] - watcher.times[-1 - tenth], 2),
        "bytes_a_cell": _size(store.root) // cells,
    }


def _size(root):
    said = subprocess.run(["du", "-s", "--apparent-size", "--block-size=1", root], capture_output=True, check=True)
    return int(said.stdout.split()[0])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("on,workers,cells", [
    ("local", 2, 200), ("ray", 1, 60), ("ray", 10, 200), ("ray", 30, 200), ("slurm", 2, 20),
])  # fmt: skip
def test_cells_that_end_at_once_on_an_engine(benchmark, tmp_path, monkeypatch, on, workers, cells):
    """What starting a cell takes on a cluster of this machine alone, whose cores all of its workers share."""
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}.get(on, "bench"))
    if on == "slurm" and (why := clusters.why_no_slurm()):
        pytest.skip(f"Slurm cannot be started: {why}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    every = [a_cell(seed=seed) for seed in range(cells)]
    store, watcher = Store(tmp_path / "results"), Timed()
    options = Options(where=Where(on), workers=workers, entry="children:end_at_once")
    processor = time.process_time()
    with clusters.slurm(cpus=workers) if on == "slurm" else contextlib.nullcontext():
        benchmark.pedantic(lambda: sweep(every, DIGITS, store, options, watcher), rounds=1)
    processor, half = time.process_time() - processor, cells // 2  # the first half starts the workers too
    assert len(store.recorded()) == cells
    benchmark.extra_info |= {
        "first_half_seconds_a_cell": round((watcher.times[half] - watcher.times[0]) / half, 3),
        "last_half_seconds_a_cell": round((watcher.times[-1] - watcher.times[half]) / (cells - half), 3),
        "driver_ms_a_cell": round(1000 * processor / cells, 1),
    }
