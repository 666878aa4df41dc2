"""What cells will cost: parameters and multiply-adds of their nets, and the time this machine is expected to take."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import host, memo, pool
from bench.cell import Arch, Cell, Recipe, values
from bench.run import DONE
from bench.source import SHAPES, Source

if TYPE_CHECKING:
    import pyarrow as pa

COSTS = "costs-2.json"  # the number goes up when costs are counted otherwise


@dataclass(frozen=True)
class Cost:
    """Of one net for one image: parameters, multiply-adds of a forward pass, bytes of its activations (float32)."""

    parameters: int
    multiply_adds: int
    activation_bytes: int


Costs = dict[tuple[Arch, str], Cost]


def remembered(cells: Iterable[Cell]) -> Costs:
    """The costs that an earlier survey on this machine counted, by net and data set."""
    known = memo.recall(COSTS)
    try:
        return {net: Cost(*known[_key(*net)]) for net in _nets(cells) if _key(*net) in known}
    except TypeError:
        return {}


def survey(
    cells: Sequence[Cell],
    sources: dict[str, Source],
    told: Callable[[Any], None],
    log: Path,
    *,
    load: bool,
) -> tuple[host.Toolkit, Costs, dict[str, str]]:
    """Ask a child with torch for the toolkit, the costs not remembered and (`load`) every data set's checksum.

    Raises:
        DataError: when a data set cannot be read.
    """
    costs = remembered(cells)
    missing = [net for net in _nets(cells) if net not in costs]
    names = {cell.data for cell in cells} if load else {data for _, data in missing if data not in SHAPES}
    job = {
        "sources": [str(sources[name]) for name in sorted(names)],
        "nets": [(str(sources[data]), values(arch)) for arch, data in missing],
    }
    answer = pool.call("bench.worker:survey", job, log, told)
    costs |= {net: Cost(*cost) for net, cost in zip(missing, answer["costs"], strict=True)}
    if missing:
        memo.remember(COSTS, {_key(*net): [*vars(costs[net]).values()] for net in missing})
    return answer["toolkit"], costs, {name: answer["checksums"][str(sources[name])] for name in names}


def costs_of(cells: Sequence[Cell], sources: dict[str, Source], told: Callable[[Any], None]) -> Costs:
    """The costs of the cells' nets, remembered or counted; data is read only where nothing else tells its shape."""
    costs = remembered(cells)
    if all(net in costs for net in _nets(cells)):
        return costs
    with tempfile.TemporaryDirectory() as folder:
        return survey(cells, sources, told, Path(folder) / "survey.log", load=False)[1]


def _nets(cells: Iterable[Cell]) -> list[tuple[Arch, str]]:
    return list(dict.fromkeys((cell.arch, cell.data) for cell in cells))


def _key(arch: Arch, data: str) -> str:
    return json.dumps([values(arch), data], sort_keys=True)


@dataclass(frozen=True)
class Expected:
    """Seconds that a cell should take, and whether runs of the very net and recipe say so (else scaled by work)."""

    seconds: float
    measured: bool


class Forecast:
    """Expected times, from what hosts with this processor (or GPU) have recorded: `runs` with at least `COLUMNS`."""

    COLUMNS = (*Cell.columns(), "host_id", "outcome", "train_seconds", "eval_seconds", "multiply_adds", "sharing")

    def __init__(self, runs: pa.Table, hosts: dict[str, host.Host], gpu: host.Gpu | None) -> None:
        cpu = host.cpu_model()
        alike = {i for i, h in hosts.items() if (h.gpu == gpu.name if gpu else h.gpu is None and h.cpu == cpu)}
        self._seconds: dict[tuple[Arch, Recipe, str], list[float]] = defaultdict(list)
        rates = []
        for row in runs.select(self.COLUMNS).to_pylist():  # in Python: pa.array imports pandas
            if row["host_id"] not in alike or row["outcome"] != DONE:
                continue
            cell = Cell.from_flat({name: row[name] for name in Cell.columns()})
            took = (row["train_seconds"] + row["eval_seconds"]) / (row["sharing"] if gpu else 1)  # its share of a GPU
            self._seconds[cell.net].append(took)
            if took:
                rates.append(row["multiply_adds"] * work(cell) / took)
        self._rate = statistics.median(rates) if rates else None

    def expect(self, cell: Cell, cost: Cost) -> Expected | None:
        """The time for one cell, None where this host has measured nothing to go by."""
        if taken := self._seconds.get(cell.net):
            return Expected(statistics.fmean(taken), measured=True)
        if self._rate is None:
            return None
        return Expected(cost.multiply_adds * work(cell) / self._rate, measured=False)


def work(cell: Cell) -> int:
    """Images trained on: what a cell's time grows with, for one net."""
    return cell.recipe.iterations * cell.recipe.batch
