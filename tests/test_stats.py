"""Estimates against scipy and against their promise: 95 % of the intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.stats import estimate


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=10), st.floats(0.5, 0.999))
def test_the_interval_is_scipys(values, confidence):
    found = estimate(values, confidence)
    spread = scipy_stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if spread > 1e-9:
        low, high = scipy_stats.t.interval(confidence, len(values) - 1, np.mean(values), spread)
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
