"""Evidence: which seeds are compared, how they are paired, and what becomes of those diverged, failed or missing."""

import pytest
from synthetic import a_cell, a_net

from bench.cell import Arch, Cell, Recipe
from bench.claim import Claim, comparisons
from bench.evidence import gather
from bench.run import DIVERGED, FAILED, OUT_OF_MEMORY, TESTS

PLAIN, RESIDUAL = a_cell(8, "none"), a_cell(8, "A")
LEFT, RIGHT = {"shortcut": ("none",)}, {"shortcut": ("A",)}


def gathered(left, right, planned=((0, 1, 2), (0, 1, 2)), metric="train_error", column="final_train_error"):
    """Evidence from the values of both sides by seed."""
    nets = [a_net(PLAIN, left, column), a_net(RESIDUAL, right, column)]
    (comparison,) = comparisons(Claim("x", LEFT, RIGHT, metric=metric), [PLAIN, RESIDUAL])
    return gather(
        comparison, {net.cells[0].net: net for net in nets}, dict(zip((PLAIN.net, RESIDUAL.net), planned, strict=True))
    )


def of(*values, first=0):
    return dict(enumerate(values, start=first))


def test_values_are_in_points_and_paired_by_seed():
    found = gathered({2: 0.3, 0: 0.1, 1: 0.2}, {1: 0.02, 2: 0.03, 0: 0.01})
    assert found.looks == (((10.0, 20.0, 30.0), (1.0, 2.0, 3.0)),)
    assert (found.paired, found.planned, found.seeds, found.because, found.notes) == (True, 3, 3, "", ())


def test_each_look_adds_seeds_to_the_last():
    values = of(*(0.01 * k for k in range(9)))
    found = gathered(values, values)
    assert [len(left) for left, _ in found.looks] == [3, 5, 8] and found.seeds == 9
    assert all(left[:3] == found.looks[0][0] for left, _ in found.looks)


def test_seeds_that_only_one_side_has_do_not_count():
    found = gathered(of(*[0.1] * 9), of(*[0.1] * 5))
    assert [len(left) for left, _ in found.looks] == [3, 5]
    found = gathered(of(*[0.1] * 5), of(0.5, 0.6, 0.7), planned=((0, 1, 2, 3, 4), (0, 1, 2)))
    assert found.looks == (((10.0, 10.0, 10.0), (50.0, 60.0, 70.0)),) and found.paired


def test_the_order_of_seeds_is_the_same_from_both_sides():
    left, right = {5: 0.5, 6: 0.6, 0: 0.0}, {0: 0.1, 1: 0.2, 5: 0.7, 6: 0.8}
    one = gathered(left, right, planned=((5, 6), (0, 1, 5, 6)))
    other = gathered(right, left, planned=((0, 1, 5, 6), (5, 6)))
    assert [(r, left) for left, r in one.looks] == list(other.looks)
    assert one.looks[0] == ((50.0, 60.0), (70.0, 80.0))


def test_sides_without_common_seeds_are_independent_groups():
    found = gathered(of(0.1, 0.2, 0.4), of(0.5, 0.6, 0.7, first=10), planned=((0, 1, 2), (10, 11, 12)))
    assert not found.paired and found.looks == (((10.0, 20.0, 40.0), (50.0, 60.0, 70.0)),)
    uneven = gathered(of(0.1, 0.2, 0.4), of(0.5, 0.6, first=10), planned=((0, 1, 2), (10, 11)))
    assert uneven.looks == (((10.0, 20.0), (50.0, 60.0)),)


def test_a_seed_still_to_run_ends_the_looks():
    found = gathered(of(0.1, 0.2, 0.3, 0.4, None, 0.6), of(*[0.1] * 6))
    assert [len(left) for left, _ in found.looks] == [3] and found.seeds == 4


def test_missing_seeds_are_named():
    found = gathered(of(0.1, None, None), of(0.1, 0.2, 0.3))
    assert found.looks == () and found.because == "plain-8: 2 of 3 seeds not run"


@pytest.mark.parametrize("metric", ["train_error", *TESTS])
def test_a_diverged_net_has_the_worst_error_there_is(metric):
    column = {"train_error": "final_train_error"}.get(metric, metric)
    found = gathered(of(0.9, DIVERGED, 0.8), of(0.1, 0.1, 0.1), metric=metric, column=column)
    assert found.looks[0][0] == (90.0, 100.0, 80.0)
    assert found.notes == ("plain-8: 1 of 3 seeds diverged, taken as 100 %",)


def test_a_diverged_net_has_no_throughput():
    found = gathered(of(900, DIVERGED, 800), of(100, 100, 100), metric="images_per_second", column="images_per_second")
    assert found.looks == (((900.0, 800.0), (100.0, 100.0)),)
    assert found.notes == ("plain-8: 1 of 3 seeds diverged, left out",)


def test_failed_seeds_are_left_out_with_their_pair_and_named():
    found = gathered(of(0.1, FAILED, 0.3, 0.4, 0.5), of(0.5, 0.6, 0.7, OUT_OF_MEMORY, 0.9))
    assert found.looks == (((10.0, 30.0), (50.0, 70.0)), ((10.0, 30.0, 50.0), (50.0, 70.0, 90.0)))
    assert found.notes == ("plain-8: seed 1 failed, left out", "ResNet-8-A: seed 3 out-of-memory, left out")


def test_too_many_failures_are_untestable():
    found = gathered(of(0.1, FAILED, FAILED), of(0.5, 0.6, 0.7))
    assert found.looks == () and found.because == "plain-8: seed 1 failed, seed 2 failed"


def test_a_look_that_failures_left_empty_is_passed_over():
    found = gathered(of(FAILED, FAILED, 0.1, 0.2, 0.3), of(*[0.5] * 5))
    assert [effect and effect.n for effect in found.effects] == [None, 3]


@pytest.mark.parametrize("planned", [((0,), (0,)), ((0,), (0, 1, 2))])
def test_one_seed_is_untestable(planned):
    found = gathered(of(0.9), of(*[0.1] * len(planned[1])), planned=planned)
    assert found.looks == () and "at least 2 are needed" in found.because


def test_values_that_are_not_there():
    found = gathered(of(*[float("nan")] * 3), of(*[0.1] * 3))
    assert found.looks == () and found.because == "the seeds there have no such value"


def test_against_a_published_figure():
    net = Cell(Arch(depth=20), Recipe(), "cifar10")
    claim = Claim("x", {"depth": (20,)}, "Table 6", metric="test_error", relation="within", margin=0.5)
    (comparison,) = comparisons(claim, [net])
    found = gather(comparison, {net.net: a_net(net, of(0.08, 0.09, 0.1), "final_test_error")}, {net.net: (0, 1, 2)})
    assert found.looks == (((8.0, 9.0, 10.0), (8.75, 8.75, 8.75)),)
    assert found.notes == ("recipe and data alike", "the published figure is taken as exact")
    assert found.effects[0].mean == pytest.approx(0.25)


def test_the_difference_from_the_papers_experiment_is_noted():
    net = Cell(Arch(depth=20), Recipe(iterations=100, drops=(50,), eval_every=10), "parquet:cifar10-jpeg")
    claim = Claim("x", {"depth": (20,)}, "Table 6", metric="test_error", relation="within", margin=0.5)
    (comparison,) = comparisons(claim, [net])
    found = gather(comparison, {net.net: a_net(net, of(0.3, 0.4), "final_test_error")}, {net.net: (0, 1)})
    assert found.notes[0].startswith("not the paper's experiment: images of parquet:cifar10-jpeg")
    assert "iterations 100 (paper: 64,000)" in found.notes[0]
