"""What is recorded for a comparison: the values of both sides, seed by seed, at each look.

A diverged net has the worst error there is, 100 %, so it ranks with or above every net that trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bench import looks, paper, run, stats
from bench.claim import METRICS, Claim, Comparison
from bench.paper import Published
from bench.seeds import Plan
from bench.stats import Effect
from bench.summary import Net


@dataclass(frozen=True)
class Evidence:
    """What is recorded for a comparison: the values of both sides at each look, in the metric's unit.

    `planned` is the seeds of the first look, `seeds` how many have ended, those that no look has reached included.
    Paired values are of the same seeds, in the same order. Against a published figure, `right` repeats it.
    """

    comparison: Comparison
    planned: int
    seeds: int = 0
    looks: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    paired: bool = True
    because: str = ""
    notes: tuple[str, ...] = ()

    @cached_property
    def effects(self) -> list[Effect | None]:
        """θ at each look; None where failures left too few values."""
        return [self._effect(*sides) if min(map(len, sides)) >= looks.FEWEST else None for sides in self.looks]

    def _effect(self, left: Sequence[float], right: Sequence[float]) -> Effect:
        return stats.paired(differences(left, right)) if self.paired else stats.welch(left, right)


def gather(comparison: Comparison, nets: Mapping[Any, Net], plan: Plan) -> Evidence:
    """What is recorded for a comparison."""
    sides = [nets[side.net] for side in comparison.sides]
    orders = [_order(net, plan) for net in sides]
    planned = [plan.get(net.cells[0].net, ()) for net in sides]
    declared = sorted(set(planned[0]).intersection(planned[-1]))
    further = sorted(set(orders[0]).intersection(orders[-1]).difference(declared))
    paired = len(declared) >= looks.FEWEST or set(planned[0]) == set(planned[-1])
    if paired:
        orders = [declared + further] * len(sides)
    first = len(declared) if paired else min(map(len, planned))
    evidence = Evidence(comparison, first, paired=paired, notes=_notes(comparison, sides, orders))
    if first < looks.FEWEST:
        return replace(evidence, because="one seed tells nothing of the spread: at least 2 are needed")
    available = min(_leading(net, order) for net, order in zip(sides, orders, strict=True))
    if available < first:
        return replace(evidence, because=_missing(sides, orders, first))
    taken = tuple(_values(comparison, sides, orders, n, paired) for n in looks.taken(first, available))
    if min(map(len, taken[-1])) < looks.FEWEST:
        return replace(evidence, because=_missing(sides, orders, first))
    return replace(evidence, seeds=available, looks=taken)


def _order(net: Net, plan: Plan) -> list[int]:
    first = plan.get(net.cells[0].net, ())
    return [*first, *sorted({cell.seed for cell in net.cells}.difference(first))]


def _leading(net: Net, order: Sequence[int]) -> int:
    """How many seeds have ended before the first that has not."""
    return next((index for index, seed in enumerate(order) if seed not in net.ended), len(order))


def _values(
    comparison: Comparison, sides: Sequence[Net], orders: Sequence[Sequence[int]], n: int, paired: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known = [_by_seed(net, comparison.claim) for net in sides]
    columns = [[values.get(seed) for seed in order[:n]] for values, order in zip(known, orders, strict=True)]
    if isinstance(comparison.right, Published):
        columns.append([comparison.right.value] * len(columns[0]))
    if paired:
        both = [pair for pair in zip(*columns, strict=True) if None not in pair]
        columns = [[pair[side] for pair in both] for side in (0, 1)]
    left, right = (tuple(value for value in column if value is not None) for column in columns)
    return left, right


def _by_seed(net: Net, claim: Claim) -> dict[int, float]:
    values = net.errors(claim.column) if claim.is_error else net.values(claim.column)
    return {seed: METRICS[claim.metric].scale * value for seed, value in values.items()}


def differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """Left less right, pair by pair."""
    return [first - second for first, second in zip(left, right, strict=True)]


def _missing(sides: Sequence[Net], orders: Sequence[Sequence[int]], planned: int) -> str:
    parts = []
    for net, order in zip(sides, orders, strict=True):
        first = order[:planned]
        absent = sum(seed not in net.ended for seed in first)
        failed = [f"seed {seed} {net.ended[seed]}" for seed in first if net.ended.get(seed) not in (None, *run.FINAL)]
        if absent:
            parts.append(f"{net.name}: {absent} of {planned} seeds not run")
        if failed:
            parts.append(f"{net.name}: {', '.join(failed)}")
    return "; ".join(parts) or "the seeds there have no such value"


def _notes(comparison: Comparison, sides: Sequence[Net], orders: Sequence[Sequence[int]]) -> tuple[str, ...]:
    notes = []
    for net, order in zip(sides, orders, strict=True):
        fates = [(seed, net.ended[seed]) for seed in order if seed in net.ended]
        diverged = sum(fate == run.DIVERGED for _, fate in fates)
        taken = "taken as 100 %" if comparison.claim.is_error else "left out"
        if diverged:
            notes.append(f"{net.name}: {diverged} of {len(fates)} seeds diverged, {taken}")
        failed = [f"seed {seed} {fate}" for seed, fate in fates if fate not in run.FINAL]
        if failed:
            notes.append(f"{net.name}: {', '.join(failed)}, left out")
    if isinstance(comparison.right, Published):
        differences = paper.differences(comparison.left, comparison.right)
        notes.append(
            "not the paper's experiment: " + "; ".join(differences) if differences else "recipe and data alike"
        )
        notes.append("the published figure is taken as exact")
    return tuple(notes)
