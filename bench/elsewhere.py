"""Cells of a sweep that another orchestrator runs, or ran meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from bench.cell import Cell
from bench.leases import Leases
from bench.store import Store

LOOK_SECONDS = 1.0  # between two looks at the folder


class Elsewhere:
    """Leases cells for this sweep, and waits for those that are leased to others."""

    def __init__(self, store: Store, leases: Leases, attempts: Mapping[str, int], said: Callable[[str], None]) -> None:
        """`attempts` made at cells by the rows that the sweep began with: a row that tells of others is news."""
        self._store, self._leases, self._attempts, self._said = store, leases, attempts, said
        self._waiting: dict[str, Cell] = {}
        self._over: list[tuple[Cell, str]] = []
        self._looked = 0.0
        self._told = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._over)

    def claim(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that are to run here, leased; the others are waited for.

        Raises:
            StoreError: when the folder cannot be read or written.
        """
        taken = self._leases.take(cell.id for cell in cells)
        ended = {} if self._leases.alone else self._ended(taken)
        self._leases.release(ended)
        self._over += [(cell, ended[cell.id]) for cell in cells if cell.id in ended]
        self._waiting |= {cell.id: cell for cell in cells if cell.id not in taken}
        return [cell for cell in cells if cell.id in taken and cell.id not in ended]

    def look(self) -> tuple[list[tuple[Cell, str]], list[Cell]]:
        """The cells that ended elsewhere, each with its outcome, and those that nobody runs any more.

        Raises:
            StoreError: when the folder cannot be read.
        """
        over, self._over = self._over, []
        if not self._waiting or time.monotonic() - self._looked < LOOK_SECONDS:
            return over, []
        ended = self._ended(set(self._waiting))
        over += [(self._waiting.pop(cell_id), outcome) for cell_id, outcome in ended.items()]
        others = self._leases.others()
        free = self._waiting.keys() - set().union(*others.values())
        if self._waiting and not self._told:
            who = ", ".join(sorted(other.label for other in others))
            self._said(f"{len(self._waiting)} cells are run by another resbench ({who}); waiting for them")
            self._told = True
        self._looked = time.monotonic()
        return over, [self._waiting.pop(cell_id) for cell_id in sorted(free)]

    def _ended(self, ids: set[str]) -> dict[str, str]:
        """The outcomes of the cells that have a row, or one of more attempts, since the sweep began."""
        rows = self._store.runs(ids, ["cell_id", "outcome", "attempts"]).to_pylist()
        return {row["cell_id"]: row["outcome"] for row in rows if row["attempts"] != self._attempts.get(row["cell_id"])}
