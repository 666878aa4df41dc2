"""Showing a sweep as it goes: a live grid on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench import run
from bench.cell import Cell
from bench.evaluation import Evaluation
from bench.forecast import Costs, work
from bench.matrix import variants
from bench.run import Run

STYLES = {
    "pending": "dim",
    "running": "cyan",
    run.DONE: "green",
    run.DIVERGED: "magenta",
    run.FAILED: "red",
    run.OUT_OF_MEMORY: "red",
    run.TIMED_OUT: "red",
}
SILENCE_SECONDS = 60.0
MOST_ROWS = 40  # of the grid; a larger matrix shows the rows where something happens


@dataclass
class _State:
    """What is known of a cell."""

    state: str = "pending"
    part: float = 0.0  # of its iterations
    error: float | None = None  # training error


class Tracker:
    """The state of every cell and of the whole; the base of both displays."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.states: dict[Cell, _State] = {}
        self.device = ""
        self._work: dict[Cell, float] = {}
        self._variants: dict[Cell, str] = {}
        self._began = time.monotonic()
        self._total = self._done = self._done_before = 0.0  # work; kept up to date, for a matrix may be large
        self._ended = 0

    def note(self, text: str) -> None:
        """Say a line, not broken, for it may hold a file's name."""
        self.console.print(Text(text, style="dim"), soft_wrap=True)

    def begin(self, cells: Sequence[Cell], recorded: dict[str, str], costs: Costs, device: str) -> None:
        """Learn the matrix."""
        self.device = device
        for cell in cells:
            state = recorded.get(cell.id)
            self.states[cell] = _State(state, 1.0) if state else _State()
            cost = costs.get(cell.priced)
            self._work[cell] = cost.multiply_adds * work(cell) if cost else 0.0  # recorded nets need no survey
            self._total += self._work[cell]
            self._done += self._work[cell] * self.states[cell].part
            self._ended += state is not None
        self._variants = variants(cells)
        self._began = time.monotonic()
        self._done_before = self._done

    def started(self, cell: Cell) -> None:
        """Mark it as running."""
        self.states[cell].state = "running"

    def evaluated(self, cell: Cell, evaluation: Evaluation) -> None:
        """Take in how far it is."""
        self.states[cell].error = evaluation.train_error
        self._reach(cell, evaluation.iteration / cell.recipe.iterations)

    def ended(self, cell: Cell, result: Run) -> None:
        """Mark how it ended."""
        self._reach(cell, 1.0)
        self._ended += 1
        self.states[cell] = _State(result.outcome, 1.0, result.final_train_error)

    def ended_elsewhere(self, cell: Cell, outcome: str) -> None:
        """Mark how it ended; it is not this sweep's work."""
        self._done_before += self._work[cell] * (1.0 - self.states[cell].part)
        self._reach(cell, 1.0)
        self._ended += 1
        self.states[cell] = _State(outcome, 1.0)

    def tick(self) -> None:
        """Nothing moves by itself."""

    def _reach(self, cell: Cell, part: float) -> None:
        state = self.states[cell]
        self._done += self._work[cell] * (part - state.part)
        state.part = part

    def fraction(self) -> float:
        """The share of the whole work, by multiply-adds, that is done."""
        return self._done / self._total if self._total else 1.0

    def seconds_left(self) -> float | None:
        """The time left at the pace since the start; None before there is any."""
        moved, elapsed = self._done - self._done_before, time.monotonic() - self._began
        return elapsed * (self._total - self._done) / moved if moved > 0 and elapsed > 1 else None

    def summary(self) -> str:
        """`17 of 48 cells, 41 %, about 3 min left`."""
        left = self.seconds_left()
        eta = f", about {duration(left)} left" if left is not None and self._ended < len(self.states) else ""
        return f"{self._ended} of {len(self.states)} cells, {100 * self.fraction():.0f} %{eta}"


class Lines(Tracker):
    """A line an event, and one a minute where none happens: for logs."""

    _said = 0.0

    def begin(self, cells: Sequence[Cell], recorded: dict[str, str], costs: Costs, device: str) -> None:
        """Learn the matrix, and say how much of it is left."""
        super().begin(cells, recorded, costs, device)
        self.console.print(f"{len(cells)} cells, {len(recorded)} recorded before; {device}")

    def ended(self, cell: Cell, result: Run) -> None:
        """Say how it ended."""
        super().ended(cell, result)
        error = f" ({result.error})" if result.error else ""
        train = f", training error {percent(result.final_train_error)}" if result.final_train_error is not None else ""
        line = f"{cell.label}: {result.outcome}{error}{train}, {duration(result.wall_seconds)}; {self.summary()}"
        self.console.print(Text(line), soft_wrap=True)
        self._said = time.monotonic()

    def ended_elsewhere(self, cell: Cell, outcome: str) -> None:
        """Say how it ended."""
        super().ended_elsewhere(cell, outcome)
        self.console.print(Text(f"{cell.label}: {outcome}, run by another resbench; {self.summary()}"), soft_wrap=True)
        self._said = time.monotonic()

    def tick(self) -> None:
        """Say where the sweep is, when nothing was said for a minute."""
        if time.monotonic() - max(self._said, self._began) > SILENCE_SECONDS:
            self.console.print(Text(self.summary()), soft_wrap=True)
            self._said = time.monotonic()


class Grid(Tracker):
    """The matrix as a table that is kept up to date: a row a net, a column a seed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> Grid:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> Group | Text:
        if not self.states:
            return Text("preparing …", style="dim")
        seeds = sorted({cell.seed for cell in self.states})
        rows: dict[str, dict[int, _State]] = {}
        for cell, state in self.states.items():
            rows.setdefault(f"{cell.arch.label} {self._variants[cell]}".strip(), {})[cell.seed] = state
        room = max(4, min(MOST_ROWS, self.console.height - 6))
        shown = sorted(rows, key=lambda name: -_liveliness(rows[name]))[:room]
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("training error")
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right")
        for name in (name for name in rows if name in set(shown)):
            table.add_row(name, *(_show(rows[name].get(seed)) for seed in seeds))
        hidden = len(rows) - len(shown)
        more = [Text(f"and {hidden} rows more", style="dim")] if hidden else []
        whole = Table.grid(padding=(0, 1))
        whole.add_row(ProgressBar(total=1.0, completed=self.fraction(), width=40), self.summary())
        return Group(Text(self.device, style="dim"), table, *more, whole)


def _liveliness(states: dict[int, _State]) -> int:
    kinds = {state.state for state in states.values()}
    return 2 * ("running" in kinds) + bool(kinds - {"pending", run.DONE})


def _show(state: _State | None) -> Text:
    if state is None:
        return Text("")
    error = percent(state.error) if state.error is not None else ""
    words = {
        "pending": "·",
        "running": f"{error} {100 * state.part:3.0f}%▸".strip(),
        run.DONE: f"{error} ✓".strip(),
    }
    return Text(words.get(state.state, f"{error} {state.state}".strip()), style=STYLES[state.state])


def percent(fraction: float | None) -> str:
    """A fraction as a percentage, to a tenth; an en dash for none."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def duration(seconds: float) -> str:
    """Seconds in words: `7 s`, `12 min`, `3.4 h`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def watching(console: Console) -> Iterator[Tracker]:
    """The display that suits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Grid(console) as grid:
        yield grid
