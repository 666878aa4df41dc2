"""What verdicts on speed are worth on a host: comparisons of code with itself, judged by the rule of real ones.

Runs of pairs are taken one after the other; a run in which something seems to have changed is confirmed by the next
run's pairs, which are as fresh. A slowdown by s is ln(1 + s) added to each pair: what it does to a time that takes
1 + s times as long, without taking the time to run it. `resbench calibrate --inject` runs it, and shows that it agrees.
A benchmark's is added to it alone, for that is the hardest to find: the others' p-values count against its own.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import regress, stats
from bench.regress import Key, Rule
from bench.ruling import REGRESSION

SLOWDOWNS = (0.01, 0.02, 0.03, 0.05, 0.10)
RESAMPLED = 2_000
ANY = ("any", "any")

Run = Mapping[Key, Sequence[float | None]]  # a comparison's ln ratios


@dataclass(frozen=True)
class Rates:
    """Of `runs` comparisons, how many found a regression (`alarms`), with the ends of the rate's 95 % interval (Clopper
    and Pearson), and the share of those that did of many put together from their rounds (`resampled`); and the share
    that would have found one, had head been slower by each of `SLOWDOWNS` in this benchmark alone (`ANY`: in all)."""

    runs: int
    alarms: int
    low: float
    high: float
    resampled: float
    powers: tuple[float, ...]


def spreads(runs: Sequence[Run], injected: float = 0.0) -> dict[Key, float]:
    """The standard deviation of a pair's ln ratio about the truth, which is 0, or what was injected: by what is judged.
    What has no valid pair has none."""
    truth = math.log1p(injected)
    found: dict[Key, list[float]] = {}
    for run in runs:
        for key, values in run.items():
            found.setdefault(key, []).extend(value - truth for value in values if value is not None)
    return {key: math.sqrt(math.fsum(v * v for v in values) / len(values)) for key, values in found.items() if values}


def rates(runs: Sequence[Run], rule: Rule, noise: Mapping[Key, float], injected: float = 0.0) -> dict[Key, Rates]:
    """The rates of each benchmark by each clock, and of any of them (`ANY`, by any). `noise`: their spreads.

    Alarms are of the runs as they were, powers of runs without what was injected and with a slowdown in its place.
    """
    names, equal = dict.fromkeys(name for name, _ in noise), -math.log1p(injected)

    def found(slower: Mapping[str, float]) -> list[set[Key]]:
        return [regressions(runs, number, rule, noise, slower) for number in range(len(runs))]

    def at(slowdown: float, slowed: Iterable[str]) -> list[set[Key]]:
        return found(dict.fromkeys(names, equal) | dict.fromkeys(slowed, equal + math.log1p(slowdown)))

    alarms = found({})
    alone = {name: [at(slowdown, [name]) for slowdown in SLOWDOWNS] for name in names}
    alone[ANY[0]] = [at(slowdown, names) for slowdown in SLOWDOWNS]
    again = _resampled(runs, rule, noise, injected)
    return {
        key: _rates([[key in run for run in one] for one in (alarms, *alone[key[0]])], again[key])
        for key in (*noise, ANY)
    }


def _rates(found: Sequence[Sequence[bool]], resampled: float) -> Rates:
    """Of one benchmark, whether each run found a regression: as it was, then at each slowdown."""
    n, alarms = len(found[0]), sum(found[0])
    powers = tuple(sum(at) / n for at in found[1:])
    return Rates(n, alarms, *stats.clopper_pearson(alarms, n), resampled, powers)


def _resampled(runs: Sequence[Run], rule: Rule, noise: Mapping[Key, float], injected: float) -> dict[Key, float]:
    """The share of `RESAMPLED` comparisons that find a regression: of rounds drawn from all, with each one's sides
    exchanged by chance, for which is which means nothing in equal code. Rounds are taken as independent."""
    truth, chance = math.log1p(injected), random.Random(0)
    rounds = [
        {key: run[key][number] for key in noise if number < len(run.get(key, ()))}
        for run in runs
        for number in range(max(map(len, run.values())))
    ]
    pairs = statistics.median_low([len(values) for run in runs for values in run.values()])

    def drawn() -> dict[Key, list[float | None]]:
        found: dict[Key, list[float | None]] = {key: [] for key in noise}
        for _ in range(pairs):
            taken, sign = chance.choice(rounds), chance.choice((-1, 1))
            for key in noise:
                value = taken.get(key)
                found[key].append(None if value is None else truth + sign * (value - truth))
        return found

    alarms = [regressions([drawn(), drawn()], 0, rule, noise, {}) for _ in range(RESAMPLED)]
    return {key: sum(key in alarm for alarm in alarms) / RESAMPLED for key in (*noise, ANY)}


def regressions(
    runs: Sequence[Run], number: int, rule: Rule, noise: Mapping[Key, float], slower: Mapping[str, float]
) -> set[Key]:
    """What this run, and then the next, call regressed where head's ln seconds are more by `slower`, by benchmark; and
    `ANY`, if anything."""
    first = regress.judge(_slowed(runs[number], slower), rule, noise)
    doubtful = {name for name, _ in regress.candidates(first)}
    if not doubtful:
        return set()
    fresh = {key: values for key, values in runs[(number + 1) % len(runs)].items() if key[0] in doubtful}
    settled = regress.settled(first, regress.judge(_slowed(fresh, slower), rule, noise))
    found = {key for key, finding in settled.items() if finding.ruling == REGRESSION}
    return found | {ANY} if found else set()


def _slowed(run: Run, slower: Mapping[str, float]) -> Run:
    def shifted(name: str, values: Sequence[float | None]) -> list[float | None]:
        return [None if value is None else value + slower.get(name, 0.0) for value in values]

    return {key: shifted(key[0], values) for key, values in run.items()}
