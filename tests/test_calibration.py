"""Rates counted again by hand, with the rule written out as a stand-in for what a comparison says."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench import calibration
from bench.calibration import ANY, SLOWDOWNS, rates, regressions, spreads
from bench.regress import Rule

A, B = ("a", "cpu"), ("b", "cpu")
RULE = Rule()


def flat(level, n=6, wobble=0.001):
    """Pairs around a level, as good as without noise."""
    return [level + wobble * (-1) ** i for i in range(n)]


def test_spreads_are_about_the_truth():
    runs = [{A: [0.03, -0.01, None], B: [None, None]}, {A: [0.02, None, 0.0], B: [None]}]
    assert spreads(runs) == {A: pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.02**2) / 4))}
    slowed = [{A: [math.log(1.05) + 0.01, math.log(1.05) - 0.01]}]
    assert spreads(slowed, 0.05) == {A: pytest.approx(0.01)}
    assert spreads([]) == {}


def test_alarms_counted_by_hand():
    """Runs of one benchmark as good as without noise: an alarm is one of 5 % that the next run confirms."""
    levels = [0.0, 0.05, 0.06, 0.0, 0.05, 0.0, 0.0, 0.05]
    runs = [{A: flat(level)} for level in levels]
    found = rates(runs, RULE, dict.fromkeys((A,), 0.0))
    by_hand = sum(
        math.expm1(x) > 0.02 and math.expm1(y) > 0.02 for x, y in zip(levels, [*levels[1:], levels[0]], strict=True)
    )
    assert by_hand == 1
    assert found[A] == found[ANY]
    assert (found[A].runs, found[A].alarms) == (8, 1)
    exact = scipy_stats.binomtest(1, 8).proportion_ci(0.95, method="exact")
    assert (found[A].low, found[A].high) == pytest.approx((exact.low, exact.high))


def test_powers_counted_by_hand():
    """What is found of a slowdown: where run and next run are beyond the margin with it."""
    levels = [0.0, -0.015, 0.008, -0.04, 0.0]
    found = rates([{A: flat(level)} for level in levels], RULE, {A: 0.0})[A]
    for slowdown, power in zip(SLOWDOWNS, found.powers, strict=True):
        beyond = [level + math.log1p(slowdown) > math.log(1.02) + 0.0009 for level in levels]
        assert power == sum(a and b for a, b in zip(beyond, [*beyond[1:], beyond[0]], strict=True)) / 5
    assert found.powers == tuple(sorted(found.powers))


def test_any_is_any_of_them():
    runs = [
        {A: flat(0.05), B: flat(0.0)},
        {A: flat(0.05), B: flat(0.05)},
        {A: flat(0.0), B: flat(0.05)},
        {A: flat(0.0), B: flat(0.0)},
    ]
    assert [regressions(runs, number, RULE, {}, {}) for number in range(4)] == [{A, ANY}, {B, ANY}, set(), set()]
    found = rates(runs, RULE, {A: 0.0, B: 0.0})
    assert (found[A].alarms, found[B].alarms, found[ANY].alarms) == (1, 1, 2)


def test_a_benchmark_is_slowed_alone():
    """5 pairs cannot show one of two: no power, though both together would be shown. The whole has it."""
    runs = [{A: flat(0.0, 5), B: flat(0.0, 5)}] * 3
    found = rates(runs, RULE, {A: 0.0, B: 0.0})
    assert found[A].powers[-1] == found[B].powers[-1] == 0.0
    assert found[ANY].powers[-1] == 1.0
    alone = rates([{A: flat(0.0, 5)}] * 3, RULE, {A: 0.0})
    assert alone[A].powers[-1] == 1.0


def test_a_benchmark_is_slowed_by_each_of_its_clocks():
    wall = ("a", "wall")
    found = rates([{A: flat(0.0), wall: flat(0.0)}] * 2, RULE, {A: 0.0, wall: 0.0})
    assert found[A].powers == found[wall].powers == (0.0, 0.0, 1.0, 1.0, 1.0)


def test_injected_slowdowns_are_alarms_and_powers_are_in_their_place():
    """What was injected raises no margin, and what is added in its place is what would be added to equal code."""
    rng = np.random.default_rng(2)
    equal = [{A: list(rng.normal(0, 0.02, 8))} for _ in range(10)]
    slowed = [{A: [value + math.log1p(0.05) for value in run[A]]} for run in equal]
    plain = rates(equal, RULE, spreads(equal))[A]
    real = rates(slowed, RULE, spreads(slowed, 0.05), 0.05)[A]
    assert real.powers == plain.powers
    assert real.alarms / 10 == plain.powers[SLOWDOWNS.index(0.05)] > 0.5


def test_noise_widens_the_margin():
    runs = [{A: flat(0.03)}] * 4
    assert rates(runs, RULE, {A: 0.0})[A].alarms == 4
    assert rates(runs, RULE, {A: 0.06})[A].alarms == 0


def test_invalid_pairs_and_what_one_run_lacks():
    runs = [{A: [None] * 6, B: flat(0.05)}, {B: flat(0.05)}]
    found = rates(runs, RULE, spreads(runs) | {B: 0.0})
    assert set(found) == {B, ANY} and found[B].alarms == 2


def test_equal_code_under_noise_raises_as_many_alarms_as_a_comparison():
    """Confirmed by the next run's pairs, which are independent of this one's, each is as likely as with pairs of its
    own: simulated with both, on noise so heavy and a margin so low that there are alarms to count."""
    rule, rng, n = Rule(margin=0.0001, level=0.2, confidence=0.8), np.random.default_rng(7), 1500
    runs = [{A: list(rng.normal(0, 0.1, 6))} for _ in range(n)]
    by_next = rates(runs, rule, {A: 0.0})[A].alarms
    fresh = [{A: list(rng.normal(0, 0.1, 6))} for _ in range(n)]
    by_fresh = sum(A in regressions([run, again], 0, rule, {}, {}) for run, again in zip(runs, fresh, strict=True))
    expected = 0.2 * n * 0.2  # both one-sided bounds above nothing, at 0.8; the margin is as good as none
    assert by_next == pytest.approx(expected, rel=0.35) and by_fresh == pytest.approx(expected, rel=0.35)


def test_slowdowns_are_those_of_the_page():
    assert calibration.SLOWDOWNS[:4] == (0.01, 0.02, 0.03, 0.05)


def test_resampling_equal_code_finds_what_its_noise_makes_of_it(monkeypatch):
    """Rounds in which head is always slower by 10 %: that five, and five again, are all on one side is chance."""
    monkeypatch.setattr(calibration, "RESAMPLED", 20_000)
    runs = [{A: [0.1] * 5}] * 2
    found = calibration.rates(runs, Rule(), {A: 0.0})[A]
    assert found.alarms == 2 and found.powers[-1] == 1.0
    assert found.resampled == pytest.approx(2.0**-10, abs=4 * (2.0**-10 / 20_000) ** 0.5)
