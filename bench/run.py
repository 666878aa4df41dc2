"""A cell that has ended: its outcome, the errors to report, and where they came from."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.evaluation import Evaluation, best
from bench.texts import printable

DONE = "done"
DIVERGED = "diverged"  # a finding: the loss became infinite or not a number
FAILED = "failed"
OUT_OF_MEMORY = "out-of-memory"
TIMED_OUT = "timed-out"
FINAL = (DONE, DIVERGED)  # outcomes that running again cannot change
OUTCOMES = (DONE, DIVERGED, FAILED, OUT_OF_MEMORY, TIMED_OUT)


@dataclass(frozen=True)
class Provenance:
    """The code that ran: versions, the commit of the harness, and whether its code differs from that commit.

    The last two are None outside a git checkout.
    """

    resbench_version: str
    python_version: str
    torch_version: str
    torchvision_version: str
    numpy_version: str
    commit: str | None
    dirty: bool | None


@cache
def provenance() -> Provenance:
    """The code of this process; asks git once."""
    packages = {f"{name}_version": _version(name) for name in ("resbench", "torch", "torchvision", "numpy")}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".")  # in this package alone: results come and go
    dirty = bool(changes) if commit else None
    return Provenance(python_version=platform.python_version(), commit=commit, dirty=dirty, **packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str | None:
    root = Path(__file__).parent
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@dataclass(frozen=True)
class Run(Provenance):
    """One row of `runs`, besides the cell's own fields. Errors are fractions, times seconds, memory bytes.

    `attempts` counts every start of the cell, `sharing` is the time-weighted mean number of cells that ran on its
    device meanwhile, itself included. `base_rss_bytes` is the resident set before the cell began: Python and torch.
    `wall_seconds` is of the last attempt, from its start to its row; the other times are of all attempts.
    `top5_error` is of the last net, like `final_test_error` on one view; likewise the errors of ten crops and of many
    scales (section 3.4). They are known where images are of any size (`crop_size`). There `bad_images` counts those
    that could not be decoded, `loaders` the processes that decoded, and `data_seconds` how long training waited for
    them. `devices` is over how many the cell was spread.
    `error` and `log` are set where the outcome is neither done nor diverged.
    """

    cell_id: str
    run_id: str
    outcome: str
    attempts: int
    error: str | None
    log: str | None
    iteration: int | None
    final_running_error: float | None
    final_train_error: float | None
    final_train_loss: float | None
    final_validation_error: float | None
    final_test_error: float | None
    best_validation_error: float | None
    best_validation_iteration: int | None
    train_error_at_best_validation: float | None
    test_error_at_best_validation: float | None
    best_test_error: float | None
    best_test_iteration: int | None
    top5_error: float | None
    top1_error_10crop: float | None
    top5_error_10crop: float | None
    top1_error_multiscale: float | None
    top5_error_multiscale: float | None
    parameters: int | None
    multiply_adds: int | None
    activation_bytes: int | None
    train_seconds: float | None
    eval_seconds: float | None
    wall_seconds: float
    images_per_second: float | None
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    peak_rss_bytes: int | None
    base_rss_bytes: int | None
    device: str
    threads: int
    workers: int
    sharing: float
    devices: int
    loaders: int
    bad_images: int
    data_seconds: float | None
    data_sha256: str | None
    host_id: str
    started: datetime
    finished: datetime


TESTS = (
    "top5_error",
    "top1_error_10crop",
    "top5_error_10crop",
    "top1_error_multiscale",
    "top5_error_multiscale",
)  # of the last net, where images are of any size


def results(curve: Sequence[Evaluation]) -> dict[str, Any]:
    """The fields of a Run that a curve decides; all None for an empty one.

    Final, best-on-validation and best-on-test errors are kept apart, so that no reader has to guess whether the test
    set chose the epoch.
    """
    last = curve[-1] if curve else None
    on_validation, on_test = best(curve, "validation_error"), best(curve, "test_error")

    def take(point: Evaluation | None, name: str) -> Any:
        return getattr(point, name) if point else None

    seconds = [0.0, *(point.train_seconds for point in curve)]
    images = sum(p.images_per_second * (end - start) for p, (start, end) in zip(curve, pairwise(seconds), strict=True))
    return {
        "iteration": take(last, "iteration"),
        "final_running_error": take(last, "running_error"),
        "final_train_error": take(last, "train_error"),
        "final_train_loss": take(last, "train_loss"),
        "final_validation_error": take(last, "validation_error"),
        "final_test_error": take(last, "test_error"),
        "best_validation_error": take(on_validation, "validation_error"),
        "best_validation_iteration": take(on_validation, "iteration"),
        "train_error_at_best_validation": take(on_validation, "train_error"),
        "test_error_at_best_validation": take(on_validation, "test_error"),
        "best_test_error": take(on_test, "test_error"),
        "best_test_iteration": take(on_test, "iteration"),
        "train_seconds": take(last, "train_seconds"),
        "eval_seconds": take(last, "eval_seconds"),
        "images_per_second": images / last.train_seconds if last and last.train_seconds else None,
        "peak_allocated_bytes": take(last, "peak_allocated_bytes"),
        "peak_reserved_bytes": take(last, "peak_reserved_bytes"),
        "peak_rss_bytes": take(last, "peak_rss_bytes"),
    }


def row(cell: Cell, run: Run) -> dict[str, Any]:
    """The row of `runs`: the run's own fields, whose texts are made printable, and the cell's, one level deep."""
    own = {name: printable(value) if isinstance(value, str) else value for name, value in asdict(run).items()}
    return own | cell.flat()
