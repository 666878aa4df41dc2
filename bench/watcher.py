"""Who is told how a sweep goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bench.cell import Cell
from bench.evaluation import Evaluation
from bench.forecast import Costs
from bench.run import Run


class Watcher(Protocol):
    """Who is told how a sweep goes."""

    def note(self, text: str) -> None:
        """Something to say in a line."""

    def begin(self, cells: Sequence[Cell], recorded: dict[str, str], costs: Costs, device: str) -> None:
        """The sweep starts; `recorded` has the outcomes of cells that need no run."""

    def started(self, cell: Cell) -> None:
        """An attempt at a cell starts."""

    def evaluated(self, cell: Cell, evaluation: Evaluation) -> None:
        """A cell reached an evaluation."""

    def ended(self, cell: Cell, result: Run) -> None:
        """A cell's row is recorded."""

    def ended_elsewhere(self, cell: Cell, outcome: str) -> None:
        """Another orchestrator recorded a cell's row."""

    def tick(self) -> None:
        """Time passes."""
