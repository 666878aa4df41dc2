"""Where a long series changes its level: plain sequences in, steps out.

A segment's values are taken as exchangeable, but for mild correlation with the value before. Nothing is taken of
their distribution: every statistic is of ranks, so that one point weighs little, however far out it lies.

**A test.** The n values' ranks r, ties sharing their mean, become normal scores aᵢ = Φ⁻¹(rᵢ / (n + 1)), centred and
scaled to Σ a² = n - 1. If the level never changes, the sum of the first k has mean 0 and variance k(n - k)/n over all
orders of the values, so

    Z = max over k of |a₁ + … + a_k| / √(k (n - k) / n),    k from SHORTEST to n - SHORTEST,

is large only by chance, and the k that attains it is where a step is looked for. Normal scores lose nothing to means
where noise is normal, and gain where it is not (Chernoff and Savage 1958).

**Its p-value.** For long series the statistic is a normal process with correlation 1 - |h|/(2t(1 - t)), which crosses
a high b with a chance of about (Siegmund 1985; James, James and Siegmund 1987)

    2Φ(-b) + b φ(b) Σ_k ν(b/√s) / s,    s = k (n - k)/n,    ν(x) = (2/x)(Φ(x/2) - ½) / ((x/2)Φ(x/2) + φ(x/2)).

Scores are bounded, so this is too large where n is small: twice at 100 values, seven times at 20. Where that could
matter, p is the share of DRAWS random orders whose Z is at least as large (always the same orders, so the same p).

**Correlation.** Where each value correlates by ρ > 0 with the one before, the sums' variance is (1 + ρ)/(1 - ρ) times
as large, so Z is divided by its root. ρ is estimated from the scores less a line through each of the two sides (a creep
is no correlation, and is found as a staircase), and taken as 0.4 at most: what correlates more has levels.

**Several steps.** Splitting at the best place again and again does not find a level that comes back. So the places are
proposed together, by the partition into segments whose squared deviations plus PENALTY for each are least (optimal
partitioning, Jackson et al. 2005), in score units. Each proposed step is then tested between its neighbours, and the
least significant dropped until all are significant; each segment is searched again with scores of its own. All that was
found is tested, located in the values themselves (ranks can miss by one where noise is small), and tested once more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import ndtr, ndtri

SHORTEST = 5  # values of a segment, at least
PENALTY = 10.0  # of a proposed step: to propose too many costs time, not false steps
DRAWS = 4999  # random orders for a p-value
FORMULA = 200  # values from which the formula's p is less than twice too large
UNLIKELY = 0.05  # a p of the formula's above which drawing orders would not make a step of it
MOST_CORRELATED = 0.4  # what correlates more has levels
ROUNDING = 1e-9  # of scores: two levels without noise leave nothing else


@dataclass(frozen=True)
class Step:
    """A change of level: `index` is the first value's after it, `before` and `after` are the medians of the segments on
    its two sides, `p` is that of the test between its neighbours."""

    index: int
    before: float
    after: float
    p: float


def change_points(values: Sequence[float], level: float = 0.002) -> list[Step]:
    """The steps of a series in order (oldest first), each significant at `level`; segments have 5 values at least.

    Normal noise gives a false one in about 10,000 values. The fewest values in which one can be found at this level are
    13. Takes O(n²) operations, vectorised, and none at random. Raises ValueError where a value is not finite.
    """
    series = np.asarray(values, dtype=float)
    if not np.isfinite(series).all():
        raise ValueError("a series with a value that is not finite has no levels")
    places = _borne_out(series, _search(series, level), level)
    places = _borne_out(series, _located(series, places), level)
    edges = [0, *places, len(series)]
    medians = [float(np.median(series[low:high])) for low, high in pairwise(edges)] if places else []
    p_values = [p for _, p in _tests(series, places, level)]
    return [Step(*found) for found in zip(places, medians, medians[1:], p_values, strict=False)]


def _search(series: np.ndarray, level: float) -> list[int]:
    """Significant steps of a series, and those of each segment between them."""
    if len(series) < 2 * SHORTEST:
        return []
    found = _borne_out(series, _proposed(_scores(series)), level)
    if not found:
        return []
    segments = pairwise([0, *found, len(series)])
    within = [low + place for low, high in segments for place in _search(series[low:high], level)]
    return sorted(found + within)


def _proposed(scores: np.ndarray) -> list[int]:
    """The partition that minimises Σ over segments of (squared deviations from the segment's mean + PENALTY)."""
    n = len(scores)
    sums = np.concatenate([[0.0], scores.cumsum()])
    least, last = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=int)
    least[0] = 0.0
    for end in range(SHORTEST, n + 1):
        start = np.arange(end - SHORTEST + 1)
        costs = least[start] - (sums[end] - sums[start]) ** 2 / (end - start) + PENALTY  # Σ a² is the same for all
        last[end] = costs.argmin()
        least[end] = costs[last[end]]
    places, place = [], int(last[n])
    while place > 0:
        places.append(place)
        place = int(last[place])
    return places[::-1]


def _borne_out(series: np.ndarray, proposed: Sequence[int], level: float) -> list[int]:
    """The steps that remain where the least significant between its neighbours is dropped until all are significant."""
    places = list(proposed)
    while places and max(p_values := [p for _, p in _tests(series, places, level)]) > level:
        del places[p_values.index(max(p_values))]
    return places


def _located(series: np.ndarray, places: Sequence[int]) -> list[int]:
    """The steps moved, from the first on, to where values between their neighbours are nearest to the two medians."""
    places = list(places)
    for i, place in enumerate(places):
        low, high = ([0, *places, len(series)][edge] for edge in (i, i + 2))
        between = series[low:high]
        before, after = np.median(series[low:place]), np.median(series[place:high])
        gained = (np.abs(between - before) - np.abs(between - after)).cumsum()
        places[i] = low + SHORTEST + int(gained[SHORTEST - 1 : high - low - SHORTEST].argmin())
    return places


def _tests(series: np.ndarray, places: Sequence[int], level: float) -> list[tuple[int, float]]:
    edges = [0, *places, len(series)]
    return [_test(series[low:high], level) for low, high in zip(edges, edges[2:], strict=False)]


def _test(series: np.ndarray, level: float) -> tuple[int, float]:
    """Where one step is likeliest, and the p-value of "there is none"."""
    scores = _scores(series)
    sums = _standardised(scores)
    place = SHORTEST + int(sums.argmax())
    highest = float(sums.max()) / math.sqrt(_inflation(scores, place))
    p = _tail(highest, len(series))
    if level < p < UNLIKELY and len(series) < FORMULA:
        orders = np.random.default_rng(0).permuted(np.tile(scores, (DRAWS, 1)), axis=1)
        at_least = np.count_nonzero(_standardised(orders).max(axis=1) >= highest - ROUNDING)
        p = min(p, (1 + at_least) / (1 + DRAWS))
    return place, p


def _scores(series: np.ndarray) -> np.ndarray:
    """Normal scores with mean 0 and variance 1; all 0 where all values are equal."""
    n = len(series)
    _, which, counts = np.unique(series, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[which]
    scores = ndtri(ranks / (n + 1))
    scores -= scores.mean()
    return scores / scores.std(ddof=1) if len(counts) > 1 else np.zeros(n)


def _standardised(scores: np.ndarray) -> np.ndarray:
    """|a₁ + … + a_k| / √(k (n - k)/n) for every k that leaves SHORTEST on both sides, along the last axis."""
    n = scores.shape[-1]
    return np.abs(scores.cumsum(axis=-1)[..., SHORTEST - 1 : n - SHORTEST]) / np.sqrt(_variances(n))


def _variances(n: int) -> np.ndarray:
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    return k * (n - k) / n


def _inflation(scores: np.ndarray, place: int) -> float:
    """(1 + ρ)/(1 - ρ), ρ the correlation with the value before, of scores less a line through each of the two sides."""
    rest = np.concatenate([_unsloped(side) for side in (scores[:place], scores[place:])])
    total, lagged = float(rest @ rest), float(rest[1:] @ rest[:-1])
    if total < ROUNDING or lagged < 0:
        return 1.0
    correlation = min(lagged / total, MOST_CORRELATED)
    return (1 + correlation) / (1 - correlation)


def _unsloped(side: np.ndarray) -> np.ndarray:
    """What least squares leave of a side: a creep is no correlation."""
    time = np.arange(len(side)) - (len(side) - 1) / 2
    return side - side.mean() - time * (time @ side) / (time @ time)


def _tail(highest: float, n: int) -> float:
    """The formula's P(Z ≥ highest) for n values."""
    if highest <= 0:
        return 1.0
    variances = _variances(n)
    half = highest / np.sqrt(variances) / 2
    overshoot = (ndtr(half) - 0.5) / half / (half * ndtr(half) + _density(half))
    crossings = highest * float(_density(highest)) * float(np.sum(overshoot / variances))
    return min(1.0, 2 * float(ndtr(-highest)) + crossings)


def _density(x: float | np.ndarray) -> float | np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
