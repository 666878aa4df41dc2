"""Whether code got slower: the verdict on pairs of two sides' times, for many benchmarks at once.

A pair gives ln(head's seconds / base's): its mean over pairs is what is judged, since errors of a ratio are of its
logarithm, and slower by 2 % and faster by 2 % are then as far from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from bench import stats
from bench.ruling import IMPROVEMENT, INCONCLUSIVE, REGRESSION, STEADY

LEAST_PAIRS = 5  # of which a sign-flip test can reject at 5 %: 1/32

Key = tuple[str, str]  # what is judged: a benchmark's id, and a clock (`bench.sample`)


@dataclass(frozen=True)
class Rule:
    """When head is called slower than base by more than `margin` (0.02: by 2 %).

    All three: the one-sided lower bound of the mean at `confidence` (Student's t over pairs) is above the margin; an
    exact sign-flip test says at `level` that there is any slowdown, after Benjamini and Hochberg over the benchmarks;
    and a fresh run agrees (`agrees`). An improvement is the mirror image. Inconclusive: fewer than `valid` of the pairs
    are valid, or a slowdown of twice the margin is not excluded, or the bound is above the margin and the test cannot
    bear it out: what could not be shown is no pass.
    """

    margin: float = 0.02
    confidence: float = 0.95
    level: float = 0.05
    valid: float = 0.6

    def margin_on(self, spread: float | None, pairs: int) -> float:
        """The margin on a host where ln ratios of two equal sides have this standard deviation, in one of so many
        pairs: what their mean stays within 19 times in 20, if that is more."""
        return max(self.margin, math.expm1(1.96 * spread / math.sqrt(pairs)) if spread else 0.0)

    def least_pairs(self, benchmarks: int) -> int:
        """The fewest pairs that can show that one of so many benchmarks is slower: its p-value, 2^-pairs at least,
        is adjusted for their number."""
        return max(LEAST_PAIRS, math.ceil(math.log2(max(1, benchmarks) / self.level)))


@dataclass(frozen=True)
class Finding:
    """What the pairs of one benchmark say; `change`, `low` and `high` are relative: 0.02 is slower by 2 %.

    `low` and `high` are one-sided bounds, each at the rule's confidence. `p_slower` and `p_faster` are the sign-flip
    test's, adjusted for the number of benchmarks. `confirmed` is None where no confirmation was asked for. All but the
    first and the last are None where there are too few valid pairs to say.
    """

    ruling: str
    pairs: int
    invalid: int
    margin: float
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_slower: float | None = None
    p_faster: float | None = None
    confirmed: bool | None = None


def judge(
    ratios: Mapping[Key, Sequence[float | None]], rule: Rule, spreads: Mapping[Key, float] | None = None
) -> dict[Key, Finding]:
    """What the pairs say, before confirmation: natural logarithms of ratios, None for an invalid pair.

    Benjamini and Hochberg's adjustment is over the benchmarks judged by one clock.
    """
    spreads = spreads or {}
    valid = {key: [value for value in values if value is not None] for key, values in ratios.items()}
    enough = [k for k, v in valid.items() if len(v) >= LEAST_PAIRS and len(v) >= rule.valid * len(ratios[k])]
    p_values = {}
    for clock in {clock for _, clock in enough}:
        keys = [key for key in enough if key[1] == clock]
        slower = stats.benjamini_hochberg([_sign_flip(tuple(valid[key])) for key in keys])
        faster = stats.benjamini_hochberg([_sign_flip(tuple(-v for v in valid[key])) for key in keys])
        p_values |= dict(zip(keys, zip(slower, faster, strict=True), strict=True))
    found = {}
    for key, values in valid.items():
        margin = rule.margin_on(spreads.get(key), max(1, len(values)))
        invalid = len(ratios[key]) - len(values)
        if key in p_values:
            found[key] = _finding(values, invalid, margin, *p_values[key], rule)
        else:
            found[key] = Finding(INCONCLUSIVE, len(values), invalid, margin)
    return found


@lru_cache(maxsize=2**15)  # a calibration judges the same pairs again and again
def _sign_flip(values: tuple[float, ...]) -> float:
    return stats.sign_flip(values, 0.0)


def _finding(
    values: Sequence[float], invalid: int, margin: float, p_slower: float, p_faster: float, rule: Rule
) -> Finding:
    effect = stats.paired(values)
    low, high = effect.interval(2 * rule.confidence - 1)
    bound = math.log1p(margin)
    if low > bound:
        ruling = REGRESSION if p_slower <= rule.level else INCONCLUSIVE
    elif high < -bound and p_faster <= rule.level:
        ruling = IMPROVEMENT
    else:
        ruling = STEADY if high < 2 * bound else INCONCLUSIVE
    relative = (math.expm1(value) for value in (effect.mean, low, high))
    return Finding(ruling, len(values), invalid, margin, *relative, p_slower, p_faster)


def candidates(found: Mapping[Key, Finding]) -> list[Key]:
    """What a fresh run has to confirm."""
    return [key for key, finding in found.items() if finding.ruling in (REGRESSION, IMPROVEMENT)]


def settled(found: Mapping[Key, Finding], again: Mapping[Key, Finding]) -> dict[Key, Finding]:
    """The findings after a fresh run of the candidates: a change stands if that agrees, as large as that says, for it
    was not chosen by its size. Else none is shown, and that
    there is none only if the fresh run alone says so."""
    return dict(found) | {key: _settled(found[key], again.get(key)) for key in candidates(found)}


def _settled(first: Finding, again: Finding | None) -> Finding:
    if again is not None and agrees(first, again):
        return replace(first, change=again.change, low=again.low, high=again.high, pairs=again.pairs, confirmed=True)
    steady = again is not None and again.ruling == STEADY
    return replace(first, ruling=STEADY if steady else INCONCLUSIVE, confirmed=False)


def agrees(first: Finding, again: Finding) -> bool:
    """Whether a fresh run shows the same: any change that way at the rule's confidence, estimated beyond the margin."""
    if again.change is None:
        return False
    if first.ruling == REGRESSION:
        return again.low > 0 and again.change > first.margin
    return again.high < 0 and math.log1p(again.change) < -math.log1p(first.margin)
