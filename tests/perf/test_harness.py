"""What the harness itself takes: 10,000 cells without training, and starting. Run by `make bench`; never a check."""

import io
import subprocess
import sys

import pytest
from conftest import ROOT
from rich.console import Console
from synthetic import a_cell

from bench import progress, sweep
from bench.source import Source
from bench.store import Store

CELLS = 10_000


def test_10_000_cells_that_train_nothing(benchmark, tmp_path):
    """Planned, each run in a process of its own, and recorded."""
    cells = [a_cell(depth, seed=seed) for depth in (8, 14, 20, 32) for seed in range(CELLS // 4)]
    store, options = Store(tmp_path / "results"), sweep.Options(entry="children:end_at_once")
    watcher = progress.Lines(Console(file=io.StringIO()))

    def run():
        return sweep.sweep(cells, {"digits": Source("digits")}, store, options, watcher)

    assert benchmark.pedantic(run, rounds=1) == {"done": CELLS}
    assert len(store.recorded()) == CELLS
    benchmark.extra_info["cells_a_second"] = CELLS / benchmark.stats["mean"]


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "run degradation --dry-run --results {empty}",
        "run degradation --dry-run --results results/reference",
    ],
)
def test_starting(benchmark, arguments, tmp_path):
    """The whole command, in a process of its own; costs are counted before."""
    command = [sys.executable, "-m", "bench.cli", *arguments.format(empty=tmp_path / "results").split()]

    def start():
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    benchmark.pedantic(start, rounds=5, warmup_rounds=1)
