"""Verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.claim import METRICS, Claim
from bench.errors import EXIT_CONTRADICTED, EXIT_OK, EXIT_UNDECIDED
from bench.paper import Published
from bench.stats import Estimate
from bench.verdict import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTABLE, Verdict

MARKS = {SUPPORTED: "✔", CONTRADICTED: "✘", UNDECIDED: "?", UNTESTABLE: "–"}


def subject(verdict: Verdict) -> str:
    """What is compared: `training error of plain-56 less that of plain-20`."""
    words, comparison = METRICS[verdict.claim.metric].words, verdict.comparison
    if verdict.claim.at != "final":
        words += " at the best validation error"
    if comparison is None:
        return words
    left = comparison.left.arch.label
    if isinstance(comparison.right, Published):
        return f"{words} of {left} less that in {comparison.right.label}"
    right = comparison.right.arch.label
    if left == right:  # told apart by something else
        ours, theirs = comparison.left.flat(), comparison.right.flat()
        unlike = [name for name in ours if name != "seed" and ours[name] != theirs[name]]
        left, right = (f"{left} ({', '.join(f'{name} {side[name]}' for name in unlike)})" for side in (ours, theirs))
    return f"{words} of {left} less that of {right}"


def claimed(claim: Claim) -> str:
    """Where the difference is claimed to be: `above 10 points`."""
    unit = METRICS[claim.metric].unit
    margin = f"{claim.margin:g} {unit}"
    return {
        "above": f"above {margin}",
        "below": f"below -{margin}" if claim.margin else "below 0",
        "not above": f"at most {margin}",
        "not below": f"at least -{margin}" if claim.margin else "at least 0",
        "within": f"within ±{margin}",
        "differs": f"outside ±{margin}" if claim.margin else "other than 0",
    }[claim.relation]


def found(verdict: Verdict) -> str:
    """The difference with its interval: `+80.7 points (74.3 to 87.2)`; a dash without one."""
    if verdict.effect is None:
        return "–"
    metric = METRICS[verdict.claim.metric]
    low, high = verdict.interval
    width = f" ({low:+,.{metric.digits}f} to {high:+,.{metric.digits}f})" if verdict.effect.varies else ""
    return f"{verdict.effect.mean:+,.{metric.digits}f} {metric.unit}{width}"


def side(estimate: Estimate | None, claim: Claim, published: Published | None = None) -> str:
    """One side's mean, or the published figure."""
    metric = METRICS[claim.metric]
    unit = "%" if claim.is_error else metric.unit
    if published is not None:
        return f"{published.value:g} {unit}"
    return "–" if estimate is None else f"{estimate.mean:,.{metric.digits}f} {unit}"


def evidence(verdict: Verdict) -> str:
    """Why the ruling is what it is, in a sentence or two."""
    if verdict.ruling == UNTESTABLE:
        return _sentence(verdict.because)
    kind = "seeds" if published(verdict) else "paired seeds" if verdict.paired else "seeds a side"
    says = f"{subject(verdict)}: {found(verdict)}, claimed {claimed(verdict.claim)}"
    p = p_value(verdict.p)
    parts = [f"{says}; n = {verdict.n} {kind}, p {p if p.startswith('<') else f'= {p}'}"]
    if verdict.ruling == UNDECIDED:
        more = "over 1,000" if verdict.more is None else f"about {verdict.more}"
        parts.append(f"{more} more seed{'' if verdict.more == 1 else 's'} would probably decide it")
    if verdict.later:
        metric = METRICS[verdict.claim.metric]
        parts.append(
            f"decided at {verdict.n} seeds; with {verdict.later.n} the difference is "
            f"{verdict.later.mean:+,.{metric.digits}f} {metric.unit}"
        )
    if not verdict.claim.is_error:
        parts.append("seeds vary less than a machine does from one sweep to another: this holds for these runs alone")
    return " ".join(_sentence(part) for part in [*parts, *verdict.notes])


def published(verdict: Verdict) -> Published | None:
    """The figure in print that it is about, if any."""
    right = verdict.comparison.right if verdict.comparison else None
    return right if isinstance(right, Published) else None


def p_value(p: float | None) -> str:
    """`0.031`, `0.0010`, `< 0.0001`; a dash for none."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def tally(verdicts: Sequence[Verdict]) -> str:
    """`4 claims: 3 supported, 1 undecided`."""
    counts = [(word, sum(verdict.ruling == word for verdict in verdicts)) for word in MARKS]
    said = ", ".join(f"{count} {word}" for word, count in counts if count)
    return f"{len(verdicts)} comparison{'s' if len(verdicts) != 1 else ''}: {said}"


def plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as JSON has them; numbers at full precision, in the metric's unit."""
    return [
        {
            "claim": verdict.claim.says,
            "verdict": verdict.ruling,
            "compared": subject(verdict),
            "claimed": claimed(verdict.claim),
            "unit": METRICS[verdict.claim.metric].unit,
            "difference": verdict.effect.mean if verdict.effect else None,
            "interval": verdict.interval if verdict.effect and verdict.effect.varies else None,
            "n": verdict.n,
            "later_difference": verdict.later.mean if verdict.later else None,
            "later_n": verdict.later.n if verdict.later else None,
            "paired": verdict.paired,
            "p": verdict.p,
            "p_exact_unadjusted": verdict.exact,
            "more_seeds": verdict.more,
            "because": verdict.because,
            "notes": list(verdict.notes),
        }
        for verdict in verdicts
    ]


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where every claim is supported, 1 where one is contradicted, else 3."""
    words = {verdict.ruling for verdict in verdicts}
    if CONTRADICTED in words:
        return EXIT_CONTRADICTED
    return EXIT_OK if words == {SUPPORTED} else EXIT_UNDECIDED


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str) -> str:
    return f"{_capital(text)}{'' if text.endswith(('.', '!', '?')) else '.'}"
