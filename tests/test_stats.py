"""Estimates and tests against scipy, literal loops, and against their promise."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import stats
from bench.stats import estimate

VALUES = st.floats(-1e3, 1e3)


def samples(least=2, most=10):
    return st.lists(VALUES, min_size=least, max_size=most)


def spread(values):
    return np.std(values) > 1e-6


@given(samples(), st.floats(0.5, 0.999))
def test_the_interval_is_scipys(values, confidence):
    found = estimate(values, confidence)
    error = scipy_stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if error > 1e-9:
        low, high = scipy_stats.t.interval(confidence, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


def test_a_closed_form():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.302652729749 / 3**0.5)


def test_few_values():
    assert estimate([]) is None
    assert estimate([0.5]).half_width is None
    assert (estimate([0.5]).low, estimate([0.5]).high) == (0.5, 0.5)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coverage_of_simulated_samples(n):
    rng = np.random.default_rng(n)
    hits = [found.low <= 7 <= found.high for found in (estimate(sample) for sample in rng.normal(7, 2, (4000, n)))]
    assert np.mean(hits) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
def test_the_standard_deviation_is_that_of_exact_fractions(values):
    assert stats.standard_deviation(values) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-6)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=10), st.floats(0.5, 0.999))
def test_paired_is_scipys_ttest_rel(pairs, confidence):
    left, right = zip(*pairs, strict=True)
    differences = [a - b for a, b in pairs]
    if not spread(differences):
        return
    found = stats.paired(differences)
    above = scipy_stats.ttest_rel(left, right, alternative="greater")
    assert (found.df, found.n) == (len(pairs) - 1, len(pairs))
    assert found.p_above(0) == pytest.approx(above.pvalue, rel=1e-6, abs=1e-12)
    assert found.p_below(0) == pytest.approx(1 - above.pvalue, rel=1e-6, abs=1e-9)
    theirs = scipy_stats.ttest_rel(left, right).confidence_interval(confidence)
    assert found.interval(confidence) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-6)


@given(samples(), VALUES)
def test_against_a_constant_it_is_ttest_1samp(values, constant):
    if not spread(values):
        return
    found = stats.paired([value - constant for value in values])
    below = scipy_stats.ttest_1samp(values, constant, alternative="less")
    assert found.p_below(0) == pytest.approx(below.pvalue, rel=1e-6, abs=1e-12)
    assert stats.paired(values).p_below(constant) == pytest.approx(below.pvalue, rel=1e-5, abs=1e-9)


@given(samples(), samples())
def test_welch_is_scipys(left, right):
    if not (spread(left) and spread(right)):
        return
    found = stats.welch(left, right)
    theirs = scipy_stats.ttest_ind(left, right, equal_var=False, alternative="greater")
    assert found.p_above(0) == pytest.approx(theirs.pvalue, rel=1e-5, abs=1e-12)
    assert found.df == pytest.approx(theirs.df, rel=1e-6)
    interval = theirs.confidence_interval(0.9)  # one-sided: the lower end of the two-sided 80 % interval
    assert found.interval(0.8)[0] == pytest.approx(interval.low, rel=1e-5, abs=1e-6)


def test_welch_where_one_side_does_not_vary_is_a_test_of_the_other():
    found, alone = stats.welch([1.0, 2.0, 4.0], [1.0, 1.0, 1.0]), stats.paired([0.0, 1.0, 3.0])
    assert (found.mean, found.standard_error, found.df) == pytest.approx((alone.mean, alone.standard_error, alone.df))


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_values_that_do_not_vary_have_the_floor_of_the_exact_test(n):
    for effect in (stats.paired([2.5] * n), stats.welch([3.5] * n, [1.0] * n), stats.paired([0.1 + 0.2 + 2.2] * n)):
        assert not effect.varies
        assert effect.p_above(1.0) == 2.0**-n and effect.p_below(1.0) == 1.0
        assert effect.p_above(2.5) == 1.0 and effect.p_below(2.5) == 1.0  # on the bound, but for rounding
        assert effect.p_below(3.0) == 2.0**-n
    assert stats.sign_flip([2.5] * n, 1.0) == 2.0**-n


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=7), st.integers(-5, 5))
def test_sign_flips_counted_one_by_one(differences, bound):
    centred = [value - bound for value in differences]
    flips = itertools.product((1, -1), repeat=len(centred))
    at_least = sum(sum(s * c for s, c in zip(signs, centred, strict=True)) >= sum(centred) for signs in flips)
    assert stats.sign_flip(differences, bound) == pytest.approx(at_least / 2 ** len(centred))


@given(
    st.lists(st.integers(-20, 20), min_size=2, max_size=4),
    st.lists(st.integers(-20, 20), min_size=2, max_size=4),
    st.integers(-5, 5),
)
def test_permutations_counted_one_by_one(left, right, bound):
    pooled, n = [*(value - bound for value in left), *right], len(left)

    def statistic(chosen):  # the difference of means, times n1 · n2: whole numbers
        first = sum(pooled[i] for i in chosen)
        return first * len(right) - (sum(pooled) - first) * n

    splits = list(itertools.combinations(range(len(pooled)), n))
    at_least = sum(statistic(split) >= statistic(range(n)) for split in splits)
    assert stats.permutation(left, right, bound) == pytest.approx(at_least / math.comb(len(pooled), n))


def test_exact_tests_give_up_where_arrangements_are_too_many():
    assert stats.sign_flip([1.0] * 40, 0) == 2.0**-40 and stats.sign_flip([1.0] * 41, 0) is None
    assert stats.permutation([1.0] * 10, [0.0] * 10, 0) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0.001, 0.999))
def test_holm_is_closed_testing_with_bonferroni(p_values, level):
    """A hypothesis is rejected iff Bonferroni rejects every intersection that contains it (Marcus et al. 1976)."""
    m = len(p_values)
    groups = [group for size in range(1, m + 1) for group in itertools.combinations(range(m), size)]
    adjusted = [max(min(1.0, len(g) * min(p_values[i] for i in g)) for g in groups if h in g) for h in range(m)]
    assert stats.holm(p_values) == pytest.approx(adjusted)
    assert [p <= level for p in stats.holm(p_values)] == [p <= level for p in adjusted]


def test_holm_of_nothing_and_a_textbook_case():
    assert stats.holm([]) == []
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_is_scipys(p_values):
    theirs = scipy_stats.false_discovery_control(p_values, method="bh")
    assert stats.benjamini_hochberg(p_values) == pytest.approx(list(theirs), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_benjamini_hochberg_rejects_up_to_the_last_below_the_line(p_values, rate):
    """The procedure as its authors state it: the largest i with p₍ᵢ₎ ≤ i q / m, and all before it."""
    m, ordered = len(p_values), sorted(p_values)
    if any(abs(p * m / (i + 1) - rate) < 1e-9 for i, p in enumerate(ordered)):  # on the line, but for rounding
        return
    last = max((i for i, p in enumerate(ordered) if p <= (i + 1) * rate / m), default=-1)
    rejected = [adjusted <= rate for adjusted in stats.benjamini_hochberg(p_values)]
    assert rejected == [last >= 0 and p <= ordered[last] for p in p_values]


@given(st.lists(st.floats(0, 1), max_size=12), st.randoms())
def test_benjamini_hochberg_lies_between_none_and_holm(p_values, random):
    adjusted = stats.benjamini_hochberg(p_values)
    for p, ours, holms in zip(p_values, adjusted, stats.holm(p_values), strict=True):
        assert p <= ours <= holms + 1e-12 and ours <= 1
    order = random.sample(range(len(p_values)), len(p_values))
    assert stats.benjamini_hochberg([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_benjamini_hochberg_of_a_textbook_case():
    assert stats.benjamini_hochberg([]) == []
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_clopper_pearson_is_scipys(n, share, confidence):
    successes = round(share * n)
    theirs = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    assert stats.clopper_pearson(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    above = scipy_stats.binomtest(successes, n, alternative="less").proportion_ci(confidence, method="exact")
    assert stats.proportion_bound(successes, n, confidence) == pytest.approx(above.high, abs=1e-9)


@given(st.integers(1, 10_000), st.floats(0.5, 0.999))
def test_a_proportion_never_seen_and_always_seen(n, confidence):
    alpha = 1 - confidence
    assert stats.proportion_bound(0, n, confidence) == pytest.approx(1 - alpha ** (1 / n), rel=1e-6)
    assert stats.proportion_bound(n, n, confidence) == 1
    assert stats.clopper_pearson(0, n, confidence) == (0, pytest.approx(1 - (alpha / 2) ** (1 / n), rel=1e-6))
    assert stats.clopper_pearson(n, n, confidence) == (pytest.approx((alpha / 2) ** (1 / n), rel=1e-6), 1)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_clopper_pearson_covers_as_stated_whatever_the_proportion(n):
    """Coverage summed over the binomial distribution: no simulation."""
    intervals = [stats.clopper_pearson(k, n, 0.9) for k in range(n + 1)]
    bounds = [stats.proportion_bound(k, n, 0.9) for k in range(n + 1)]
    for proportion in np.linspace(0.001, 0.999, 97):
        chances = scipy_stats.binom.pmf(range(n + 1), n, proportion)
        both = sum(c for c, (low, high) in zip(chances, intervals, strict=True) if low <= proportion <= high)
        above = sum(c for c, bound in zip(chances, bounds, strict=True) if proportion <= bound)
        assert min(both, above) >= 0.9 - 1e-9


@given(st.floats(-3, 8), st.floats(0.1, 5), st.integers(2, 60), st.floats(1e-4, 0.2))
@example(-1.75, 0.1015625, 3, 1e-4)  # where scipy's nctdtr is nan
@example(-1.5, 0.5, 6, 1e-4)  # and here
def test_power_is_that_of_the_noncentral_t(shift, deviation, n, level):
    shift_size = shift * math.sqrt(n) / deviation
    expected = scipy_stats.nct.sf(scipy_stats.t.isf(level, n - 1), n - 1, shift_size)
    assert stats.power(shift, deviation, n, level) == pytest.approx(expected, abs=5e-3 if shift_size > 35 else 1e-6)


def test_power_by_simulation():
    rng = np.random.default_rng(4)
    for shift, n, level in ((1.0, 5, 0.025), (2.0, 3, 0.0125), (-0.5, 4, 0.1), (40.0, 2, 0.003)):
        values = rng.normal(shift, 1, (20_000, n))
        t = values.mean(axis=1) / (values.std(axis=1, ddof=1) / math.sqrt(n))
        share = float((t >= scipy_stats.t.isf(level, n - 1)).mean())
        assert stats.power(shift, 1.0, n, level) == pytest.approx(share, abs=0.015)


def test_power_without_spread_is_the_exact_tests():
    assert [stats.power(1.0, 0.0, n, 0.025) for n in (5, 6)] == [0.0, 1.0]
    assert stats.power(-1.0, 0.0, 9, 0.5) == 0.0
