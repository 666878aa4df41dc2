"""Steps are found where they were put, and noise gives none: series drawn here, p-values against random orders."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import steps
from bench.steps import SHORTEST, Step, change_points


def normal(rng, n):
    return rng.standard_normal(n)


def student(rng, n):
    return rng.standard_t(3, n)


def bursts(rng, n):
    """Normal noise, and in 3 % of places a log-normal slowdown that lasts three values."""
    return rng.standard_normal(n) + (np.convolve(rng.random(n) < 0.03, np.ones(3))[:n] > 0) * rng.lognormal(1, 1, n)


def correlated(rng, n):
    """AR(1) with correlation 0.3 and variance 1."""
    noise = rng.standard_normal(n) * np.r_[1.0, np.full(n - 1, math.sqrt(1 - 0.3**2))]
    return np.array(list(itertools.accumulate(noise, lambda before, new: 0.3 * before + new)))


def stepped(rng, *levels_and_lengths, noise=normal):
    levels = np.concatenate([np.full(length, float(level)) for level, length in levels_and_lengths])
    return levels + noise(rng, len(levels))


@pytest.mark.parametrize(("noise", "most"), [(normal, 7), (student, 7), (bursts, 18), (correlated, 18)])
@pytest.mark.parametrize("n", [10, 30, 100, 300])
def test_noise_gives_no_steps(noise, most, n):
    """In 10,000 values 1 false step is expected, 5 of bursts or correlated values: so many have a chance of 10⁻⁵."""
    rng = np.random.default_rng(n)
    assert sum(len(change_points(noise(rng, n))) for _ in range(10_000 // n)) <= most


@pytest.mark.parametrize("noise", [normal, student, bursts, correlated])
def test_steps_in_noise_are_found_where_they_are(noise):
    for seed in range(10):
        found = change_points(stepped(np.random.default_rng(seed), (0, 60), (5, 40), (0, 40), (5, 50), noise=noise))
        places = [step.index for step in found]
        for place in (60, 100, 140):
            assert min(abs(place - other) for other in places) <= 5  # a burst can adjoin a step
        assert len(places) <= 4


@pytest.mark.parametrize("slope", [0.1, 0.3, 1.0])
def test_a_creep_is_a_staircase(slope):
    series = slope * np.arange(100) + np.random.default_rng(1).standard_normal(100)
    found = change_points(series)
    assert len(found) >= 2 and all(step.after > step.before for step in found)


def test_a_clear_step_is_located_exactly():
    for seed in range(20):
        found = change_points(stepped(np.random.default_rng(seed), (0, 40), (50, 30), (0, 20)))
        assert [step.index for step in found] == [40, 70]


def test_a_level_that_comes_back_is_two_steps():
    found = change_points(stepped(np.random.default_rng(1), (0, 200), (4, 12), (0, 200)))
    assert [step.index for step in found] == pytest.approx([200, 212], abs=1)


def test_a_step_is_its_segments_medians():
    rng = np.random.default_rng(3)
    series = stepped(rng, (0, 30), (6, 20), (-3, 25))
    first, second = change_points(series)
    assert (first.index, second.index) == (30, 50)
    assert (first.before, first.after) == (np.median(series[:30]), np.median(series[30:50]))
    assert (second.before, second.after) == (np.median(series[30:50]), np.median(series[50:]))
    assert max(first.p, second.p) < 1e-5


@pytest.mark.parametrize("spikes", [1, 3])
def test_outliers_are_no_step_and_hide_none(spikes):
    rng = np.random.default_rng(5)
    steady, moved = stepped(rng, (0, 80)), stepped(rng, (0, 40), (4, 40))
    for series in (steady, moved):
        series[20 : 20 + spikes] = 1e6
    assert change_points(steady) == []
    assert [step.index for step in change_points(moved)] == pytest.approx([40], abs=2)


def test_levels_without_noise():
    assert change_points([2.0] * 50) == []
    assert [(s.index, s.before, s.after) for s in change_points([0.1 + 0.2] * 7 + [0.3] * 7)] == [(7, 0.1 + 0.2, 0.3)]
    assert [step.index for step in change_points([0.0] * 20 + [1.0] * 20 + [0.0] * 6)] == [20, 40]


@pytest.mark.parametrize("n", range(13))
def test_too_few_values_have_no_step(n):
    assert change_points([0.0] * (n // 2) + [9.0] * (n - n // 2)) == []


def test_values_that_are_not_finite_are_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            change_points([0.0] * 20 + [value])


@settings(max_examples=40)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6), st.integers(0, 99), st.floats(0.001, 0.05))
def test_what_holds_for_every_series(levels, seed, level):
    series = stepped(np.random.default_rng(seed), *((height, 12) for height in levels))
    found = change_points(series, level)
    edges = [0, *(step.index for step in found), len(series)]
    assert min(np.diff(edges)) >= SHORTEST
    assert all(0 < step.p <= level for step in found)
    assert all(left.after == right.before for left, right in itertools.pairwise(found))
    assert change_points(list(series), level) == found
    shapes = [(step.index, step.p) for step in found]
    assert [(step.index, step.p) for step in change_points(series * 4, level)] == shapes
    mirrored = change_points(-series, level)
    assert [step.index for step in mirrored] == [step.index for step in found]


def test_the_statistic_is_the_largest_standardised_sum():
    """Against the sums written out, and their variance over every order of six values."""
    rng = np.random.default_rng(0)
    series = rng.standard_normal(17)
    scores = steps._scores(series)
    assert scores.mean() == pytest.approx(0) and scores.var(ddof=1) == pytest.approx(1)
    assert list(scores.argsort()) == list(series.argsort())
    expected = [abs(sum(scores[:k])) / math.sqrt(k * (17 - k) / 17) for k in range(SHORTEST, 17 - SHORTEST + 1)]
    assert list(steps._standardised(scores)) == pytest.approx(expected)
    six = steps._scores(series[:6])
    for k in range(1, 6):
        sums = [sum(order[:k]) for order in itertools.permutations(six)]
        assert np.var(sums) == pytest.approx(k * (6 - k) / 6)


def test_ties_share_their_score():
    scores = steps._scores(np.array([3.0, 1.0, 3.0, 2.0, 3.0]))
    assert scores[0] == scores[2] == scores[4] > scores[3] > scores[1]


def test_the_partition_is_the_best_of_all():
    """Against every partition of 17 values into segments of 5 and more."""
    for seed in range(20):
        scores = steps._scores(stepped(np.random.default_rng(seed), (0, 6), (5, 5), (0, 6)))
        candidates = [
            places
            for size in range(3)
            for places in itertools.combinations(range(1, 17), size)
            if min(np.diff([0, *places, 17])) >= SHORTEST
        ]
        costs = [
            sum(np.var(part) * len(part) for part in np.split(scores, places)) + len(places) * steps.PENALTY
            for places in candidates
        ]
        assert tuple(steps._proposed(scores)) == candidates[int(np.argmin(costs))]


@pytest.mark.parametrize("n", [20, 100, 400])
def test_p_values_are_kept_by_random_orders(n):
    """Of series that never change, at most a share p has a p of p or less; the formula's is near it for long ones."""
    rng, count = np.random.default_rng(n), 4000
    orders = rng.permuted(np.tile(steps._scores(np.arange(float(n))), (count, 1)), axis=1)
    highest = np.sort(steps._standardised(orders).max(axis=1))
    for share in (0.01, 0.03):
        formula = steps._tail(float(highest[round(count * (1 - share))]), n)
        assert share * 0.8 < formula < share * (1.6 if n >= 100 else 4)


def test_the_drawn_p_value_is_the_share_of_orders():
    series = stepped(np.random.default_rng(2), (0, 12), (1.8, 6))
    place, p = steps._test(series, 1e-9)
    scores = steps._scores(series)
    highest = steps._standardised(scores).max() / math.sqrt(steps._inflation(scores, place))
    drawn = np.random.default_rng(77).permuted(np.tile(scores, (40_000, 1)), axis=1)
    share = (steps._standardised(drawn).max(axis=1) >= highest).mean()
    assert p < steps._tail(highest, len(series))
    assert p == pytest.approx(share, abs=5 * math.sqrt(share / steps.DRAWS))


def test_correlation_asks_for_more():
    rng = np.random.default_rng(8)
    found = [steps._inflation(steps._scores(correlated(rng, 400)), 200) for _ in range(50)]
    assert np.mean(found) == pytest.approx(1.3 / 0.7, abs=0.15)
    assert np.mean([steps._inflation(steps._scores(normal(rng, 400)), 200) for _ in range(50)]) < 1.1


def test_a_thousand_values_with_many_steps():
    rng = np.random.default_rng(2)
    levels = np.cumsum(rng.choice([-5, 5], 20))
    found = change_points(stepped(rng, *((level, 50) for level in levels)))
    assert [step.index for step in found] == pytest.approx(range(50, 1000, 50), abs=2)
    assert all(isinstance(step, Step) for step in found)
