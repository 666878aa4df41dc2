"""Simulated studies, and what is said of their claims.

Every ruling is `verdict.rule` on `Evidence`, as for a recorded study. Each experiment draws from a generator seeded by
its own description, so an outcome is the same whatever runs before it or beside it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench import looks, stats
from bench.cell import Arch, Cell, Recipe
from bench.claim import Claim, Comparison
from bench.evidence import Evidence, differences
from bench.verdict import SUPPORTED, UNDECIDED, chance, exact_test, more_seeds, rule

TRIALS = 5_000  # studies an experiment
FARTHEST = 100  # more seeds that a forecast is followed for
FIRST, MOST = 3, 20  # seeds, where they are added until a claim is decided
LEFT, RIGHT = (Cell(Arch(shortcut=shortcut), Recipe(), "digits") for shortcut in ("none", "A"))


def normal(rng: np.random.Generator, shape: tuple[int, ...], theta: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Independent sides whose differences are normal with mean `theta` and standard deviation 1."""
    left, right = rng.normal(0, math.sqrt(0.5), (2, *shape))
    return np.reshape(theta, (-1, 1)) + left, right


def shared(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Likewise, no effect, but all claims of a study have one right side: their differences correlate by a half."""
    left, right = normal(rng, shape)
    return left, np.broadcast_to(right[:, :1], shape)


def _unlike(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(0, 4, shape), rng.normal(0, 1, shape)


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_t(3, shape), np.zeros(shape)


def _skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.exponential(1, shape), np.zeros(shape)


def _coarse(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    left, right = rng.binomial(300, 0.01, (2, *shape)) / 3
    return left, right


def _failing(rng: np.random.Generator, shape: tuple[int, ...], error: float) -> np.ndarray:
    return np.where(rng.random(shape) < 1 / 3, error, 5.0 + rng.normal(0, 1, shape))


def _one_fails(rng: np.random.Generator, shape: tuple[int, ...], error: float) -> tuple[np.ndarray, np.ndarray]:
    return _failing(rng, shape, error), 5.0 + rng.normal(0, 1, shape)


def _both_fail(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return _failing(rng, shape, 90.0), _failing(rng, shape, 90.0)


UNRULY = {  # what is drawn, from what, the true θ, and whether seeds are paired
    "normal, paired": (normal, 0.0, True),
    "unequal variances: standard deviations 4 and 1, unpaired": (_unlike, 0.0, False),
    "heavy tails: t with 3 degrees of freedom": (_heavy, 0.0, True),
    "skewed: exponential, against a constant": (_skewed, 1.0, True),
    "1 % error on 300 images, in whole images": (_coarse, 0.0, True),
    "left fails in a third of its runs (90 % instead of 5 %)": (partial(_one_fails, error=90.0), 85 / 3, True),
    "both fail so": (_both_fail, 0.0, True),
    "left diverges in a third of its runs (100 %)": (partial(_one_fails, error=100.0), 95 / 3, True),
}


@dataclass(frozen=True)
class Experiment:
    """Studies of these claims, judged at `planned` seeds, and at more up to `most` while undecided."""

    claims: tuple[Claim, ...]
    draw: Any  # (generator, shape) -> the values of both sides
    planned: int
    most: int
    paired: bool = True
    exact: bool = False  # whether to take the exact test as well, of what is supported
    trials: int = TRIALS


@dataclass(frozen=True)
class Outcome:
    """By study and claim: the ruling, the seeds it took, and whether the exact test's p was at most 1 - confidence."""

    words: np.ndarray
    seeds: np.ndarray
    exact: np.ndarray


def a_claim(relation: str = "above", margin: float = 0.0) -> Claim:
    """A claim about simulated nets."""
    return Claim(
        f"{relation} {margin:g}", {"shortcut": ("none",)}, {"shortcut": ("A",)}, relation=relation, margin=margin
    )


def simulate(experiment: Experiment) -> Outcome:
    """Draw the studies and judge them."""
    studies = [_judged(experiment, study) for study in _drawn(experiment, experiment.most)]
    return Outcome(*(np.array([[claim[part] for claim in study] for study in studies]) for part in range(3)))


def _drawn(experiment: Experiment, seeds: int) -> Iterator[list[tuple[list[float], list[float]]]]:
    text = f"{[c.says for c in experiment.claims]} {experiment.planned} {experiment.most} {_name(experiment.draw)}"
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    sides = experiment.draw(rng, (experiment.trials, len(experiment.claims), seeds))
    for left, right in zip(*(side.tolist() for side in sides), strict=True):
        yield list(zip(left, right, strict=True))


def _name(draw: Any) -> str:
    return f"{draw.func.__name__} {sorted(draw.keywords.items())}" if isinstance(draw, partial) else draw.__name__


def _judged(experiment: Experiment, study: Sequence[tuple[list[float], list[float]]]) -> list[tuple[str, int, bool]]:
    """As `rounds.until_decided`: seeds are added to undecided claims alone, a look at a time."""
    planned = experiment.planned
    evidence = [_evidence(experiment, claim, *sides, planned) for claim, sides in enumerate(study)]
    while True:
        rulings = rule(evidence)
        following = [looks.next_look(planned, item.seeds) for item in evidence]
        more = [r.word == UNDECIDED and n <= experiment.most for r, n in zip(rulings, following, strict=True)]
        if not any(more):
            agrees = [
                experiment.exact and r.word == SUPPORTED and _agrees(e) for r, e in zip(rulings, evidence, strict=True)
            ]
            return [(r.word, e.seeds, agreed) for r, e, agreed in zip(rulings, evidence, agrees, strict=True)]
        for claim, sides in enumerate(study):
            if more[claim]:
                evidence[claim] = _evidence(experiment, claim, *sides, following[claim])


def _evidence(experiment: Experiment, number: int, left: Sequence[float], right: Sequence[float], n: int) -> Evidence:
    taken = tuple((tuple(left[:k]), tuple(right[:k])) for k in looks.taken(experiment.planned, n))
    comparison = Comparison(experiment.claims[number], LEFT, RIGHT)
    return Evidence(comparison, experiment.planned, n, taken, experiment.paired)


def _agrees(evidence: Evidence) -> bool:
    claim = evidence.comparison.claim
    p = chance(claim, exact_test(*evidence.looks[-1], evidence.paired), in_favour=True)
    return p is not None and p <= 1 - claim.confidence


def naive(every: bool, theta: float) -> tuple[float, float]:
    """The share of claims ever "supported" or "contradicted" by a t test at 5 % at the looks or every seed."""
    experiment = Experiment((a_claim(),), partial(normal, theta=theta), FIRST, MOST)
    stops = range(FIRST, MOST + 1) if every else looks.taken(FIRST, MOST)
    words = []
    for ((left, right),) in _drawn(experiment, MOST):
        effects = (stats.paired(differences(left[:n], right[:n])) for n in stops)
        rejected = ((e.p_above(0) <= 0.05, e.p_below(0) <= 0.05) for e in effects)
        words.append(next((found for found in rejected if any(found)), (False, False)))
    supported, contradicted = np.mean(words, axis=0)
    return float(supported), float(contradicted)


@dataclass(frozen=True)
class Forecast:
    """Of claims undecided at first: the `more` seeds said (None: over 1,000), and whether these were enough."""

    more: list[int | None]
    enough: list[bool]  # of those said to take at most FARTHEST


def forecast(planned: int, theta: float) -> Forecast:
    """Judge at `planned` seeds; where undecided, do as many more as it says, and judge again at every look."""
    experiment = Experiment((a_claim(),), partial(normal, theta=theta), planned, planned + FARTHEST)
    more, enough = [], []
    for ((left, right),) in _drawn(experiment, experiment.most):
        first = _evidence(experiment, 0, left, right, planned)
        rulings = rule([first])
        if rulings[0].word != UNDECIDED:
            continue
        more.append(more_seeds(first, rulings))
        if more[-1] is not None and more[-1] <= FARTHEST:
            later = _evidence(experiment, 0, left, right, planned + more[-1])
            enough.append(rule([later])[0].word != UNDECIDED)
    return Forecast(more, enough)
