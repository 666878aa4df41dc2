"""A results folder of very many cells, compacted, made at once."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from synthetic import a_curve, a_host, a_run

from bench import compact, packed, store
from bench.cell import Cell
from bench.run import row
from bench.store import CURVES, RUNS, Store

STUDY = """
title = "Cells by the thousand"
question = "How long does it take?"
[matrix]
data = "digits"
depth = [8, 14, 20, 32, 56]
shortcut = ["none", "A", "B", "C"]
lr = {rates}
seeds = {seeds}
[recipe]
iterations = {points}
batch = 32
drops = []
eval_every = 1
split = "holdout"
[[claim]]
says = "Deeper is worse."
left = {{ depth = 20, shortcut = "A" }}
right = {{ depth = 8, shortcut = "A" }}
"""


def study(path: Path, cells: int, points: int, seeds: int = 50) -> Path:
    """A study of so many cells, each with so many evaluations: of 20 nets, or many times 20."""
    nets = 20
    seeds = min(seeds, cells // nets)
    rates = [(k + 1) / 10_000 for k in range(cells // nets // seeds)]
    path.write_text(STUDY.format(rates=rates, seeds=seeds, points=points))
    return path


def fill(root: Path, cells: list[Cell], points: int) -> Store:
    """The cells, done, in packs as `resbench compact` makes them; errors are drawn by chance."""
    host, filled = a_host(), Store(root)
    filled.add_host(host)
    of_one = a_curve(cells[0])
    assert len(of_one) == points
    known = a_run(cells[0], of_one, host)
    ordered = sorted(cells, key=lambda cell: cell.id)
    chance = np.random.default_rng(0)
    runs = [dataclasses.replace(known, cell_id=c.id, run_id=f"{n:012x}") for n, c in enumerate(ordered)]
    _write(filled, "runs", _rows(ordered, runs, chance), RUNS, compact.PACK_ROWS)
    curve = pa.Table.from_pylist([vars(point) | {"schema_version": store.VERSION} for point in of_one], CURVES)
    _write(filled, "curves", _curves(runs, curve, chance), CURVES, compact.PACK_ROWS)
    return filled


def _rows(cells, runs, chance):
    for start in range(0, len(cells), 5_000):
        some = []
        for cell, result in zip(cells[start : start + 5_000], runs[start : start + 5_000], strict=True):
            fields = {"final_train_error": chance.random(), "multiply_adds": 1000 * cell.arch.depth}
            some.append({"schema_version": store.VERSION} | row(cell, dataclasses.replace(result, **fields)))
        table = pa.Table.from_pylist(some, RUNS)
        yield from ((each["cell_id"], table.slice(n, 1)) for n, each in enumerate(some))


def _curves(runs, curve, chance):
    columns = {name: curve[name].combine_chunks() for name in CURVES.names}
    drawn = [name for name in CURVES.names if name.endswith(("_error", "_loss"))]
    for result in runs:
        values = {name: pa.array(chance.random(len(curve))) for name in drawn}
        keys = {"cell_id": pa.array([result.cell_id] * len(curve)), "run_id": pa.array([result.run_id] * len(curve))}
        yield f"{result.cell_id}-{result.run_id}", pa.table(columns | values | keys, CURVES)


def _write(filled, name, stems, schema, most):
    table = filled.table(name)
    table.folder.mkdir(parents=True, exist_ok=True)
    blocks = packed.in_blocks(stems)
    for number in itertools.count(1):
        some = list(compact._up_to(most, blocks))
        if not some:
            return
        packed.write(table.folder / packed.name(number), some, schema)
