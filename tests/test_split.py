"""Splits and stratified draws: exact, within one of each class's share, the same for good."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cell import Recipe
from bench.errors import FieldError
from bench.split import split, stratified

HOLDOUT_SHA256 = "af1098a0d464d73b2f3b09b2fdd8de672f1f0c83e5abada8b49973d93c352019"


def recipe(**fields):
    return Recipe(**{"iterations": 100, "drops": (), "eval_every": 10} | fields)


def label_lists(at_least=1):
    return st.lists(st.integers(0, 6), min_size=at_least, max_size=200).map(np.array)


@settings(deadline=None)
@given(labels=label_lists(at_least=2), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_holdout_is_exact_stratified_disjoint_and_deterministic(labels, seed, data):
    holdout = data.draw(st.integers(1, len(labels) - 1))
    train, validation = split(labels, recipe(split="holdout", split_seed=seed), holdout)
    assert len(validation) == holdout
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    shares = np.bincount(labels, minlength=7) * holdout / len(labels)
    assert np.all(np.abs(np.bincount(labels[validation], minlength=7) - shares) < 1)
    again = split(labels, recipe(split="holdout", split_seed=seed, batch=7, lr=0.3), holdout)
    assert np.array_equal(again.validation, validation)


def test_the_papers_holdout_of_cifar_is_balanced_and_fixed_for_good():
    labels = np.tile(np.arange(10), 5000)
    train, validation = split(labels, recipe(split="holdout"), 5000)
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    assert np.bincount(labels[train]).tolist() == [4500] * 10
    assert hashlib.sha256(validation.astype("<i8").tobytes()).hexdigest() == HOLDOUT_SHA256


def test_split_seeds_hold_out_different_images():
    labels = np.tile(np.arange(10), 100)
    drawn = [split(labels, recipe(split="holdout", split_seed=seed), 100).validation for seed in range(3)]
    for a, b in itertools.combinations(drawn, 2):
        assert 0 < len(np.intersect1d(a, b)) < 40  # 10 expected


def test_full_holds_nothing_out():
    train, validation = split(np.array([1, 0, 1]), recipe(split="full"), 1)
    assert (train.tolist(), validation.tolist()) == ([0, 1, 2], [])


@pytest.mark.parametrize("holdout", [0, 3, 4])
def test_a_training_set_too_small_to_hold_anything_out(holdout):
    with pytest.raises(FieldError, match="split = 'holdout' is not allowed; allowed: full, for a training set of 3"):
        split(np.zeros(3, np.int64), recipe(split="holdout"), holdout)


@settings(deadline=None)
@given(labels=label_lists(), fraction=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_stratified_draws_are_exact_and_within_one_of_each_share(labels, fraction, seed):
    count = int(fraction * len(labels))
    drawn = stratified(labels, count, seed)
    assert drawn.dtype == np.int64 and len(drawn) == count
    assert np.all(np.diff(drawn) > 0)  # ascending, so none is drawn twice
    assert count == 0 or (drawn[0] >= 0 and drawn[-1] < len(labels))
    shares = np.bincount(labels, minlength=7) * count / len(labels)
    assert np.all(np.abs(np.bincount(labels[drawn], minlength=7) - shares) < 1)
    assert np.array_equal(drawn, stratified(labels, count, seed))


def test_largest_remainders_are_rounded_up():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    assert np.bincount(labels[stratified(labels, 3, 0)]).tolist() == [1, 1, 1]  # shares 1.5, 0.9, 0.6
    assert np.bincount(labels[stratified(labels, 5, 0)]).tolist() == [3, 1, 1]  # shares 2.5, 1.5, 1: a tie


def test_every_member_is_drawn_as_often_as_the_others():
    labels = np.repeat([0, 1], [20, 20])
    times = np.bincount(np.concatenate([stratified(labels, 10, seed) for seed in range(2000)]), minlength=40)
    assert times.sum() == 20_000
    chi_square = ((times - 500) ** 2 / (500 * 0.75)).sum()  # binomial variance; about 38 degrees of freedom
    assert chi_square < 80
