"""What cells will cost: parameters and multiply-adds of their nets, and the time this machine is expected to take."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bench import host, memo, pool
from bench.cell import Arch, Cell, Recipe, values
from bench.errors import InputError
from bench.pace import Paced, Paces
from bench.run import DONE
from bench.source import IMAGENET_CLASSES, SHAPES, Source

if TYPE_CHECKING:
    from bench.history import Sample

COSTS = "costs-2.json"  # the number goes up when costs are counted otherwise


@dataclass(frozen=True)
class Cost:
    """Of one net for one image: parameters, multiply-adds of a forward pass, bytes of its activations (float32)."""

    parameters: int
    multiply_adds: int
    activation_bytes: int


Priced = tuple[Arch, str, int]  # `Cell.priced`
Costs = dict[Priced, Cost]


def remembered(cells: Iterable[Cell]) -> Costs:
    """The costs that an earlier survey on this machine counted, by what they depend on."""
    known = memo.recall(COSTS)
    try:
        return {priced: Cost(*known[_key(*priced)]) for priced in _priced(cells) if _key(*priced) in known}
    except TypeError:
        return {}


def survey(
    cells: Sequence[Cell],
    sources: dict[str, Source],
    told: Callable[[Any], None],
    log: Path,
    *,
    load: bool,
) -> tuple[host.Toolkit, Costs, dict[tuple[str, bool], str]]:
    """Ask a child with torch for the toolkit, the costs not remembered and (`load`) the checksum of all that cells
    read (`Cell.reads`). Without `load`, ImageNet that is not there is taken to have 1,000 classes, and that is told.

    Raises:
        DataError: when a data set cannot be read.
    """
    costs = remembered(cells)
    missing = [priced for priced in _priced(cells) if priced not in costs]
    assumed = set() if load else {data for _, data, _ in missing if _is_absent_imagenet(sources[data])}
    for data in sorted(assumed):
        told(f"{sources[data]} is not here: it is taken to have {IMAGENET_CLASSES:,} classes")
    shapes = [_shape(data, crop_size, assumed=data in assumed) for _, data, crop_size in missing]
    pairs = list(zip(missing, shapes, strict=True))
    unknown = {(data, crop_size > 0) for (_, data, crop_size), shape in pairs if shape is None}
    reads = sorted({cell.reads for cell in cells} if load else unknown)
    job = {
        "sources": [(str(sources[data]), streamed) for data, streamed in reads],
        "nets": [(str(sources[data]), size, values(arch), shape) for (arch, data, size), shape in pairs],
    }
    answer = pool.call("bench.surveyor:survey", job, log, told)
    costs |= {priced: Cost(*cost) for priced, cost in zip(missing, answer["costs"], strict=True)}
    if counted := [priced for priced in missing if priced[1] not in assumed]:
        memo.remember(COSTS, {_key(*priced): [*vars(costs[priced]).values()] for priced in counted})
    return answer["toolkit"], costs, dict(zip(reads, answer["checksums"], strict=True))


def costs_of(cells: Sequence[Cell], sources: dict[str, Source], told: Callable[[Any], None]) -> Costs:
    """The costs of the cells' nets, remembered or counted; data is read only where nothing else tells its shape."""
    costs = remembered(cells)
    if all(priced in costs for priced in _priced(cells)):
        return costs
    with tempfile.TemporaryDirectory() as folder:
        return survey(cells, sources, told, Path(folder) / "survey.log", load=False)[1]


def _shape(data: str, crop_size: int, *, assumed: bool) -> tuple[int, int, int] | None:
    """Channels, pixels a side and classes of what a net sees; None where the data must be read to tell."""
    if not crop_size:
        return SHAPES.get(data)
    return (3, crop_size, IMAGENET_CLASSES) if assumed else None


def _is_absent_imagenet(source: Source) -> bool:
    return source.label.lower() == "imagenet" and not Path(source.directory).is_dir()


def _priced(cells: Iterable[Cell]) -> list[Priced]:
    return list(dict.fromkeys(cell.priced for cell in cells))


def _key(arch: Arch, data: str, crop_size: int) -> str:
    return json.dumps([values(arch), data, *([crop_size] if crop_size else [])], sort_keys=True)


@dataclass(frozen=True)
class Expected:
    """Seconds that a cell should take on one device, and what says so: runs of the very net and recipe (`measured`),
    its timed steps (`paced`), or else other nets' runs, scaled by work."""

    seconds: float
    measured: bool
    paced: Paced | None = None


def alike(hosts: Mapping[str, host.Host], gpu: host.Gpu | None) -> dict[str, host.Host]:
    """Of recorded hosts those with this GPU; with None, those with this machine's processor and no GPU."""
    cpu = host.cpu_model()
    return {i: h for i, h in hosts.items() if (h.gpu == gpu.name if gpu else h.gpu is None and h.cpu == cpu)}


def named(hosts: Mapping[str, host.Host], name: str) -> dict[str, host.Host]:
    """Of recorded hosts those whose device has this in its name, whatever the case.

    Raises:
        InputError: where there is none, or where they are of several devices.
    """
    found = {i: h for i, h in hosts.items() if name.lower() in (h.gpu or h.cpu).lower()}
    exact = {i: h for i, h in found.items() if name.lower() == (h.gpu or h.cpu).lower()}
    devices = sorted({h.gpu or h.cpu for h in (exact or found or hosts).values()})
    if not found:
        known = ", ".join(devices) or "no machine"
        raise InputError(f"--machine {name}: nothing is recorded of such a device; the tables have {known}")
    if len(devices) > 1:
        raise InputError(f"--machine {name}: several devices are named so: {', '.join(devices)}")
    return exact or found


class Forecast:
    """Expected times, from what machines have recorded: `runs` with at least `COLUMNS` on these `hosts`, and samples of
    benchmarks, which are read only where runs of the very net do not tell."""

    _MEASURED = ("host_id", "outcome", "train_seconds", "eval_seconds", "multiply_adds", "sharing", "devices")
    COLUMNS = (*Cell.columns(), *_MEASURED)

    def __init__(
        self, runs: pa.Table, hosts: Mapping[str, host.Host], samples: Callable[[], Iterable[Sample]] = tuple
    ) -> None:
        self._hosts, self._samples = hosts, samples
        self._seconds: dict[tuple[Arch, Recipe, str], list[float]] = defaultdict(list)
        rates = []
        cell_of = _nets(runs)
        for number, row in enumerate(runs.select(self._MEASURED).to_pylist()):
            if row["host_id"] not in hosts or row["outcome"] != DONE:
                continue
            cell = cell_of(number)
            sharing = row["sharing"] if hosts[row["host_id"]].gpu else 1
            took = (row["train_seconds"] + row["eval_seconds"]) / sharing  # its share of a GPU, or all of several
            took *= row["devices"] or 1
            self._seconds[cell.net].append(took)
            if took:
                rates.append(row["multiply_adds"] * work(cell) / took)
        self._rate = statistics.median(rates) if rates else None

    @cached_property
    def _paces(self) -> Paces:
        return Paces(self._samples(), self._hosts)

    def expect(self, cell: Cell, cost: Cost) -> Expected | None:
        """The time for one cell on one device, None where nothing is measured to go by."""
        if taken := self._seconds.get(cell.net):
            return Expected(statistics.fmean(taken), measured=True)
        if paced := self._paces.expect(cell):
            return Expected(paced.seconds, measured=False, paced=paced)
        if self._rate is None:
            return None
        return Expected(cost.multiply_adds * work(cell) / self._rate, measured=False)


def _nets(runs: pa.Table) -> Callable[[int], Cell]:
    """For the number of a row a cell of its net, one and the same for all of a net: many rows have few nets."""
    names = [name for name in Cell.columns() if name != "seed"]
    nets = np.zeros(len(runs), np.int64)
    for name in names:
        _, codes = np.unique(_codes(runs[name].combine_chunks()), return_inverse=True)
        if codes.any():
            _, nets = np.unique(nets * (codes.max() + 1) + codes, return_inverse=True)
    _, firsts, nets = np.unique(nets, return_index=True, return_inverse=True)
    columns, known = runs.select(names), nets.tolist()

    @cache
    def cell(net: int) -> Cell:
        return Cell.from_flat(columns.slice(int(firsts[net]), 1).to_pylist()[0])

    return lambda number: cell(known[number])


def _codes(column: pa.Array) -> np.ndarray:
    """A number for each value, the same for the same, nan for null. What makes arrow's scalars imports pandas."""
    if pa.types.is_list(column.type):
        known: dict[Any, int] = {}
        keys = (None if value is None else tuple(value) for value in column.to_pylist())
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)
    return column.dictionary_encode().indices.to_numpy(zero_copy_only=False)


def work(cell: Cell) -> int:
    """Images trained on: what a cell's time grows with, for one net."""
    return cell.recipe.iterations * cell.recipe.batch
