"""From tables to estimates over seeds: one entry for each net, recipe, data set and host."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench import run
from bench.cell import FIELDS, Cell
from bench.errors import InputError, StoreError
from bench.host import Host
from bench.matrix import Selector, matches, one_a_net, variants
from bench.stats import Estimate, estimate
from bench.store import RUNS, Store

KEPT = ("seed", "data", "crop_size")  # of the fields of a cell
REPORTED = [name for name in RUNS.names if name in KEPT or name not in (*FIELDS, "schema_version", "log")]
LAYER_SEEDS, LAYER_NETS = 3, 64
WORST_ERROR = 1.0  # a fraction: what a diverged net is taken to have


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
        pairs = zip(self._seeds, self.done[column].tolist(), strict=True)
        return {seed: float(value) for seed, value in pairs if value is not None and value == value}

    @cached_property
    def done(self) -> pd.DataFrame:
        """The rows that count in an estimate."""
        counts = [outcome == run.DONE for outcome in self.rows["outcome"].tolist()]
        return self.rows if all(counts) else self.rows[counts]

    def count(self, *outcomes: str) -> int:
        """How many seeds ended in one of these ways."""
        return sum(outcome in outcomes for outcome in self.rows["outcome"].tolist())

    @property
    def missing(self) -> int:
        """How many seeds have no row."""
        return len(self.cells) - len(self.rows)

    @cached_property
    def _seeds(self) -> list[int]:
        return self.done["seed"].tolist()

    def errors(self, column: str) -> dict[int, float]:
        """A column of errors by seed, diverged seeds included: theirs is the worst there is."""
        diverged = {seed: WORST_ERROR for seed, outcome in self.ended.items() if outcome == run.DIVERGED}
        return self.values(column) | diverged

    def constant(self, column: str) -> int | None:
        """A count that is the same for every seed, where it is known."""
        known = (value for value in self.rows[column].tolist() if value is not None and value == value)
        return next(map(int, known), None)

    def estimate(self, column: str) -> Estimate | None:
        """Mean and 95 % interval over the seeds that are done, of a column of `runs`; None without values."""
        return estimate(list(self.values(column).values()))


def span(counts: Iterable[int]) -> str:
    """How many seeds nets have, in words: `1 seed`, `3 to 20 seeds`."""
    every = sorted(counts)
    low, high = every[0], every[-1]
    return f"{high} seed{'s' if high != 1 else ''}" if low == high else f"{low} to {high} seeds"


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


def summaries(cells: Sequence[Cell], store: Store, study: str = "this study") -> list[Summary]:
    """A summary for each host that ran any of the cells, the one with most runs first; hosts are never mixed.

    Raises:
        InputError: where nothing of the study is recorded, or runs of one data set's name saw different images.
        StoreError: where the tables cannot be read.
    """
    table = store.runs((cell.id for cell in cells), REPORTED)
    if not len(table):
        raise InputError(
            f"{store.root}: no run of {study} is recorded there; `resbench run` records them (what was run with "
            "--set is found with the same --set)"
        )
    runs, curves, hosts = table.to_pandas(), store.curves(table).to_pandas(), store.hosts()
    resident = runs["peak_rss_bytes"] - runs["base_rss_bytes"]
    runs["peak_memory_bytes"] = runs["peak_allocated_bytes"].where(runs["device"] != "cpu", resident).astype(float)
    runs["streamed"] = runs["crop_size"].fillna(0) > 0
    for (data, _), checksums in runs.groupby(["data", "streamed"])["data_sha256"].unique().items():
        if len(checksums) > 1:
            short = " and ".join(str(checksum)[:12] for checksum in checksums)
            raise InputError(f"{store.root}: runs named {data} saw different images (checksums {short})")
    found = []
    for host_id in runs["host_id"].value_counts().index:
        if host_id not in hosts:
            lost = f"{store.root / 'hosts' / host_id}.parquet"
            raise StoreError(f"{lost}: missing; the next run on that machine writes it again, or copy it back")
        own = runs[runs["host_id"] == host_id]
        points = curves[curves["run_id"].isin(own["run_id"])]
        nets = _nets(cells, own)
        layers = store.layers(_of_runs(table, _first_seeds(nets))).to_pandas()
        slices = store.slices(_of_runs(table, own["run_id"].tolist())).to_pandas()
        found.append(Summary(hosts[host_id], nets, own, points, layers, slices))
    return found


def unrecorded(cells: Sequence[Cell]) -> tuple[Net, ...]:
    """The nets of a study of which nothing is recorded."""
    return _nets(cells, RUNS.empty_table().to_pandas())


def _of_runs(table: pa.Table, run_ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table["run_id"], pa.array(run_ids, pa.string())))


def _first_seeds(nets: Sequence[Net]) -> list[str]:
    if len(nets) > LAYER_NETS:
        return []
    return [run_id for net in nets for run_id in net.done.sort_values("seed")["run_id"].tolist()[:LAYER_SEEDS]]


def _nets(cells: Sequence[Cell], runs: pd.DataFrame) -> tuple[Net, ...]:
    names = variants(one_a_net(cells))
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.net, []).append(cell)
    # rows in the order of the nets, so that each net's are a slice: a selection for each would take a second a thousand
    place = {
        cell.id: (number, index) for number, group in enumerate(groups.values()) for index, cell in enumerate(group)
    }
    places = [place[cell_id] for cell_id in runs["cell_id"].tolist()]
    order = sorted(range(len(places)), key=places.__getitem__)
    ordered, numbers = runs.iloc[order], [places[index][0] for index in order]
    return tuple(
        Net(
            cells=tuple(group),
            label=group[0].arch.label,
            variant=names[group[0]],
            rows=ordered.iloc[bisect_left(numbers, number) : bisect_right(numbers, number)],
        )
        for number, group in enumerate(groups.values())
    )
