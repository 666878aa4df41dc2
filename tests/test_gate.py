"""What is said of the newest point of made-up histories."""

from dataclasses import replace

import numpy as np
import pytest
from scripted import MB, failed, outcome
from test_series import BENCHMARK, a_mark, a_sample

from bench.gate import flagged, judge
from bench.quantity import RESIDENT
from bench.ruling import FAILED, IMPROVEMENT, INCONCLUSIVE, NOT_MEASURED, REGRESSION, STEADY
from bench.series import Point, series
from bench.trend import Limits


def a_history(*levels_and_lengths, marks=(), seed=0, noise=0.003):
    rng, day, samples = np.random.default_rng(seed), 0, []
    for level, length in levels_and_lengths:
        for _ in range(length):
            samples.append(a_sample(day, level * float(np.exp(noise * rng.standard_normal()))))
            day += 1
    return series(samples, list(marks), {})[0]


def a_point(seconds, count=3, **fields):
    return Point(tuple(a_sample(1000, seconds, **fields) for _ in range(count)))


def ruled(history, seconds=None, again=None, outcomes=()):
    now = None if seconds is None else a_point(seconds)
    return judge(BENCHMARK, history, now, outcomes, Limits(), None if again is None else a_point(again))


def test_the_first_point():
    level = ruled(None, 0.01)
    assert (level.word, level.because, level.worse) == (
        INCONCLUSIVE,
        "the first point of its history: reported only",
        False,
    )
    assert flagged({"x": level}) == []


@pytest.mark.parametrize("n", [1, 9, 10])
def test_fewer_than_ten_points_are_reported_only(n):
    level = ruled(a_history((0.01, n)), 0.02)
    assert level.word == INCONCLUSIVE and ("too few points to judge" in level.because) == (n < 10)
    assert (flagged({"x": level}) == ["x"]) == (n >= 10)
    assert level.ruling.effect == pytest.approx(1.0, abs=0.02)


def test_a_regression_confirmed_and_not_confirmed():
    history = a_history((0.01, 30))
    seen = ruled(history, 0.011)
    assert (seen.word, seen.confirmed, seen.worse) == (INCONCLUSIVE, None, False)  # until it is confirmed
    assert flagged({"x": seen}) == ["x"] and "not confirmed" in seen.because
    stands = ruled(history, 0.011, again=0.0112)
    assert (stands.word, stands.confirmed, stands.worse, stands.because) == (REGRESSION, True, True, None)
    gone = ruled(history, 0.011, again=0.01)
    assert (gone.word, gone.confirmed, gone.worse) == (STEADY, False, False)
    assert "was seen, and " in gone.because and gone.because.endswith("in a fresh measurement")
    less = ruled(history, 0.011, again=0.01015)
    assert less.word == STEADY and "in a fresh measurement" in less.because  # far from twice the margin
    assert stands.speeds == pytest.approx((32 / 0.01, 32 / 0.011), rel=0.01)


def test_what_noise_would_hide_is_no_pass():
    """Of a history with a spread of 8 %, a point 12 % above is neither out of line nor all right."""
    rng = np.random.default_rng(8)
    noisy = series([a_sample(day, 0.01 * float(np.exp(0.08 * rng.standard_normal()))) for day in range(12)], [], {})[0]
    level = ruled(noisy, 0.0112)
    assert not level.ruling.flagged and level.word == INCONCLUSIVE and not level.worse
    assert "in this noise a slowdown of" in level.because and level.ruling.limit > 0.2


def test_steady_and_improvement():
    history = a_history((0.01, 30))
    assert ruled(history, 0.01005).word == STEADY and ruled(history, 0.01005).because is None
    assert ruled(history, 0.009, again=0.009).word == IMPROVEMENT
    assert not ruled(history, 0.009, again=0.009).worse
    assert ruled(history, 0.009, again=0.01).word == STEADY


def test_a_regression_that_became_the_level_is_open_until_accepted_or_gone():
    grown = a_history((0.01, 30), (0.011, 30))
    still = ruled(grown, 0.011)
    assert (still.word, still.worse, still.open.index) == (REGRESSION, True, 30)
    assert "since c30, neither accepted nor gone" in still.because
    accepted = a_history((0.01, 30), (0.011, 30), marks=[a_mark(30, note="exact sums")])
    assert (ruled(accepted, 0.011).word, ruled(accepted, 0.011).worse) == (STEADY, False)
    gone = ruled(grown, 0.01, again=0.01)
    assert (gone.word, gone.open, gone.worse) == (IMPROVEMENT, None, False)


def test_an_open_regression_that_got_better_by_half_is_one_still_and_says_so():
    level = ruled(a_history((0.01, 30), (0.012, 30)), 0.011, again=0.011)
    assert (level.word, level.worse, level.ruling.kind) == (REGRESSION, True, "improvement")
    assert "neither accepted nor gone" in level.because


def test_a_worse_one_on_top_of_an_open_one_is_confirmed_or_not_and_a_regression_either_way():
    history = a_history((0.01, 30), (0.011, 30))
    assert ruled(history, 0.013, again=0.013).word == REGRESSION
    assert ruled(history, 0.013, again=0.011).word == REGRESSION


def test_accepted_ahead_of_the_first_point_at_the_level():
    ahead = a_history((0.01, 30), marks=[a_mark(99, commit="accepted")])
    level = ruled(ahead, 0.02)
    assert (level.word, level.worse, level.ruling.n) == (INCONCLUSIVE, False, 0)
    assert level.level_seconds is None and level.speeds[0] is None


@pytest.mark.parametrize("slower", [0.1, 0.3])
def test_a_lasting_slowdown_is_never_let_pass_while_it_becomes_the_level(slower):
    """Point by point, from the first that is slower, whether as out of line or as open."""
    rng = np.random.default_rng(5)
    samples = [a_sample(day, 0.01 * float(np.exp(0.004 * rng.standard_normal()))) for day in range(25)]
    for day in range(25, 55):
        seconds = 0.01 * (1 + slower) * float(np.exp(0.004 * rng.standard_normal()))
        level = ruled(series(samples, [], {})[0], seconds, again=seconds)
        assert level.word == REGRESSION, (day, level)
        samples.append(a_sample(day, seconds))


def test_false_alarms_of_noise():
    """Histories without a change, normal and heavy-tailed: a confirmed regression is rarer than 1 in 100."""
    rng, wrong = np.random.default_rng(6), 0
    for trial in range(200):
        noise = rng.standard_normal(34) if trial % 2 else rng.standard_t(3, 34)
        values = 0.01 * np.exp(0.01 * noise)
        history = series([a_sample(day, float(v)) for day, v in enumerate(values[:32])], [], {})[0]
        wrong += ruled(history, float(values[32]), again=float(values[33])).worse
    assert wrong <= 1


def memory(day, grown):
    return replace(a_sample(day, 0.01), outcome=outcome(peak_rss_bytes=200 * MB + grown))


def with_memory(*grown, marks=()):
    return series([memory(day, more) for day, more in enumerate(grown)], list(marks), {})[0]


def changes(history, grown):
    level = judge(BENCHMARK, history, Point((memory(1000, grown),)), [], Limits())
    return level.worse, level.word, {q.name: q.change for q in level.quantities}[RESIDENT]


def test_grown_memory_fails_until_it_is_accepted_or_gone():
    few = with_memory(*[100 * MB] * 3)
    assert changes(few, 100 * MB) == (False, INCONCLUSIVE, "same")
    assert changes(few, 110 * MB) == (True, INCONCLUSIVE, "more")  # of few points too: it is no matter of noise
    grown = with_memory(*[100 * MB] * 12, *[110 * MB] * 12)
    assert changes(grown, 110 * MB) == (True, STEADY, "more")
    assert changes(grown, 100 * MB) == (False, STEADY, "same")
    accepted = with_memory(*[100 * MB] * 12, *[110 * MB] * 12, marks=[a_mark(12)])
    assert changes(accepted, 110 * MB) == (False, STEADY, "same")


def test_memory_is_held_against_the_least_since_the_last_accepted():
    assert changes(with_memory(100 * MB, 90 * MB, 100 * MB), 100 * MB) == (True, INCONCLUSIVE, "more")


def test_what_gave_no_point():
    history = a_history((0.01, 12))
    broken = ruled(history, outcomes=[failed("RuntimeError: broken")])
    assert (broken.word, broken.because, broken.worse) == (FAILED, "RuntimeError: broken", True)
    never = ruled(None, outcomes=[failed("RuntimeError: broken")])
    assert (never.word, never.worse) == (NOT_MEASURED, False)
    refused = ruled(history, outcomes=[failed("needs a GPU", "refused")])
    assert (refused.word, refused.worse) == (NOT_MEASURED, False)
    hot = ruled(history, outcomes=[outcome(trouble="thermal slowdown for 1 s")])
    assert (hot.word, hot.because) == (INCONCLUSIVE, "thermal slowdown for 1 s")
    assert ruled(history).because == "no sample was taken"


def test_a_process_that_failed_is_told_beside_the_others():
    level = ruled(a_history((0.01, 12)), 0.01, outcomes=[outcome(), failed("killed by SIGSEGV", "died"), outcome()])
    assert level.word == STEADY and level.because == "1 of 3 processes gave nothing: killed by SIGSEGV"
