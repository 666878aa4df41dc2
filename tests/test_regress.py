"""The rule's conditions one by one, against scipy; what it says of noise and of true slowdowns, by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import regress
from bench.regress import Finding, Rule, agrees, candidates, judge, settled
from bench.ruling import IMPROVEMENT, INCONCLUSIVE, REGRESSION, STEADY

A, B = ("a", "cpu"), ("b", "cpu")
RULE = Rule()
pairs_of = st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=14)


def only(values, rule=RULE, spread=None):
    """The finding on one benchmark."""
    return judge({A: values}, rule, {A: spread} if spread else None)[A]


def around(mean, spread, n=12):
    """Values of this mean and sample standard deviation."""
    shape = scipy_stats.norm.ppf((np.arange(n) + 0.5) / n)
    return list(mean + spread * shape / shape.std(ddof=1))


@given(pairs_of)
def test_numbers_are_those_of_textbooks(values):
    found = only(values)
    n = len(values)
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(n)
    reach = scipy_stats.t.ppf(0.95, n - 1) * error
    expected = [math.expm1(value) for value in (mean, mean - reach, mean + reach)]
    assert [found.change, found.low, found.high] == pytest.approx(expected, abs=1e-9)
    assert (found.pairs, found.invalid, found.margin, found.confirmed) == (n, 0, 0.02, None)


@settings(max_examples=25)
@given(st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=9))
def test_the_p_value_is_the_share_of_all_flips_of_signs(values):
    flips = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    observed, slack = sum(values), 1e-12 * sum(map(abs, values))
    found = only(values)
    assert found.p_slower == pytest.approx(np.mean([flip >= observed - slack for flip in flips]))
    assert found.p_faster == pytest.approx(np.mean([flip <= observed + slack for flip in flips]))


@pytest.mark.parametrize(
    ("mean", "ruling"), [(0.034, REGRESSION), (0.031, INCONCLUSIVE), (-0.034, IMPROVEMENT), (0.0, STEADY)]
)
def test_the_bound_must_pass_the_margin(mean, ruling):
    """The bound lies 0.0130 from the mean: t(11, 0.95) = 1.796, and 0.025/√12."""
    found = only(around(mean, 0.025))
    assert found.ruling == ruling
    assert max(found.p_slower, found.p_faster) > 0.5 and (mean == 0 or min(found.p_slower, found.p_faster) < 0.01)
    assert (found.low > 0.02) == (ruling == REGRESSION) and (math.log1p(found.high) < -math.log1p(0.02)) == (
        ruling == IMPROVEMENT
    )


def test_the_sign_flip_test_must_bear_it_out():
    """Of 5 pairs p is 1/32 at least, which is too much for one of two: but what could not be shown is no pass."""
    slower, same = around(0.3, 0.01, 5), around(0.0, 0.01, 5)
    assert only(slower).ruling == REGRESSION
    found = judge({A: slower, B: same}, RULE)
    assert (found[A].ruling, found[A].p_slower) == (INCONCLUSIVE, 2 / 32)
    assert found[B].ruling == STEADY
    quiet = judge({A: around(0.03, 0.001, 5), B: same}, RULE)[A]
    assert 0.02 < quiet.low < quiet.high < 0.04 and quiet.ruling == INCONCLUSIVE
    assert {f.ruling for f in judge({A: slower, B: slower}, RULE).values()} == {REGRESSION}


@given(st.integers(1, 300), st.floats(0.001, 0.2))
def test_the_fewest_pairs_can_show_one_slower_benchmark_and_fewer_cannot(benchmarks, level):
    least = Rule(level=level).least_pairs(benchmarks)
    assert benchmarks * 0.5**least <= level * (1 + 1e-9)
    assert least == regress.LEAST_PAIRS or benchmarks * 0.5 ** (least - 1) > level


def test_p_values_are_adjusted_over_the_benchmarks_of_one_clock():
    rng = np.random.default_rng(1)
    ratios = {(name, clock): list(rng.normal(0.01, 0.02, 10)) for name in "abcd" for clock in ("cpu", "wall")}
    together = judge(ratios, RULE)
    for clock in ("cpu", "wall"):
        alone = [only(ratios[name, clock]) for name in "abcd"]
        for side in ("p_slower", "p_faster"):
            adjusted = scipy_stats.false_discovery_control([getattr(found, side) for found in alone])
            assert [getattr(together[name, clock], side) for name in "abcd"] == pytest.approx(list(adjusted))


@given(st.lists(pairs_of, min_size=1, max_size=4))
def test_an_improvement_is_the_mirror_image(rows):
    ratios = {(str(i), "cpu"): row for i, row in enumerate(rows)}
    mirrored = {key: [-value for value in row] for key, row in ratios.items()}
    there, back = judge(ratios, RULE), judge(mirrored, RULE)
    for key, found in there.items():
        other = back[key]
        assert (found.ruling == REGRESSION) <= (other.ruling == IMPROVEMENT)
        assert (found.p_slower, found.p_faster) == (other.p_faster, other.p_slower)
        assert math.log1p(found.change) == pytest.approx(-math.log1p(other.change), abs=1e-12)
        assert math.log1p(found.low) == pytest.approx(-math.log1p(other.high), abs=1e-12)


@given(pairs_of, st.floats(0.001, 0.3))
def test_slower_pairs_never_help_head(values, more):
    order = [IMPROVEMENT, STEADY, INCONCLUSIVE, REGRESSION]
    before, after = only(values), only([value + more for value in values])
    assert order.index(before.ruling) <= order.index(after.ruling)


def test_inconclusive_by_too_many_invalid_pairs():
    slow = around(0.3, 0.01, 12)
    enough = [*slow[:8], *[None] * 4]  # 8 of 12 valid is more than 0.6
    assert (only(enough).ruling, only(enough).pairs, only(enough).invalid) == (REGRESSION, 8, 4)
    few = [*slow[:7], *[None] * 5]
    assert only(few) == Finding(INCONCLUSIVE, 7, 5, 0.02)
    assert only(slow[:4]) == Finding(INCONCLUSIVE, 4, 0, 0.02)
    assert only([None] * 12) == Finding(INCONCLUSIVE, 0, 12, 0.02)
    assert judge({}, RULE) == {}


def test_what_cannot_be_judged_does_not_count_against_the_others():
    slow = around(0.3, 0.01, 5)
    assert judge({A: slow, B: [None] * 5}, RULE)[A].ruling == REGRESSION


def test_inconclusive_by_too_wide_an_interval():
    """A slowdown of twice the margin is not excluded: not excluded is not a pass."""
    twice = math.expm1(2 * math.log1p(0.02))
    for spread, ruling in ((0.05, STEADY), (0.2, INCONCLUSIVE)):
        found = only(around(0.0, spread))
        assert found.ruling == ruling and (found.high < twice) == (ruling == STEADY)


def test_spreads_widen_the_margin():
    assert RULE.margin_on(None, 12) == RULE.margin_on(0.0, 12) == 0.02
    assert RULE.margin_on(0.01, 12) == 0.02  # 1.96 · 0.01/√12 is 0.0057
    assert RULE.margin_on(0.06, 12) == pytest.approx(math.expm1(1.96 * 0.06 / math.sqrt(12)))
    values = around(0.05, 0.01)
    assert only(values).ruling == REGRESSION
    assert only(values, spread=0.1).ruling == STEADY and only(values, spread=0.1).margin == pytest.approx(
        0.0582, abs=1e-4
    )
    assert judge({A: values, B: values}, RULE, {B: 0.1})[A].margin == 0.02


def a_finding(ruling, change, reach=0.01, margin=0.02):
    return Finding(ruling, 12, 0, margin, change, change - reach, change + reach, 0.001, 1.0)


@pytest.mark.parametrize(
    ("again", "stands", "else_"),
    [
        (a_finding(REGRESSION, 0.05), True, None),
        (a_finding(INCONCLUSIVE, 0.03), True, None),  # any slowdown is shown, and it is beyond the margin
        (a_finding(STEADY, 0.015), False, STEADY),  # shown, but within the margin
        (a_finding(INCONCLUSIVE, 0.05, reach=0.06), False, INCONCLUSIVE),  # beyond it, not shown: it is no pass
        (a_finding(STEADY, 0.0), False, STEADY),
        (a_finding(IMPROVEMENT, -0.05), False, INCONCLUSIVE),  # now the other way
        (Finding(INCONCLUSIVE, 2, 10, 0.02), False, INCONCLUSIVE),
        (None, False, INCONCLUSIVE),
    ],
)
def test_a_fresh_run_confirms_or_does_not(again, stands, else_):
    first = a_finding(REGRESSION, 0.05)
    found = settled({A: first, B: a_finding(STEADY, 0.0)}, {A: again} if again else {})
    assert found[A].confirmed is stands and found[A].ruling == (REGRESSION if stands else else_)
    assert found[A].change == (again if stands else first).change  # chosen for its size, the first is too large
    assert found[B] == a_finding(STEADY, 0.0)


def test_a_fresh_run_of_an_improvement_is_the_mirror_image():
    first = a_finding(IMPROVEMENT, -0.05)
    assert agrees(first, a_finding(INCONCLUSIVE, -0.03))
    assert not agrees(first, a_finding(STEADY, -0.0195))  # ln 0.9803 is not beyond -ln 1.02
    assert not agrees(first, a_finding(INCONCLUSIVE, -0.05, reach=0.06))
    assert not agrees(first, a_finding(REGRESSION, 0.05))
    assert settled({A: first}, {A: a_finding(STEADY, 0.0)})[A].ruling == STEADY


def test_candidates_are_what_changed():
    found = {A: a_finding(REGRESSION, 0.05), B: a_finding(STEADY, 0.0), ("c", "cpu"): a_finding(IMPROVEMENT, -0.05)}
    assert candidates(found) == [A, ("c", "cpu")]


NOISE = {
    "normal, 1 %": lambda rng, n: rng.normal(0, 0.01, n),
    "normal, 5 %": lambda rng, n: rng.normal(0, 0.05, n),
    "t of 3 degrees, 3 %": lambda rng, n: 0.03 * rng.standard_t(3, n),
    "Cauchy, 2 %": lambda rng, n: 0.02 * rng.standard_cauchy(n),
    "one in ten is disturbed": lambda rng, n: rng.normal(0, 0.01, n) + (rng.random(n) < 0.1) * rng.exponential(0.3, n),
}


def comparisons(draw, slowdown, seed, count=120, benchmarks=5, pairs=12, rule=RULE):
    """The rulings of whole comparisons, confirmed as they are; of every benchmark but the first head is as fast."""
    rng = np.random.default_rng(seed)
    found = []

    def taken(keys):
        return {key: list(draw(rng, pairs) + (math.log1p(slowdown) if key[0] == "0" else 0.0)) for key in keys}

    for _ in range(count):
        first = judge(taken([(str(i), "cpu") for i in range(benchmarks)]), rule)
        last = settled(first, judge(taken(candidates(first)), rule))
        found.append([last[str(i), "cpu"].ruling for i in range(benchmarks)])
    return found


@pytest.mark.parametrize("noise", NOISE)
def test_noise_alone_is_hardly_ever_a_regression(noise):
    """Goal: at most 1 % of verdicts; of 600, more than 12 has a chance of 1 % if 1 % it is."""
    rulings = [ruling for run in comparisons(NOISE[noise], 0.0, seed=3) for ruling in run]
    assert rulings.count(REGRESSION) <= 6 and rulings.count(IMPROVEMENT) <= 6


@pytest.mark.parametrize("noise", NOISE)
def test_a_slowdown_of_ten_percent_never_passes_whatever_the_noise(noise):
    rulings = [run[0] for run in comparisons(NOISE[noise], 0.10, seed=4)]
    assert rulings.count(STEADY) + rulings.count(IMPROVEMENT) <= 1
    if noise != "Cauchy, 2 %":
        assert rulings.count(REGRESSION) >= 0.9 * len(rulings)


def test_a_true_slowdown_is_found_where_it_is_beyond_the_margin():
    quiet, noisy = NOISE["normal, 1 %"], lambda rng, n: rng.normal(0, 0.03, n)
    assert [run[0] for run in comparisons(noisy, 0.05, seed=5)].count(REGRESSION) >= 0.8 * 120
    assert [run[0] for run in comparisons(quiet, 0.03, seed=5)].count(REGRESSION) >= 0.8 * 120
    finer = comparisons(lambda rng, n: rng.normal(0, 0.005, n), 0.02, seed=6, rule=Rule(margin=0.01))
    assert [run[0] for run in finer].count(REGRESSION) >= 0.95 * 120
    as_much_as_allowed = comparisons(lambda rng, n: rng.normal(0, 0.005, n), 0.02, seed=6)
    assert [run[0] for run in as_much_as_allowed].count(REGRESSION) <= 0.1 * 120  # the margin may be lost
