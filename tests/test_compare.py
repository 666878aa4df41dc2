"""Two sides: which nets belong together, what changed, and by how much, against numbers by hand."""

from dataclasses import replace

import pytest
from scipy import stats as scipy_stats
from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench import compare, run
from bench.errors import InputError
from bench.store import Store

SHORT = replace(RECIPE, iterations=50, drops=(25,), eval_every=25)


@pytest.fixture
def side(tmp_path):
    """A results folder of {(depth, shortcut, recipe): errors by seed}; None for a diverged seed."""

    def make(name, errors, host=None, **fields):
        store, host = Store(tmp_path / name), host or a_host()
        store.add_host(host)
        for (depth, shortcut, recipe), values in errors.items():
            for seed, error in values.items():
                cell = a_cell(depth, shortcut, seed, recipe)
                curve = a_curve(cell, 0.9 if error is None else error)
                outcome = run.DIVERGED if error is None else run.DONE
                store.commit(cell, a_run(cell, curve, host, outcome=outcome, **fields), curve)
        return compare.of_folder(name, store)

    return make


def test_the_same_cells_in_two_folders(side):
    errors = {(8, "none", RECIPE): {0: 0.10, 1: 0.20, 2: 0.30}, (20, "A", RECIPE): {0: 0.1}}
    left = side("a", errors)
    right = side("b", errors | {(8, "none", RECIPE): {0: 0.11, 1: 0.22, 2: 0.33}}, torch_version="9.9")
    first, second = compare.pairs(left, right)
    change = first.change("final_train_error")
    low, high = scipy_stats.t.interval(0.95, 2, 0.02, scipy_stats.sem([0.01, 0.02, 0.03]))
    assert (change.low, change.high, change.n) == (pytest.approx(low), pytest.approx(high), 3)
    assert second.change("final_train_error").half_width is None  # one seed
    assert compare.identical(left, right) == (4, 1)
    assert [(what, b) for what, _, b in compare.changes(left, right)] == [("torch", "9.9")]


def test_studies_that_differ_in_recipe_and_seeds(side):
    left = side("a", {(d, s, RECIPE): {0: 0.1, 1: 0.2} for d in (8, 20) for s in ("none", "A")})
    right = side("b", {(d, "none", SHORT): {5: 0.5, 6: 0.7} for d in (20, 56)}, a_host(cpu="Another"))
    (pair,) = compare.pairs(left, right)
    assert (pair.left.label, pair.right.label) == ("plain-20", "plain-20")
    found = pair.change("final_train_error")
    expected = scipy_stats.ttest_ind([0.5, 0.7], [0.1, 0.2], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    changes = {what: (a, b) for what, a, b in compare.changes(left, right)}
    assert changes["iterations"] == ("100", "50") and changes["drops"] == ("50, 75", "25")
    assert changes["host: cpu"] == ("Imagined CPU", "Another") and "seed" not in changes
    assert compare.unshared(left, right) == (["plain-8", "ResNet-8-A", "ResNet-20-A"], ["plain-56"])
    heads = [column.head for column in compare.results(left, right).columns]
    assert not any("images/s" in head for head in heads)  # unlike machines


def test_a_diverged_seed_is_the_worst(side):
    left = side("a", {(8, "none", RECIPE): {0: 0.1, 1: 0.1}})
    right = side("b", {(8, "none", RECIPE): {0: 0.1, 1: None}})
    (pair,) = compare.pairs(left, right)
    assert pair.change("final_train_error").mean == pytest.approx(0.45)
    assert pair.change("images_per_second") is None  # one value on the right says nothing of its spread


def test_variants_that_both_have_stay_apart(side):
    errors = {(8, "none", replace(RECIPE, lr=lr)): {0: lr, 1: lr} for lr in (0.1, 0.2)}
    found = compare.pairs(side("a", errors), side("b", errors))
    assert (
        [pair.left.cells[0].recipe.lr for pair in found]
        == [pair.right.cells[0].recipe.lr for pair in found]
        == [0.1, 0.2]
    )


def test_nothing_in_common_is_an_error(side):
    left, right = side("a", {(8, "none", RECIPE): {0: 0.1}}), side("b", {(20, "none", RECIPE): {0: 0.1}})
    with pytest.raises(InputError, match="have no net in common"):
        compare.results(left, right)
