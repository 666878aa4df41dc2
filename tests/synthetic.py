"""Made-up cells, curves and runs for tests of what stores and shows them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from bench import run
from bench.analysis import Layer, layers_of
from bench.cell import Arch, Cell, Recipe
from bench.evaluation import Evaluation
from bench.host import Host
from bench.run import Run
from bench.summary import Net

RECIPE = Recipe(iterations=100, batch=32, drops=(50, 75), eval_every=25, split="holdout")


def a_cell(
    depth: int = 8, shortcut: str = "none", seed: int = 0, recipe: Recipe = RECIPE, data: str = "digits"
) -> Cell:
    """A small cell."""
    return Cell(Arch(depth=depth, shortcut=shortcut), recipe, data, seed)


def a_host(**fields: object) -> Host:
    """A machine without a GPU."""
    plain = {"cpu": "Imagined CPU", "cores": 2, "memory_gib": 4, "system": "Linux x86_64", "torch": "2.11.0"}
    empty = dict.fromkeys(("gpu", "gpu_memory_gib", "gpu_power_limit_watts", "driver", "cuda", "cudnn"))
    return Host(**(plain | empty | fields))


def a_curve(cell: Cell, error: float = 0.25) -> list[Evaluation]:
    """Evaluations that fall from chance to `error`."""
    stops = range(cell.recipe.eval_every, cell.recipe.iterations + 1, cell.recipe.eval_every)
    return [_point(cell, at, error + (0.9 - error) * (1 - at / cell.recipe.iterations)) for at in stops]


def _point(cell: Cell, at: int, error: float) -> Evaluation:
    return Evaluation(
        iteration=at,
        epoch=at / 40,
        lr=cell.recipe.learning_rate(at - 1),
        running_error=error,
        running_loss=2 * error,
        train_error=error,
        train_loss=2 * error,
        validation_error=error + 0.01,
        validation_loss=2 * error,
        test_error=error + 0.02,
        test_loss=2 * error,
        train_seconds=at / 100,
        eval_seconds=at / 1000,
        images_per_second=3200.0,
        peak_allocated_bytes=None,
        peak_reserved_bytes=None,
        peak_rss_bytes=500_000_000,
    )


def a_layer(layer: int = 1, iteration: int = 100, **fields: object) -> Layer:
    """One layer at one evaluation."""
    plain = {"name": f"layer1.{layer}.conv1", "response_std": 1 / layer, "gradient_norm": 0.1}
    return Layer(iteration=iteration, layer=layer, **(plain | fields))


def some_layers(cell: Cell) -> list[Layer]:
    """Two layers at the start and at each evaluation, one response not a number."""
    stops = range(0, cell.recipe.iterations + 1, cell.recipe.eval_every)
    readings = [
        {"iteration": at, "response_std": [1 / 3, math.nan] if at else None, "gradient_norm": [0.1, 1e300]}
        for at in stops
    ]
    return layers_of(["conv1", "layer1.0.conv1"], readings)


def a_run(cell: Cell, curve: list[Evaluation], host: Host | None = None, **fields: object) -> Run:
    """The row of a cell that is done, or that failed where the curve is empty."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    values = {
        "cell_id": cell.id,
        "run_id": uuid.uuid4().hex[:12],
        "outcome": run.DONE if curve else run.FAILED,
        "attempts": 1,
        "error": None if curve else "ZeroDivisionError: imagined",
        "log": None if curve else "the end of a log",
        **run.results(curve),
        "parameters": 1000 * cell.arch.depth,
        "multiply_adds": 10_000 * cell.arch.depth,
        "activation_bytes": 4096,
        "wall_seconds": 1.5,
        "base_rss_bytes": 400_000_000 if curve else None,
        "device": "cpu",
        "threads": 1,
        "workers": 2,
        "sharing": 1.75,
        **dict.fromkeys(run.TESTS),
        **{"devices": 1, "loaders": 0, "bad_images": 0, "data_seconds": None},
        "data_sha256": "ab" * 32,
        "host_id": (host or a_host()).id,
        "started": start,
        "finished": start + timedelta(seconds=2),
        **asdict(run.provenance()),
    }
    return Run(**(values | fields))


def a_net(cell: Cell, values: Mapping[int, float | str | None], column: str = "final_train_error") -> Net:
    """A net with a value (a fraction) for each seed, the outcome of one not done, or None for one not run."""
    ended = {seed: value for seed, value in values.items() if value is not None}
    rows = pd.DataFrame(
        {
            "seed": list(ended),
            "outcome": [value if isinstance(value, str) else run.DONE for value in ended.values()],
            column: [None if isinstance(value, str) else value for value in ended.values()],
        }
    )
    return Net(tuple(replace(cell, seed=seed) for seed in values), cell.arch.label, "", rows)
