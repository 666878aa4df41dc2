"""Which seeds of a study's nets are planned, recorded, or to be added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import looks
from bench.cell import Cell
from bench.store import Store

Plan = Mapping[Any, tuple[int, ...]]  # for each net, its seeds in the order in which they count


def planned(cells: Iterable[Cell]) -> Plan:
    """The seeds that the study declares for each net, in its order."""
    found: dict[Any, list[int]] = {}
    for cell in cells:
        found.setdefault(cell.net, []).append(cell.seed)
    return {net: tuple(seeds) for net, seeds in found.items()}


def extended(cells: Sequence[Cell], store: Store) -> list[Cell]:
    """The cells, and after them those of further seeds that are recorded: what `run --until-decided` or another study
    with more seeds has added.

    Raises:
        StoreError: when the folder cannot be read.
    """
    recorded = store.recorded()
    found = list(cells)
    if len(recorded.intersection(cell.id for cell in cells)) == len(recorded):
        return found
    first = {cell.net: cell for cell in reversed(cells)}
    for net, seeds in planned(cells).items():
        known, upto = set(seeds), 0
        for look in looks.schedule(len(seeds)):  # seeds are added a look at a time: one without any is the end
            block = [replace(first[net], seed=seed) for seed in range(upto, look) if seed not in known]
            new = [cell for cell in block if cell.id in recorded]
            found += new
            if look > len(seeds) and block and not new:
                break
            upto = look
    return found


def added(net: Cell, seeds: Iterable[int], wanted: int) -> list[Cell]:
    """Cells of the lowest seeds not in `seeds`, so many that the net has `wanted`."""
    known = set(seeds)
    free = (seed for seed in range(wanted + len(known)) if seed not in known)
    return [replace(net, seed=seed) for seed, _ in zip(free, range(wanted - len(known)), strict=False)]
