"""Summaries made up in memory, for tests of what draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from synthetic import a_curve, a_host, a_run

from bench.analysis import Layer, SlicePoint
from bench.cell import Cell
from bench.store import CURVES, LAYERS, SLICES, row
from bench.summary import Summary, _nets


def a_summary(
    cells: Sequence[Cell],
    error: Callable[[Cell], float] = lambda _: 0.25,
    layers: Callable[[Cell], Sequence[Layer]] = lambda _: (),
    slices: Callable[[Cell], Sequence[SlicePoint]] = lambda _: (),
) -> Summary:
    """Every cell done, its curve falling to `error`."""
    rows, curves = [], []
    parts = {"layers": [], "slices": []}
    for cell in cells:
        curve = a_curve(cell, error(cell))
        made = a_run(cell, curve)
        keys = {"schema_version": 1, "cell_id": cell.id, "run_id": made.run_id}
        rows.append(keys | row(cell, made))
        curves += [keys | vars(point) for point in curve]
        parts["layers"] += [keys | vars(layer) for layer in layers(cell)]
        parts["slices"] += [keys | vars(point) for point in slices(cell)]
    runs = pd.DataFrame(rows)
    runs["peak_memory_bytes"] = (runs["peak_rss_bytes"] - runs["base_rss_bytes"]).astype(float)
    for column in ("peak_allocated_bytes", "iteration"):
        runs[column] = runs[column].astype(float)
    return Summary(
        a_host(),
        _nets(cells, runs),
        runs,
        pd.DataFrame(curves, columns=CURVES.names),
        pd.DataFrame(parts["layers"], columns=LAYERS.names),
        pd.DataFrame(parts["slices"], columns=SLICES.names),
    )


def some_layers(cell: Cell, stops: Sequence[int] = (0, 25, 100)) -> list[Layer]:
    """Responses that shrink and gradients that grow with depth's layer, scaled by the seed."""
    count = cell.arch.depth - 1
    return [
        Layer(stop, n, f"conv{n}", None if stop == 0 else (1 + cell.seed) / n, (1 + cell.seed) * n / (1 + stop))
        for stop in stops
        for n in range(1, count + 1)
    ]


def a_slice(cell: Cell, steps: int = 5) -> list[SlicePoint]:
    """A bowl of loss, one-dimensional and two-dimensional, deeper nets steeper."""
    at = np.linspace(-1, 1, steps)
    bowl = [(a, None) for a in at] + [(a, b) for a in at for b in at]
    return [
        SlicePoint(1 if b is None else 2, a, b, 0.1 + cell.arch.depth * (a * a + (b or 0) ** 2), 0.5, 100, 0)
        for a, b in bowl
    ]
