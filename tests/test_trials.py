"""Simulated studies: against scipy on the same draws, and against the promise that few false verdicts are given."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench import trials
from bench.trials import FIRST, MOST, UNRULY, Experiment, a_claim, normal, simulate
from bench.verdict import CONTRADICTED, SUPPORTED, UNDECIDED


def small(experiment, n=300):
    return dataclasses.replace(experiment, trials=n)


def differences(experiment):
    return np.array([[np.subtract(*sides) for sides in study] for study in trials._drawn(experiment, experiment.most)])


def test_one_look_is_scipys_t_test():
    experiment = small(Experiment((a_claim("above", 0.5),), partial(normal, theta=1.5), 5, 5))
    found = simulate(experiment)
    tests = scipy_stats.ttest_1samp(differences(experiment)[:, 0], 0.5, axis=1, alternative="greater").pvalue
    assert ((found.words[:, 0] == SUPPORTED) == (tests <= 0.025)).all()
    assert (found.words[:, 0] == CONTRADICTED).tolist() == (tests >= 0.975).tolist()


def test_looks_stop_where_scipys_tests_first_pass_their_share():
    experiment = small(Experiment((a_claim(),), partial(normal, theta=1.0), FIRST, MOST), 100)
    found, values, sizes = simulate(experiment), differences(experiment)[:, 0], (3, 5, 8, 12, 18)
    for (word,), (seeds,), row in zip(found.words, found.seeds, values, strict=True):
        p = [scipy_stats.ttest_1samp(row[:n], 0, alternative="greater").pvalue for n in sizes]
        passed = [min(p, 1 - p) <= 0.05 * 0.5**k for k, p in enumerate(p, start=1)]
        assert seeds == (sizes[passed.index(True)] if any(passed) else 18)
        assert (word == UNDECIDED) == (not any(passed))


@pytest.mark.parametrize("claims", [1, 4])
def test_few_verdicts_are_false(claims):
    found = simulate(small(Experiment((a_claim(),) * claims, normal, FIRST, MOST), 1000))
    for word in (SUPPORTED, CONTRADICTED):
        assert (found.words == word).any(axis=1).mean() <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


@pytest.mark.parametrize("kind", UNRULY)
def test_the_true_difference_of_what_is_drawn(kind):
    draw, theta, _ = UNRULY[kind]
    left, right = draw(np.random.default_rng(0), (1, 1, 200_000))
    error = np.hypot(left.std(), right.std()) / 200_000**0.5
    assert left.mean() - right.mean() == pytest.approx(theta, abs=5 * error)


def test_normal_differences_have_unit_spread_and_a_shared_side_correlates_them():
    rng = np.random.default_rng(0)
    left, right = normal(rng, (1, 2, 100_000), theta=(1.0, 3.0))
    assert (left - right).std(axis=2) == pytest.approx(1, abs=0.02)
    assert (left - right).mean(axis=2)[0] == pytest.approx([1, 3], abs=0.02)
    left, right = trials.shared(rng, (1, 2, 100_000))
    assert np.corrcoef((left - right)[0])[0, 1] == pytest.approx(0.5, abs=0.02)


def test_the_same_experiment_has_the_same_outcome():
    one, other = (simulate(small(Experiment((a_claim(),), normal, 3, 3), 50)) for _ in range(2))
    assert one.words.tolist() == other.words.tolist()


def test_forecasts_and_naive_tests(monkeypatch):
    monkeypatch.setattr(trials, "Experiment", lambda *a, **k: Experiment(*a, **(k | {"trials": 60})))
    found = trials.forecast(3, 2.0)
    assert 0 < len(found.more) < 60 and len(found.enough) <= len(found.more) and np.mean(found.enough) > 0.7
    assert trials.naive(True, 2.0)[0] > 0.95
