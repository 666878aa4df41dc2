"""What steps and rulings are worth on made-up noise, as Markdown: python tests/perf/trends.py (a minute)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.stats import proportion_bound
from bench.steps import change_points
from bench.trend import baseline

VALUES = 40_000  # of noise for each rate of false steps
HISTORIES = 200  # for each power
RULED = 40  # new values for each history


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n)


def student(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(3, n)


def bursts(rng: np.random.Generator, n: int) -> np.ndarray:
    """Normal noise, and in 3 % of places a log-normal slowdown that lasts three values."""
    return rng.standard_normal(n) + (np.convolve(rng.random(n) < 0.03, np.ones(3))[:n] > 0) * rng.lognormal(1, 1, n)


def correlated(rng: np.random.Generator, n: int) -> np.ndarray:
    """AR(1) with correlation 0.3 and variance 1."""
    noise = rng.standard_normal(n) * np.r_[1.0, np.full(n - 1, math.sqrt(1 - 0.3**2))]
    return np.array(list(itertools.accumulate(noise, lambda before, new: 0.3 * before + new)))


NOISE = {"normal": normal, "Student t(3)": student, "log-normal bursts": bursts, "AR(1) 0.3": correlated}


def false_steps(noise: Callable, n: int) -> str:
    """Steps in 100 values of noise, and the 95 % bound."""
    rng, count = np.random.default_rng(n), VALUES // n
    found = sum(len(change_points(noise(rng, n))) for _ in range(count))
    return f"{100 * found / (count * n):.3f} (≤ {100 * proportion_bound(found, count * n):.3f})"


def power(lengths: Sequence[int], size: float, within: int = 5) -> str:
    """The share of histories in which a step of `size` after the first length is found, and how far off it is found:
    the median and the 90th percentile of the distance."""
    rng, off = np.random.default_rng(int(size * 10)), []
    for _ in range(HISTORIES):
        values = rng.standard_normal(sum(lengths)) + size * np.repeat(np.arange(len(lengths)) % 2, lengths)
        distances = [abs(step.index - lengths[0]) for step in change_points(values)]
        off += [min(distances)] if distances else []
    share = sum(distance <= within for distance in off) / HISTORIES
    return f"{share:.0%}, off {np.median(off):.0f}/{np.quantile(off, 0.9):.0f}" if len(off) > 10 else f"{share:.0%}"


def alarms(noise: Callable, n: int) -> str:
    """Percent of new values called a regression at 0.1 %, and of pairs both called one. Noise is of 3 %, so that the
    minimum effect of 2 % matters little."""
    rng, once, twice, count = np.random.default_rng(n), 0.0, 0.0, 1000
    for _ in range(count):
        values = 0.03 * noise(rng, n + 5 + RULED)
        level = baseline(values[:n])
        share = np.mean([level.rule(value).kind == "regression" for value in values[n + 5 :]])
        once, twice = once + share / count, twice + share**2 / count
    return f"{100 * once:.2f}, {100 * twice:.3f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(row) + " |")
    print()


if __name__ == "__main__":
    lengths = (10, 30, 100, 300)
    print("False steps in 100 values of noise (95 % bound), by the history's length:\n")
    table(["noise", *map(str, lengths)], [[k, *(false_steps(f, n) for n in lengths)] for k, f in NOISE.items()])
    print("Steps found within 5 values; of all found, values off (median/90th percentile):\n")
    cases = ((15, 5), (20, 5), (20, 10), (50, 50), (95, 5), (90, 10), (50, 15, 55), (250, 50))
    rows = [[" + ".join(map(str, case)), *(power(case, size) for size in (1, 2, 4))] for case in cases]
    table(["values", "1 σ", "2 σ", "4 σ"], rows)
    print("Percent of new values called a regression: alone, and twice in two:\n")
    lengths = (10, 20, 30, 100)
    table(["noise", *map(str, lengths)], [[k, *(alarms(f, n) for n in lengths)] for k, f in NOISE.items()])
