"""What the tables say of a study's claims: supported, contradicted, undecided or untestable.

A comparison is looked at with the first n₁, n₂, … seeds (`looks`). At each look, Student's t gives one p-value for the
claim and one against it; the p-values of the looks become one that holds at any time; Holm's method adjusts it for the
number of comparisons in the study. The claim is supported, or contradicted, where that is at most 1 - confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench import looks, stats
from bench.cell import Cell
from bench.claim import Claim, Comparison, comparisons
from bench.errors import InputError
from bench.evidence import Evidence, differences, gather
from bench.paper import Published
from bench.seeds import Plan
from bench.stats import Effect, Estimate
from bench.summary import Net

SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTABLE = "supported", "contradicted", "undecided", "untestable"
Test = Callable[[float, bool], float | None]


@dataclass(frozen=True)
class Verdict:
    """A claim, or one comparison of a claim that makes several, and what the evidence says of it.

    `effect` is θ in the metric's unit at the look that decided, or else the latest; `interval` that of the confidence
    sequence there (at the first look the usual two-sided one), `p` the p-value in favour of the ruling, adjusted for
    looks and comparisons; `exact` that of the exact test at that look alone, unadjusted. `later` is θ at the latest
    look where an earlier one decided. `more` is how many more seeds would probably
    decide it, None for over 1,000. `because` says why nothing can be tested; `notes` what a reader should know.
    """

    claim: Claim
    ruling: str
    comparison: Comparison | None = None
    left: Estimate | None = None
    right: Estimate | None = None
    effect: Effect | None = None
    interval: tuple[float, float] | None = None
    later: Effect | None = None
    paired: bool = True
    p: float | None = None
    exact: float | None = None
    more: int | None = None
    because: str = ""
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int | None:
        """The seeds at that look: pairs, or those of the smaller side."""
        return self.effect.n if self.effect else None


def judge(claims: Sequence[Claim], nets: Sequence[Net], plan: Plan) -> list[Verdict]:
    """The verdicts, in the order of the claims; `nets` are those of one host, `plan` the seeds that were planned."""
    by_net = {net.cells[0].net: net for net in nets}
    ones = [net.cells[0] for net in nets]
    found: list[Evidence | Verdict] = []
    for claim in claims:
        try:
            found += [gather(comparison, by_net, plan) for comparison in comparisons(claim, ones)]
        except InputError as error:  # a selection, or a study changed by --set, may lack what it compares
            found.append(Verdict(claim, UNTESTABLE, because=str(error).removeprefix(": ")))
    rulings = rule([item if isinstance(item, Evidence) else None for item in found])
    verdicts = [
        _verdict(item, ruling) if isinstance(item, Evidence) else item
        for item, ruling in zip(found, rulings, strict=True)
    ]
    return [
        replace(verdict, more=more_seeds(item, rulings)) if verdict.ruling == UNDECIDED else verdict
        for verdict, item in zip(verdicts, found, strict=True)
    ]


@dataclass(frozen=True)
class Ruling:
    """A word, the adjusted p-value it rests on, and whether that speaks for the claim rather than against it."""

    word: str
    p: float
    in_favour: bool


def rule(evidence: Sequence[Evidence | None]) -> list[Ruling]:
    """The rulings on all comparisons of a study together; None stands for one that could not be made."""
    chances = [_chances(item) if item and item.looks else (1.0, 1.0) for item in evidence]
    in_favour, against = (stats.holm([pair[side] for pair in chances]) for side in (0, 1))
    return [_ruling(*three) for three in zip(evidence, in_favour, against, strict=True)]


def _ruling(evidence: Evidence | None, in_favour: float, against: float) -> Ruling:
    p = min(in_favour, against)
    if evidence is None or not evidence.looks:
        return Ruling(UNTESTABLE, p, in_favour=True)
    if p > 1 - evidence.comparison.claim.confidence:
        return Ruling(UNDECIDED, p, in_favour <= against)
    return Ruling(SUPPORTED if in_favour <= against else CONTRADICTED, p, in_favour <= against)


def chance(claim: Claim, test: Test, *, in_favour: bool) -> float | None:
    """The p-value of a claim's opposite (`in_favour`: small speaks for the claim), or of the claim itself.

    `test(bound, above)` gives the one-sided p-value that speaks for θ above (or below) a bound. To be inside a region
    takes the larger of the p-values for its ends (Schuirmann 1987), to be outside of it twice the smaller.
    """
    low, high = claim.region
    inside = in_favour != (claim.relation == "differs")
    found = [test(bound, above) for bound, above in ((low, inside), (high, not inside)) if math.isfinite(bound)]
    if None in found:
        return None
    return max(found) if inside else min(1.0, len(found) * min(found))


def _chances(evidence: Evidence) -> tuple[float, float]:
    """The p-values for and against the claim, valid after any look."""
    return looks.sequential(_by_look(evidence, in_favour=True)), looks.sequential(_by_look(evidence, in_favour=False))


def _by_look(evidence: Evidence, *, in_favour: bool) -> list[float]:
    claim = evidence.comparison.claim
    return [chance(claim, _t(effect), in_favour=in_favour) if effect else 1.0 for effect in evidence.effects]


def _t(effect: Effect) -> Test:
    return lambda bound, above: effect.p_above(bound) if above else effect.p_below(bound)


def exact_test(left: Sequence[float], right: Sequence[float], paired: bool) -> Test:
    """The exact test as `chance` takes it: sign flips of paired values, else permutations; None for too many."""

    def test(bound: float, above: bool) -> float | None:
        first, second, least = (left, right, bound) if above else (right, left, -bound)
        if paired:
            return stats.sign_flip(differences(first, second), least)
        return stats.permutation(first, second, least)

    return test


def _verdict(evidence: Evidence, ruling: Ruling) -> Verdict:
    claim = evidence.comparison.claim
    verdict = Verdict(claim, ruling.word, evidence.comparison, because=evidence.because, notes=evidence.notes)
    if ruling.word == UNTESTABLE:
        return verdict
    effects = evidence.effects
    look = _deciding_look(evidence, ruling)
    left, right = evidence.looks[look]
    spent = (1 - claim.confidence) * looks.share(look + 1)
    later = effects[-1] if look < len(effects) - 1 else None
    return replace(
        verdict,
        left=stats.estimate(left),
        right=None if isinstance(evidence.comparison.right, Published) else stats.estimate(right),
        effect=effects[look],
        interval=effects[look].interval(1 - 2 * spent),
        later=later,
        paired=evidence.paired,
        p=ruling.p,
        exact=chance(claim, exact_test(left, right, evidence.paired), in_favour=ruling.in_favour),
    )


def _deciding_look(evidence: Evidence, ruling: Ruling) -> int:
    """The place of the look whose p-value the ruling rests on; the latest where nothing is decided."""
    if ruling.word == UNDECIDED:
        return len(evidence.looks) - 1
    shared = [p / looks.share(k) for k, p in enumerate(_by_look(evidence, in_favour=ruling.in_favour), start=1)]
    return shared.index(min(shared))


def more_seeds(evidence: Evidence, rulings: Sequence[Ruling]) -> int | None:
    """How many more seeds would probably (80 %) decide an undecided comparison, if the difference and the spread are as
    they look now; None for over 1,000. `rulings` are those on all comparisons of the study, this one's included.
    """
    effect, claim = evidence.effects[-1], evidence.comparison.claim
    low, high = claim.region
    bounds = [bound for bound in (low, high) if math.isfinite(bound)]
    distances = [abs(effect.mean - bound) for bound in bounds]
    inside = low < effect.mean < high
    word = SUPPORTED if inside != (claim.relation == "differs") else CONTRADICTED
    level = (1 - claim.confidence) / sum(ruling.word != word for ruling in rulings)  # Holm's, with those that hold
    shifts, level = (distances, level) if inside else ([min(distances)], level / len(bounds))
    deviation = effect.standard_error * math.sqrt(effect.n) if effect.varies else 0.0
    needed = looks.seeds_needed(evidence.planned, evidence.seeds, level, looks.chance_of(shifts, deviation))
    return None if needed is None else needed - evidence.seeds


def sides(verdict: Verdict) -> tuple[Cell, ...]:
    """The nets that a verdict is about; none where the claim could not be read as a comparison."""
    return verdict.comparison.sides if verdict.comparison else ()
