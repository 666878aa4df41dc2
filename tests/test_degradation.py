"""The constructed-solution argument in numbers, against sums by hand."""

from dataclasses import replace

import pytest
from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench import run
from bench.degradation import optimisation
from bench.store import Store
from bench.summary import summaries


@pytest.fixture
def nets(tmp_path):
    """Of {depth: errors by seed}, None for a diverged one."""

    def make(errors: dict[int, list[float | None]], shortcut: str = "none"):
        store = Store(tmp_path / "results")
        store.add_host(a_host())
        cells = []
        for depth, values in errors.items():
            for seed, error in enumerate(values):
                cell = a_cell(depth, shortcut, seed)
                curve = a_curve(cell, 0.9 if error is None else error)
                outcome = run.DIVERGED if error is None else run.DONE
                store.commit(cell, a_run(cell, curve, outcome=outcome), curve)
                cells.append(cell)
        return summaries(cells, store)[0].nets

    return make


def test_excess_over_the_best_shallower_net(nets):
    found = optimisation(nets({8: [0.10, 0.12], 14: [0.04, 0.06], 20: [0.30, 0.50]}))
    assert [(entry.deep.depth, entry.shallow.depth) for entry in found] == [(14, 8), (20, 14)]
    better, worse = found
    assert better.excess.mean == pytest.approx(-0.06) and better.share == 0.0 and better.reached == "yes"
    # 0.26 and 0.44: mean 0.35, s = 0.1273, half-width 12.706 * 0.09 = 1.14
    assert worse.excess.mean == pytest.approx(0.35) and worse.excess.half_width == pytest.approx(
        12.7062 * 0.09, rel=1e-4
    )
    assert worse.share == pytest.approx(0.35 / 0.40) and worse.reached == "unclear"


def test_a_net_that_cannot_be_trained_is_told(nets):
    (entry,) = optimisation(nets({8: [0.02, 0.03, 0.025], 56: [0.85, 0.88, None]}))
    assert entry.error == pytest.approx((0.85 + 0.88 + 1.0) / 3)
    assert entry.reached == "no" and entry.share > 0.9


def test_relatives_share_kind_and_recipe_but_for_the_warm_up(tmp_path):
    store = Store(tmp_path / "results")
    store.add_host(a_host())

    cells = [
        a_cell(8),
        a_cell(20, recipe=replace(RECIPE, warmup="paper")),
        a_cell(20, "A"),
        a_cell(32, recipe=replace(RECIPE, lr=1)),
    ]
    for cell in cells:
        curve = a_curve(cell)
        store.commit(cell, a_run(cell, curve), curve)
    found = optimisation(summaries(cells, store)[0].nets)
    assert [(entry.deep.label, entry.shallow.label) for entry in found] == [("plain-20", "plain-8")]
    assert found[0].reached == "unclear"  # one seed


def test_nothing_without_deeper_nets(nets):
    assert optimisation(nets({8: [0.1, 0.2]})) == []
