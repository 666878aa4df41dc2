"""What a sweep shows."""

import dataclasses
import io

import pytest
from rich.console import Console
from synthetic import a_cell, a_curve, a_run

from bench.forecast import Cost
from bench.progress import Grid, Lines, duration, percent, watching


def _watch(display_type, console):
    cells = [a_cell(depth, shortcut, seed) for depth in (8, 20) for shortcut in ("none", "A") for seed in (0, 1)]
    costs = {c.priced: Cost(1, c.arch.depth, 1) for c in cells}
    display = display_type(console)
    display.begin(cells, {cells[0].id: "done"}, costs, "a device")
    for cell in cells[1:4]:
        display.started(cell)
    display.evaluated(cells[1], a_curve(cells[1])[1])
    display.ended(cells[2], a_run(cells[2], a_curve(cells[2])))
    display.ended(cells[3], a_run(cells[3], []))
    display.tick()
    return display, cells


def test_lines_say_every_end_with_its_error_and_the_whole():
    console = Console(file=io.StringIO(), width=200)
    display, _ = _watch(Lines, console)
    text = console.file.getvalue()
    assert "8 cells, 1 recorded before; a device" in text
    assert "ResNet-8-A, seed 0: done, training error 25.0 %, 2 s; 2 of 8 cells" in text
    assert "ResNet-8-A, seed 1: failed (ZeroDivisionError: imagined)" in text
    assert display.summary().startswith("3 of 8 cells")


def test_lines_are_not_silent_for_long(monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    display, _ = _watch(Lines, console)
    before = console.file.getvalue()
    display.tick()
    assert console.file.getvalue() == before
    monkeypatch.setattr("bench.progress.SILENCE_SECONDS", -1.0)
    display.tick()
    assert console.file.getvalue()[len(before) :].startswith("3 of 8 cells")


def test_the_grid_shows_every_cell_in_its_state():
    console = Console(file=io.StringIO(), width=100, height=50)
    grid, _ = _watch(Grid, console)
    console.print(grid._render())
    rows = {line.split()[0]: line for line in console.file.getvalue().splitlines() if line[1:2].isalpha()}
    assert "✓" in rows["plain-8"] and "57.5 %  50%▸" in rows["plain-8"]
    assert "25.0 % ✓" in rows["ResNet-8-A"] and "failed" in rows["ResNet-8-A"]
    assert rows["plain-20"].count("·") == 2


def test_progress_is_by_work_not_by_cells():
    """Three of four works done are three quarters, whatever the number of cells."""
    cells = [a_cell(8), a_cell(20)]
    display = Lines(Console(file=io.StringIO()))
    display.begin(cells, {}, {c.priced: Cost(1, m, 1) for c, m in zip(cells, (3, 1), strict=True)}, "")
    display.ended(cells[0], a_run(cells[0], a_curve(cells[0])))
    assert display.fraction() == 0.75
    display.evaluated(cells[1], dataclasses.replace(a_curve(cells[1])[0], iteration=50))
    assert display.fraction() == 0.875


def test_a_matrix_taller_than_the_terminal_shows_where_something_happens():
    console = Console(file=io.StringIO(), width=100, height=12)
    cells = [a_cell(8 + 6 * n) for n in range(30)]
    grid = Grid(console)
    grid.begin(cells, {}, {}, "a device")
    grid.started(cells[25])
    console.print(grid._render())
    assert "plain-158" in console.file.getvalue() and "and 24 rows more" in console.file.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    with watching(Console(file=io.StringIO())) as display:
        assert isinstance(display, Lines)
    with watching(Console(file=io.StringIO(), force_terminal=True)) as display:
        assert isinstance(display, Grid)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5000, "83 min"), (36_000, "10.0 h")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_percent():
    assert (percent(0.1234), percent(None)) == ("12.3 %", "–")
