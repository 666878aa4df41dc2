"""What one driver manages: cells that train nothing, on 1, 10 and 100 workers. Run by `make bench`; never a check."""

import io
import subprocess
import time

import pytest
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
