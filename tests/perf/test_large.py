"""How reading and planning grow from a hundred cells to a hundred thousand. Run by `make bench`; never a check.

Each folder is compacted, each cell has 100 evaluations. What is read of it is a study of 1,000 of its cells, or all.
"""

import subprocess
import sys

import large
import pytest
from conftest import ROOT

from bench import study
from bench.store import Store
from bench.summary import REPORTED

SIZES = (100, 1_000, 10_000, 100_000)
POINTS = 100


@pytest.fixture(scope="module", params=SIZES)
def folder(request, tmp_path_factory):
    """A folder of so many cells, the study of all of them, and that of 1,000."""
    root = tmp_path_factory.mktemp("large")
    every = large.study(root / "every.toml", request.param, POINTS)
    some = large.study(root / "some.toml", min(request.param, 1_000), POINTS)
    large.fill(root / "results", study.load(every).cells, POINTS)
    return root / "results", every, some


def test_selecting_a_study_and_its_curves(benchmark, folder):
    root, _, some = folder
    ids = [cell.id for cell in study.load(some).cells]

    def select():
        rows = Store(root).runs(ids, REPORTED)
        return Store(root).curves(rows)

    curves = benchmark.pedantic(select, rounds=3, warmup_rounds=1)
    assert len(curves) == POINTS * len(ids)


def command(*arguments):
    subprocess.run([sys.executable, "-m", "bench.cli", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_a_report_of_a_study(benchmark, folder, tmp_path):
    root, _, some = folder
    benchmark.pedantic(lambda: command("report", some, "--results", root, "--reports", tmp_path), rounds=3)


def test_planning_all_cells_of_which_all_are_recorded(benchmark, folder):
    root, every, _ = folder
    benchmark.pedantic(lambda: command("run", every, "--results", root, "--dry-run"), rounds=3, warmup_rounds=1)


def test_planning_all_cells_of_which_none_is_recorded(benchmark, folder, tmp_path):
    _, every, _ = folder
    benchmark.pedantic(lambda: command("run", every, "--results", tmp_path, "--dry-run"), rounds=3, warmup_rounds=1)
