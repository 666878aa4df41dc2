"""What verdicts on speed are worth on a host: comparisons of code with itself, judged by the rule of real ones.

Runs of pairs are taken one after the other; a run in which something seems to have changed is confirmed by the next
run's pairs, which are as fresh. A slowdown by s is ln(1 + s) added to each pair: what it does to a time that takes
1 + s times as long, without taking the time to run it. `resbench calibrate --inject` runs it, and shows that it agrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import regress, stats
from bench.regress import REGRESSION, Rule

SLOWDOWNS = (0.01, 0.02, 0.03, 0.05, 0.10)
ANY = "any"

Run = Mapping[str, Sequence[float | None]]  # a comparison's ln ratios by benchmark


@dataclass(frozen=True)
class Rates:
    """Of `runs` comparisons, how many found a regression in equal code, with the upper end of the rate's 95 % interval
    (Clopper and Pearson); and the share that found one where head was slower by each of `SLOWDOWNS`."""

    runs: int
    false_alarms: int
    false_alarm_high: float
    powers: tuple[float, ...]


def spreads(runs: Sequence[Run]) -> dict[str, float]:
    """Of each benchmark, the standard deviation of a pair's ln ratio about 0, the truth."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, values in run.items():
            found.setdefault(name, []).extend(value for value in values if value is not None)
    return {name: math.sqrt(math.fsum(v * v for v in values) / len(values)) for name, values in found.items() if values}


def rates(runs: Sequence[Run], rule: Rule, noise: Mapping[str, float]) -> dict[str, Rates]:
    """The rates for each benchmark, and for any of them, by comparisons of equal code. `noise`: their spreads."""
    names = [*runs[0], ANY]
    alarms = [regressions(runs, number, rule, noise, 0.0) for number in range(len(runs))]
    caught = [[regressions(runs, number, rule, noise, s) for number in range(len(runs))] for s in SLOWDOWNS]

    def share(found: Sequence[set[str]], name: str) -> float:
        return sum(name in regressed for regressed in found) / len(runs)

    return {
        name: Rates(
            runs=len(runs),
            false_alarms=sum(name in regressed for regressed in alarms),
            false_alarm_high=stats.clopper_pearson(sum(name in regressed for regressed in alarms), len(runs))[1],
            powers=tuple(share(found, name) for found in caught),
        )
        for name in names
    }


def regressions(runs: Sequence[Run], number: int, rule: Rule, noise: Mapping[str, float], slowdown: float) -> set[str]:
    """The benchmarks that this run, and the next, call regressed where head is slower by `slowdown`; and `ANY`."""
    first = regress.judge(_slowed(runs[number], slowdown), rule, noise)
    doubtful = set(regress.candidates(first))
    if not doubtful:
        return set()
    fresh = runs[(number + 1) % len(runs)]
    again = regress.judge(_slowed({name: fresh[name] for name in doubtful}, slowdown), rule, noise)
    found = {n for n in doubtful if regress.confirmed(first[n], again[n]).ruling == REGRESSION}
    return found | {ANY} if found else set()


def _slowed(run: Run, slowdown: float) -> Run:
    shift = math.log1p(slowdown)
    return {name: [None if value is None else value + shift for value in values] for name, values in run.items()}
