"""The tables of docs/statistics.md: their form, and that the committed page has a place for each."""

import re
from concurrent.futures import Executor, Future

import numpy as np
import pytest
from conftest import ROOT

from bench import simulation, trials
from bench.trials import Outcome
from bench.verdict import SUPPORTED, UNDECIDED


class Here(Executor):
    """A pool of no process."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def _few(monkeypatch):
    experiment = trials.Experiment
    for module in (simulation, trials):
        monkeypatch.setattr(module, "Experiment", lambda *a, **k: experiment(*a, **(k | {"trials": 3})))


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("table", "rows"),
    [("once", 18), ("studies", 12), ("repeated", 10), ("unruly", 16), ("forecasts", 9)],
)
def test_tables_are_markdown_with_their_counts(table, rows):
    lines = getattr(simulation, table)(Here()).splitlines()
    grid = [line for line in lines if line.startswith("|")]
    assert len(grid) == rows + 2 and len({line.count("|") for line in grid}) == 1
    assert lines[-1].startswith("5,000 simulated studies a row")


def test_rates_have_their_binomial_standard_error():
    words = np.array([[SUPPORTED, UNDECIDED]] + [[UNDECIDED, UNDECIDED]] * 99)
    outcome = Outcome(words, words, words)
    assert simulation._share(outcome, SUPPORTED) == "0.5 ± 0.5"  # √(0.005 · 0.995 / 200)
    assert simulation._any(outcome, SUPPORTED) == "1.0 ± 1.0"
    assert simulation._any(outcome, SUPPORTED, slice(1, None)) == "0.0 ± 0.0"


def test_tables_are_written_between_their_markers_alone():
    page = "a\n<!-- table: one -->\nold\n<!-- end -->\nb \\1\n<!-- table: two -->\n<!-- end -->\nc"
    found = simulation.written(page, {"one": r"\1 new", "two": "2"})
    assert found == (
        "a\n<!-- table: one -->\n\n\\1 new\n<!-- end -->\nb \\1\n<!-- table: two -->\n\n2\n<!-- end -->\nc"
    )
    assert simulation.written(found, {"one": r"\1 new", "two": "2"}) == found


def test_the_committed_page_has_every_table():
    page = (ROOT / simulation.PAGE).read_text()
    assert re.findall(r"<!-- table: (\w+) -->", page) == ["once", "studies", "repeated", "unruly", "forecasts"]
    assert page.count("5,000 simulated studies a row") == 5
