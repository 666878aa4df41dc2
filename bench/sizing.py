"""How many cells of one net a GPU trains best at once: measured by a child, and remembered on this machine."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import memo, pool
from bench.cell import Cell, values
from bench.errors import DataError
from bench.matrix import one_a_net

BEST_SIZE = "bench.gang:best_size"
SIZES = "gangs.json"
_log = logging.getLogger(__name__)


def gang_sizes(
    cells: Sequence[Cell],
    job: Callable[[Cell], dict[str, Any]],
    environment: tuple[tuple[str, str], ...],
    host_id: str,
    told: Callable[[str], None],
    log: Path,
    entry: str = BEST_SIZE,
) -> dict[Any, int]:
    """The best size for each net (`Cell.net`) of which there are several cells; measured where it is not remembered.

    `job` gives what a child that works on a cell is told, `environment` what it is to find set. A net that cannot be
    measured gets 1: its cells run as they would without.
    """
    counts = Counter(cell.net for cell in cells)
    known = memo.recall(SIZES)
    sizes: dict[Any, int] = {}
    for cell in one_a_net(cells):
        if counts[cell.net] == 1:
            continue
        key = _key(cell, host_id)
        if key not in known:
            told(f"{cell.arch.label}: measuring how many train best at once")
            try:
                known[key] = pool.call(entry, job(cell), log, _log.info, environment)
            except DataError as error:
                told(f"{cell.arch.label}: one at a time, for measuring failed: {error}")
                sizes[cell.net] = 1
                continue
            memo.remember(SIZES, {key: known[key]})
        sizes[cell.net] = known[key]
    return sizes


def split(cells: Iterable[Cell], size: Callable[[Cell], int]) -> list[list[Cell]]:
    """The cells in gangs of one net, each at most as large as `size` says, in the order in which their first stands."""
    gangs: list[list[Cell]] = []
    open_gangs: dict[Any, list[Cell]] = {}
    for cell in cells:
        gang = open_gangs.get(cell.net)
        if gang is None or len(gang) >= size(cell):
            gangs.append(gang := [])
            open_gangs[cell.net] = gang
        gang.append(cell)
    return gangs


def _key(cell: Cell, host_id: str) -> str:
    return json.dumps([host_id, values(cell.arch), values(cell.recipe), cell.data], sort_keys=True)
