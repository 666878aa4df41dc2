"""Looks: their schedule, and that what they spend together is never more than there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import looks


@pytest.mark.parametrize(
    ("planned", "expected"), [(1, [2, 3, 5, 8]), (2, [2, 3, 5, 8]), (3, [3, 5, 8, 12, 18, 27]), (10, [10, 15, 23])]
)
def test_each_look_has_half_as_many_seeds_again(planned, expected):
    assert list(itertools.islice(looks.schedule(planned), len(expected))) == expected


@given(st.integers(1, 50), st.integers(0, 400))
def test_looks_taken_and_the_next_are_the_schedule(planned, seeds):
    taken, following = looks.taken(planned, seeds), looks.next_look(planned, seeds)
    assert all(n <= seeds for n in taken) and following > seeds
    assert [*taken, following] == list(itertools.islice(looks.schedule(planned), len(taken) + 1))


def test_all_looks_together_spend_no_more_than_there_is():
    assert looks.share(1) == 0.5
    assert sum(map(looks.share, range(1, 50))) <= 1


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1))
def test_one_p_value_of_all_looks(p_values, further):
    found = looks.sequential(p_values)
    assert found == min([1.0, *(p * 2**k for k, p in enumerate(p_values, start=1))])
    assert looks.sequential([*p_values, further]) <= found  # what a look has shown, no later one takes back


def test_looking_repeatedly_keeps_the_error_rate():
    values = np.random.default_rng(1).normal(size=(4000, 27))
    sizes = looks.taken(3, 27)
    p = np.array([scipy_stats.ttest_1samp(values[:, :n], 0, axis=1, alternative="greater").pvalue for n in sizes])
    ever = np.mean([looks.sequential(column) <= 0.05 for column in p.T])
    assert ever <= 0.05 and np.mean((p <= 0.05).any(axis=0)) > 0.08  # which looking without spending does not


def test_seeds_needed_is_the_first_look_with_enough_power():
    asked = []

    def power(n, level):
        asked.append((n, level))
        return 0.79 if n < 12 else 0.8

    assert looks.seeds_needed(3, 3, 0.05, power) == 12
    assert asked == [(5, 0.05 / 4), (8, 0.05 / 8), (12, 0.05 / 16)]
    assert looks.seeds_needed(3, 7, 0.05, lambda _n, _level: 1.0) == 8
    assert looks.seeds_needed(3, 3, 0.05, lambda _n, _level: 0.0) is None


def test_the_chance_of_passing_two_bounds_is_a_lower_bound():
    one, both = looks.chance_of([1.0], 1.0), looks.chance_of([1.0, 1.0], 1.0)
    assert 0 <= both(8, 0.025) <= one(8, 0.025) <= 1
    assert both(8, 0.025) == pytest.approx(max(0, 2 * one(8, 0.025) - 1))
    assert looks.chance_of([0.1, 0.1], 5.0)(3, 0.01) == 0.0
