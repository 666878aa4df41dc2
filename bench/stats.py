"""Estimates and tests from few numbers: plain sequences in, numbers out.

Values are taken as independent between seeds and, for the t statistics, as normal; docs/statistics.md shows by
simulation what they are worth where they are not. Where values do not vary at all, a t statistic would claim certainty:
an exact test takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from scipy.special import betaincinv, chdtr, nctdtr, stdtr, stdtrit

if TYPE_CHECKING:
    import numpy as np

EXACT_ARRANGEMENTS = 20_000  # of a permutation test, at most
MOST_FLIPPED = 40  # differences of an exact sign-flip test
ROUNDING = 1e-12  # of a mean, relative: less than this is no difference


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` independent values, and the half-width of its confidence interval (None for one value)."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float:
        """The interval's lower end; the mean itself where there is no interval."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """The interval's upper end; likewise."""
        return self.mean + (self.half_width or 0.0)


def estimate(values: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """The mean and its Student t interval, mean ± t(n-1, (1+confidence)/2) · s/√n; None for no values.

    Exact for independent normal values; for n of 3 it is wide (t = 4.30), as it should be.
    """
    n = len(values)
    if n == 0:
        return None
    if n == 1:
        return Estimate(float(values[0]), None, 1)
    t = float(stdtrit(n - 1, (1 + confidence) / 2))
    return Estimate(fmean(values), t * standard_deviation(values) / math.sqrt(n), n)


def standard_deviation(values: Sequence[float]) -> float:
    """The sample standard deviation, √(Σ (x - mean)² / (n - 1)), of at least 2 values.

    As `statistics.stdev`, but for its exact fractions, which take a hundred times as long.
    """
    mean = fmean(values)
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)


@dataclass(frozen=True)
class Effect:
    """An estimated mean or difference of means, θ: (estimate - θ) / standard_error is taken as Student's t(df).

    `n` is the number of values, of pairs, or of the smaller of two groups.
    """

    mean: float
    standard_error: float
    df: float
    n: int

    @property
    def varies(self) -> bool:
        """Whether the values differ by more than rounding."""
        return self.standard_error > self._rounding

    @property
    def _rounding(self) -> float:
        return ROUNDING * max(1.0, abs(self.mean))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval, mean ± t(df, (1+confidence)/2) · standard error."""
        half_width = float(stdtrit(self.df, (1 + confidence) / 2)) * self.standard_error
        return self.mean - half_width, self.mean + half_width

    def p_above(self, bound: float) -> float:
        """The one-sided p-value of θ ≤ bound against θ > bound: P(t(df) ≥ (mean - bound) / standard error).

        Where nothing varies, that of the exact sign-flip test: 2^-n if the mean is above the bound, else 1.
        """
        if not self.varies:
            return 0.5**self.n if self.mean - bound > self._rounding else 1.0
        return float(stdtr(self.df, -(self.mean - bound) / self.standard_error))

    def p_below(self, bound: float) -> float:
        """The one-sided p-value of θ ≥ bound against θ < bound; as `p_above`, mirrored."""
        return Effect(-self.mean, self.standard_error, self.df, self.n).p_above(-bound)


def paired(differences: Sequence[float]) -> Effect:
    """The mean of n >= 2 paired differences (or of values less a constant): s/√n, df = n - 1.

    Exact for normal differences, however the two sides are correlated.
    """
    n = len(differences)
    return Effect(fmean(differences), standard_deviation(differences) / math.sqrt(n), n - 1, n)


def welch(left: Sequence[float], right: Sequence[float]) -> Effect:
    """mean(left) - mean(right) of independent groups of at least 2 values, whose variances may differ (Welch 1947).

    With v = s²/n of each side, the standard error is √(v₁ + v₂) and df = (v₁ + v₂)² / (v₁²/(n₁-1) + v₂²/(n₂-1)).
    """
    variances = [standard_deviation(side) ** 2 / len(side) for side in (left, right)]
    total = sum(variances)
    spread = sum(v**2 / (len(side) - 1) for v, side in zip(variances, (left, right), strict=True))
    smaller = min(len(left), len(right))
    df = total**2 / spread if spread else smaller - 1
    return Effect(fmean(left) - fmean(right), math.sqrt(total), df, smaller)


def sign_flip(differences: Sequence[float], bound: float) -> float | None:
    """The exact one-sided p-value of "symmetric about `bound` or below": the share of the 2^n ways to flip the signs of
    the differences less `bound` whose mean is at least that observed. None for more than 40 differences.

    It needs no normality, but cannot fall below 2^-n: 1/8 for 3 pairs, 1/32 for 5. A flip of all 2^n is a flip of each
    half: of the sums of one half, sorted, those that reach the observed sum with each of the other's are counted.
    """
    import numpy as np

    if len(differences) > MOST_FLIPPED:
        return None
    shifted = [value - bound for value in differences]
    half = len(shifted) // 2
    sums, others = (_signed_sums(part) for part in (shifted[:half], shifted[half:]))
    least = sum(shifted) - ROUNDING * sum(map(abs, shifted))
    short = np.searchsorted(np.sort(sums), least - others, side="left")
    return float((len(sums) - short).sum() / 2.0 ** len(shifted))


def _signed_sums(values: Sequence[float]) -> np.ndarray:
    """The sums of the values with each choice of signs, 2^n of them."""
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def permutation(left: Sequence[float], right: Sequence[float], bound: float) -> float | None:
    """The exact one-sided p-value of "left less `bound` is distributed as right": the share of the ways to deal the
    values out to groups of these sizes whose difference of means is at least that observed. None for too many ways.

    It cannot fall below 1 / C(n₁ + n₂, n₁): 1/20 for 3 against 3.
    """
    if math.comb(len(left) + len(right), len(left)) > EXACT_ARRANGEMENTS:
        return None
    import numpy as np
    from scipy import stats  # here, for it takes half a second

    found = stats.permutation_test(
        ([value - bound for value in left], list(right)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="independent",
        alternative="greater",
        n_resamples=np.inf,
        vectorized=True,
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given: reject those at most α, and the chance of
    rejecting any true hypothesis is at most α, however they depend on each other.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎, the adjusted p₍ᵢ₎ is the largest of (m - j + 1) · p₍ⱼ₎ over j ≤ i, at most 1.
    """
    adjusted, largest, m = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Benjamini and Hochberg 1995), in the order given: reject those at most q, and
    of the rejected hypotheses at most a share q is true on average, where the p-values of true ones are independent
    (or positively dependent, Benjamini and Yekutieli 2001).

    With p₍₁₎ ≤ … ≤ p₍ₘ₎, the adjusted p₍ᵢ₎ is the smallest of (m / j) · p₍ⱼ₎ over j ≥ i.
    """
    m = len(p_values)
    adjusted, smallest = [0.0] * m, 1.0
    for rank, index in zip(range(m, 0, -1), sorted(range(m), key=p_values.__getitem__, reverse=True), strict=True):
        smallest = min(smallest, m / rank * p_values[index])
        adjusted[index] = smallest
    return adjusted


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a proportion of which k successes in n >= 1 independent trials were seen (Clopper
    and Pearson 1934): each end is the proportion at which k or what lies beyond has a chance of (1 - confidence) / 2.

    As P(at least k of n) is the regularised incomplete beta function I_p(k, n - k + 1), the ends are its inverses. It
    covers the proportion at least as often as stated, whatever it is.
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    return low, proportion_bound(successes, n, 1 - tail)


def proportion_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound of such a proportion: the one at which k successes or fewer have a chance of
    1 - confidence. For 0 of n it is 1 - (1 - confidence)^(1/n), nearly 3/n at 95 %; for n of n it is 1.
    """
    return float(betaincinv(successes + 1, n - successes, confidence)) if successes < n else 1.0


def power(shift: float, deviation: float, n: int, level: float) -> float:
    """The chance that a one-sided t test of n values at `level` shows a mean that lies `shift` beyond the bound.

    The statistic is noncentral t(n-1) with noncentrality shift · √n / deviation; rejected above t(n-1, 1 - level).
    """
    if deviation <= 0:
        return float(shift > 0 and 0.5**n <= level)
    noncentrality, least = shift * math.sqrt(n) / deviation, float(stdtrit(n - 1, 1 - level))
    if noncentrality > 35:  # beyond where every scipy's nctdtr is accurate, and where the mean as good as never varies
        return float(chdtr(n - 1, (n - 1) * (noncentrality / least) ** 2))
    below = float(nctdtr(n - 1, noncentrality, least))
    if math.isnan(below) and noncentrality < -4.7 and least > 0:  # a positive t needs a normal deviate above 4.7
        return 0.0
    return 1.0 - below
