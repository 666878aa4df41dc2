"""From tables to estimates over seeds: one entry for each net, recipe, data set and host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench import run
from bench.cell import Cell
from bench.errors import InputError
from bench.host import Host
from bench.matrix import Selector, matches, variants
from bench.stats import Estimate, estimate
from bench.store import RUNS, Store

LAYER_SEEDS, LAYER_NETS = 3, 64
WORST_ERROR = 1.0  # a fraction: what a diverged net is taken to have
ERRORS = ("train_error", "validation_error", "test_error")


@dataclass(frozen=True)
class Net:
    """One net trained one way on one host, over its seeds. `variant` tells apart entries of one net, where any are."""

    cells: tuple[Cell, ...]
    label: str
    variant: str
    rows: pd.DataFrame  # of `runs`, those recorded

    @property
    def depth(self) -> int:
        """Its weighted layers."""
        return self.cells[0].arch.depth

    @property
    def shortcut(self) -> str:
        """none, A, B or C."""
        return self.cells[0].arch.shortcut

    @property
    def name(self) -> str:
        """The label, and what tells this entry from others of the same label."""
        return f"{self.label} {self.variant}".strip()

    @cached_property
    def ended(self) -> dict[int, str]:
        """The outcome of each seed that has a row."""
        return dict(zip(self.rows["seed"].tolist(), self.rows["outcome"].tolist(), strict=True))

    def values(self, column: str) -> dict[int, float]:
        """A column of `runs` by seed, over the seeds that are done, where it has a value."""
        done = self.done
        pairs = zip(done["seed"].tolist(), done[column].tolist(), strict=True)
        return {seed: float(value) for seed, value in pairs if value is not None and value == value}

    @cached_property
    def done(self) -> pd.DataFrame:
        """The rows that count in an estimate."""
        return self.rows[self.rows["outcome"] == run.DONE]

    def count(self, *outcomes: str) -> int:
        """How many seeds ended in one of these ways."""
        return int(self.rows["outcome"].isin(outcomes).sum())

    @property
    def missing(self) -> int:
        """How many seeds have no row."""
        return len(self.cells) - len(self.rows)

    def errors(self, column: str) -> dict[int, float]:
        """A column of errors by seed, diverged seeds included: theirs is the worst there is."""
        diverged = {seed: WORST_ERROR for seed, outcome in self.ended.items() if outcome == run.DIVERGED}
        return self.values(column) | diverged

    def constant(self, column: str) -> int | None:
        """A count that is the same for every seed, where it is known."""
        known = self.rows[column].dropna()
        return int(known.iloc[0]) if len(known) else None

    def estimate(self, column: str) -> Estimate | None:
        """Mean and 95 % interval over the seeds that are done, of a column of `runs`; None without values."""
        return estimate(list(self.values(column).values()))


@dataclass(frozen=True)
class Summary:
    """What a results folder holds of a study, on one host."""

    host: Host
    nets: tuple[Net, ...]
    runs: pd.DataFrame
    curves: pd.DataFrame
    layers: pd.DataFrame  # of the first `LAYER_SEEDS` seeds of each net; empty where there are over `LAYER_NETS` nets
    slices: pd.DataFrame

    def select(self, selector: Selector) -> list[Net]:
        """The nets whose cells match (a selector may name a seed: it then selects by the other fields)."""
        chosen = {name: values for name, values in selector.items() if name != "seed"}
        return [net for net in self.nets if matches(net.cells[0].flat(), chosen)]

    @property
    def held_out(self) -> str:
        """The error that figures show beside the training error: on the validation part, or on the test set."""
        return "validation_error" if self.curves["validation_error"].notna().any() else "test_error"


def summaries(cells: Sequence[Cell], store: Store) -> list[Summary]:
    """A summary for each host that ran any of the cells, the one with most runs first; hosts are never mixed.

    Raises:
        InputError: where nothing of the study is recorded, or runs of one data set's name saw different images.
        StoreError: where the tables cannot be read.
    """
    table = store.runs(cell.id for cell in cells)
    if not len(table):
        raise InputError(f"{store.root}: no run of this study is recorded there; `resbench run` records them")
    runs, curves, hosts = table.to_pandas(), store.curves(table).to_pandas(), store.hosts()
    runs["peak_memory_bytes"] = runs["peak_allocated_bytes"].fillna(runs["peak_rss_bytes"] - runs["base_rss_bytes"])
    for data, checksums in runs.groupby("data")["data_sha256"].unique().items():
        if len(checksums) > 1:
            short = " and ".join(str(checksum)[:12] for checksum in checksums)
            raise InputError(f"{store.root}: runs named {data} saw different images (checksums {short})")
    found = []
    for host_id in runs["host_id"].value_counts().index:
        own = runs[runs["host_id"] == host_id]
        points = curves[curves["run_id"].isin(own["run_id"])]
        nets = _nets(cells, own)
        layers = store.layers(_first_seeds(nets, table)).to_pandas()
        slices = store.slices(table.filter(pc.equal(table["host_id"], host_id))).to_pandas()
        found.append(Summary(hosts[host_id], nets, own, points, layers, slices))
    return found


def unrecorded(cells: Sequence[Cell]) -> tuple[Net, ...]:
    """The nets of a study of which nothing is recorded."""
    return _nets(cells, RUNS.empty_table().to_pandas())


def _first_seeds(nets: Sequence[Net], runs: pa.Table) -> pa.Table:
    few = [run_id for net in nets for run_id in net.done.sort_values("seed")["run_id"][:LAYER_SEEDS]]
    return runs.filter(pc.is_in(runs["run_id"], pa.array(few if len(nets) <= LAYER_NETS else [], pa.string())))


def _nets(cells: Sequence[Cell], runs: pd.DataFrame) -> tuple[Net, ...]:
    names = variants(cells)
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arch, cell.recipe, cell.data), []).append(cell)
    by_cell = runs.set_index("cell_id", drop=False)
    return tuple(
        Net(
            cells=tuple(group),
            label=group[0].arch.label,
            variant=names[group[0]],
            rows=by_cell.loc[[cell.id for cell in group if cell.id in by_cell.index]],
        )
        for group in groups.values()
    )
