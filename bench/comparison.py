"""Two checkouts compared: pairs of samples, the verdict on each benchmark's time, memory and size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bench import regress
from bench.benchmark import Benchmark
from bench.checkout import Checkout
from bench.errors import InputError
from bench.history import Sample
from bench.nvml import Gauge
from bench.quantity import MORE, Quantity, quantities
from bench.regress import Finding, Key, Rule
from bench.ruling import FAILED, IMPROVEMENT, INCONCLUSIVE, NOT_MEASURED, REGRESSION, STEADY
from bench.sample import COMPARISON, CONFIRMATION, CPU, WALL, Outcome, speed
from bench.sampling import Setting, instruments, sample

HOPELESS = 2  # failures in a row, after which a benchmark is no longer tried
CLOCKS_WITHIN = 0.02  # of each other, for a pair of a GPU's samples to be valid


@dataclass(frozen=True)
class Pair:
    """A benchmark's outcomes on both sides, taken in turns."""

    number: int
    base: Outcome
    head: Outcome

    @property
    def trouble(self) -> str | None:
        """Why the pair is not valid; None where it is."""
        for name, side in (("base", self.base), ("head", self.head)):
            if side.failed:
                return f"{name} failed: {side.failed}"
            if side.trouble:
                return side.trouble
        clocks = self.base.sm_clock_mhz, self.head.sm_clock_mhz
        if None not in clocks and abs(clocks[0] / clocks[1] - 1) > CLOCKS_WITHIN:
            return f"the GPU's clock was {clocks[0]:.0f} MHz for base and {clocks[1]:.0f} MHz for head"
        return None

    @property
    def clocks(self) -> tuple[str, ...]:
        """What is judged: the samples' clock; where that is CPU time also the wall's, for who waits uses none."""
        clock = self.base.clock
        return (clock, WALL) if clock == CPU else (clock,)

    def ratio(self, clock: str) -> float | None:
        """ln(head's seconds / base's) by a clock; None for an invalid pair. The windows lie beside each other in time,
        so each is set against its neighbour, and the median of these counts."""
        if self.trouble:
            return None
        windows = zip(self.head.windows(clock), self.base.windows(clock), strict=True)
        return statistics.median(math.log(head / base) for head, base in windows)


@dataclass(frozen=True)
class Verdict:
    """What is said of one benchmark. `ruling` is a finding's, or failed or not measured; `because` says why."""

    benchmark: Benchmark
    ruling: str
    because: str | None
    finding: Finding | None
    base_seconds: float | None
    head_seconds: float | None
    images: int | None
    quantities: tuple[Quantity, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def grew(self) -> tuple[Quantity, ...]:
        """The quantities of which head needs more."""
        return tuple(quantity for quantity in self.quantities if quantity.change == MORE)

    @property
    def speeds(self) -> tuple[float | None, float | None]:
        """Images a second on both sides."""
        return speed(self.images, self.base_seconds), speed(self.images, self.head_seconds)

    @property
    def worse(self) -> bool:
        """Whether head is slower, needs more, or fails where base does not."""
        return self.ruling in (REGRESSION, FAILED) or bool(self.grew)


@dataclass(frozen=True)
class Bout:
    """How two checkouts are compared: which, on what, by which rule, in how many pairs."""

    base: Checkout
    head: Checkout
    benchmarks: Sequence[Benchmark]
    setting: Setting
    rule: Rule
    pairs: int
    spreads: Mapping[Key, float]  # of a pair's ln ratio on this host, where it is calibrated
    slowdown: float = 0.0  # of head, on purpose


Run = Mapping[str, Sequence[Pair]]  # a comparison's pairs, by benchmark
Take = Callable[[str, int, Sequence[tuple[Benchmark, Outcome, Outcome]]], None]


def compare(bout: Bout, gauge: Gauge, told: Callable[[str], None], taken: Take) -> list[Verdict]:
    """Measure pairs, judge them, measure changes again in fresh pairs. `taken` gets the samples of each round of them:
    their purpose, the number of the pair, and of each benchmark base's outcome and head's.

    Pairs that are not valid are made up for, with up to half as many more.

    Raises:
        InputError: where a checkout cannot be measured.
    """
    first = list(rounds(bout, bout.benchmarks, COMPARISON, gauge, told, taken))
    pairs = by_benchmark(bout.benchmarks, first)
    findings = regress.judge(ratios(pairs), bout.rule, bout.spreads)
    doubtful = {name for name, _ in regress.candidates(findings)}
    if chosen := [benchmark for benchmark in bout.benchmarks if benchmark.id in doubtful]:
        told(f"changed: {len(chosen)}; measured again in fresh pairs")
        again = by_benchmark(chosen, rounds(bout, chosen, CONFIRMATION, gauge, told, taken))
        findings = regress.settled(findings, regress.judge(ratios(again), bout.rule, bout.spreads))
        pairs = {name: [*found, *again.get(name, [])] for name, found in pairs.items()}
    return [_verdict(benchmark, pairs[benchmark.id], findings, bout.rule) for benchmark in bout.benchmarks]


def rounds(
    bout: Bout, benchmarks: Sequence[Benchmark], purpose: str, gauge: Gauge, told: Callable[[str], None], taken: Take
) -> Iterator[tuple[Benchmark, Pair]]:
    """The pairs of each benchmark, round by round; each round has fresh processes, every second one head first."""
    wanted = dict.fromkeys(benchmarks, bout.pairs)  # valid pairs that are still to be taken
    failures = dict.fromkeys(benchmarks, 0)
    for number in range(most_rounds(bout.pairs)):
        due = [b for b in benchmarks if wanted[b] > 0 and failures[b] < HOPELESS]
        if not due:
            return
        told(f"{purpose}: round {number + 1}, benchmarks: {len(due)}")
        outcomes = _round(bout, due, gauge, head_first=number % 2 == 1)
        taken(purpose, number, [(benchmark, *sides) for benchmark, sides in zip(due, outcomes, strict=True)])
        for benchmark, (base, head) in zip(due, outcomes, strict=True):
            pair = Pair(number, base, head)
            failures[benchmark] = failures[benchmark] + 1 if base.failed or head.failed else 0
            wanted[benchmark] -= pair.trouble is None
            yield benchmark, pair


def most_rounds(pairs: int) -> int:
    """The rounds in which so many valid pairs are looked for."""
    return pairs + pairs // 2


def finished(found: Sequence[Pair], pairs: int) -> bool:
    """Whether a benchmark has its valid pairs, or no more are looked for."""
    last = found[-HOPELESS:]
    hopeless = len(last) == HOPELESS and all(pair.base.failed or pair.head.failed for pair in last)
    enough = sum(pair.trouble is None for pair in found) >= pairs
    return enough or hopeless or len(found) >= most_rounds(pairs)


def _round(bout: Bout, due: Sequence[Benchmark], gauge: Gauge, *, head_first: bool) -> list[tuple[Outcome, Outcome]]:
    found = []
    with instruments([bout.base, bout.head], bout.setting) as (base, head):
        for benchmark in due:
            if head_first:
                theirs, ours = sample([head, base], benchmark, bout.setting, gauge, [bout.slowdown, 0.0])
            else:
                ours, theirs = sample([base, head], benchmark, bout.setting, gauge, [0.0, bout.slowdown])
            found.append((ours, theirs))
    return found


def by_benchmark(benchmarks: Sequence[Benchmark], taken: Iterable[tuple[Benchmark, Pair]]) -> dict[str, list[Pair]]:
    """The pairs of each benchmark, by its id."""
    found: dict[str, list[Pair]] = {benchmark.id: [] for benchmark in benchmarks}
    for benchmark, pair in taken:
        found[benchmark.id].append(pair)
    return found


def recorded(samples: Iterable[Sample], benchmarks: Sequence[Benchmark], pairs: int) -> list[tuple[int, Run]]:
    """The finished comparisons, of so many pairs each, in the samples of one measurement: their numbers, and the pairs
    of each benchmark.

    One that was begun several times counts as it was taken last. A pair whose process was stopped between its two
    sides is none.

    Raises:
        InputError: where the samples are of comparisons of another number of pairs.
    """
    begun: dict[int, dict[datetime, dict[tuple[str, int], dict[str, Outcome]]]] = {}
    for found in samples:
        number, at = divmod(found.taking.pair, most_rounds(pairs))
        by_place = begun.setdefault(number, {}).setdefault(found.taking.started, {})
        by_place.setdefault((found.benchmark_id, at), {})[found.taking.side] = found.outcome
    runs = []
    for number, by_start in sorted(begun.items()):
        taken = sorted((place, sides) for place, sides in by_start[max(by_start)].items() if len(sides) == 2)
        run = {b.id: [Pair(at, **sides) for (name, at), sides in taken if name == b.id] for b in benchmarks}
        for found in run.values():
            whole = [pair.number for pair in found] == list(range(len(found)))
            if not whole or sum(pair.trouble is None for pair in found) > pairs:
                raise InputError(f"its comparisons are not of {pairs} pairs")
        if all(finished(found, pairs) for found in run.values()):
            runs.append((number, run))
    return runs


def ratios(pairs: Mapping[str, Sequence[Pair]]) -> dict[Key, list[float | None]]:
    """What is judged: the pairs' ln ratios, by each clock."""
    clocks = {name: dict.fromkeys(clock for pair in found for clock in pair.clocks) for name, found in pairs.items()}
    return {(name, clock): [pair.ratio(clock) for pair in pairs[name]] for name in pairs for clock in clocks[name]}


def _verdict(benchmark: Benchmark, pairs: Sequence[Pair], findings: Mapping[Key, Finding], rule: Rule) -> Verdict:
    """All that the pairs of one benchmark say."""
    clock = pairs[0].clocks[0] if pairs else WALL
    finding, by_wall = (
        findings.get((benchmark.id, c), Finding(NOT_MEASURED, 0, 0, rule.margin)) for c in (clock, WALL)
    )
    waits = by_wall.ruling == REGRESSION and finding.ruling != REGRESSION
    finding = by_wall if waits else finding
    sides = [[p.base for p in pairs if not p.base.failed], [p.head for p in pairs if not p.head.failed]]
    seconds = [_median([o.seconds for o in side]) for side in sides]
    troubles = tuple(dict.fromkeys(pair.trouble for pair in pairs if pair.trouble))
    ruling, because = finding.ruling, None
    fails = sum(bool(pair.head.failed) for pair in pairs)
    if not all(sides):
        ruling, because = (FAILED if sides[0] else NOT_MEASURED), (troubles or ("no pair was taken",))[0]
    elif fails and len(sides[0]) == len(pairs) and ruling in (STEADY, IMPROVEMENT):
        ruling, because = INCONCLUSIVE, f"head failed in {fails} of {len(pairs)} pairs, and base in none"
    elif ruling == INCONCLUSIVE:
        because = _doubt(finding, troubles)
    elif waits:
        because = "it waits: its CPU time did not grow so"
    elif finding.confirmed is False:
        because = "a change was seen, and not again in fresh pairs"
    return Verdict(
        benchmark,
        ruling,
        because,
        finding if all(sides) else None,
        *seconds,
        images=next((o.images for side in sides for o in side if o.images), None),
        quantities=tuple(quantities(*sides, rule.margin)) if all(sides) else (),
        troubles=troubles,
    )


def _doubt(finding: Finding, troubles: Sequence[str]) -> str:
    if finding.change is None:
        return f"{finding.invalid} of {finding.invalid + finding.pairs} pairs not valid: {'; '.join(troubles)}"
    if finding.confirmed is False:
        return "a change was seen, and fresh pairs neither confirm it nor rule it out"
    return f"a slowdown of {finding.high:.1%} is not excluded"


def _median(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None
