"""Looking at a claim again as seeds are added, without spending its error rate twice.

A claim is looked at when n₁ seeds are there (those the study declares), then at n₂, n₃, …, each half as many again.
Look k may spend α/2^k of the error rate, so all looks together spend at most α, however many there are and whenever one
stops (alpha spending by the union bound; Lan and DeMets 1983 allow any such division). The first look's α/2, one-sided,
is the familiar two-sided interval at 1 - α.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from bench.stats import power

FEWEST = 2  # values, below which nothing is known of their spread
PROBABLY = 0.8  # the power that makes a decision probable
MOST_SEEDS = 1_000  # that are ever asked for


def schedule(planned: int) -> Iterator[int]:
    """The numbers of seeds at which a claim is looked at: 3, 5, 8, 12, 18, … for a study that declares 3."""
    n = max(FEWEST, planned)
    while True:
        yield n
        n += -(-n // 2)


def taken(planned: int, available: int) -> list[int]:
    """The looks that `available` seeds allow."""
    return list(itertools.takewhile(lambda n: n <= available, schedule(planned)))


def next_look(planned: int, seeds: int) -> int:
    """The first look at more than `seeds` seeds."""
    return next(n for n in schedule(planned) if n > seeds)


def share(look: int) -> float:
    """The part of the error rate that look 1, 2, … may spend: 2^-look."""
    return 0.5**look


def sequential(p_values: Sequence[float]) -> float:
    """One p-value from those of looks 1, 2, …: the smallest of pₖ · 2^k, at most 1.

    P(it ever falls to α or below) ≤ Σ P(pₖ ≤ α/2^k) ≤ α where the hypothesis is true: it may be read after any look.
    """
    return min([1.0, *(p / share(look) for look, p in enumerate(p_values, start=1))])


def seeds_needed(planned: int, seeds: int, level: float, chance: Callable[[int, float], float]) -> int | None:
    """At how many seeds a claim would probably (80 %) be decided; None if at no look of up to 1,000.

    `chance(n, level)` is the power at n seeds and a one-sided level; `level` is the error rate before it is shared
    among looks.
    """
    for look, n in enumerate(schedule(planned), start=1):
        if n > MOST_SEEDS:
            return None
        if n > seeds and chance(n, level * share(look)) >= PROBABLY:
            return n
    return None


def chance_of(shifts: Sequence[float], deviation: float) -> Callable[[int, float], float]:
    """The power of passing every bound, each `shift` away, by n and level; 1 less the sum of misses, a lower bound."""
    return lambda n, level: max(0.0, 1.0 - math.fsum(1.0 - power(shift, deviation, n, level) for shift in shifts))
