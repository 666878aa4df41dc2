"""Whether a benchmark got slower than its history on this host says it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.benchmark import Benchmark
from bench.quantity import MORE, Quantity, quantities
from bench.ruling import FAILED, IMPROVEMENT, INCONCLUSIVE, NOT_MEASURED, REGRESSION, STEADY
from bench.sample import Outcome, speed
from bench.series import Point, Series
from bench.trend import Limits, Open, Ruling


@dataclass(frozen=True)
class Level:
    """What is said of one benchmark.

    `word` is one of `bench.ruling`'s, `ruling` that on the newest point, `confirmed` whether a fresh one agreed (None:
    none was asked for), `open` a slowdown that lasts, `because` what to tell beside.
    """

    benchmark: Benchmark
    word: str
    because: str | None
    ruling: Ruling | None
    confirmed: bool | None
    open: Open | None
    level_seconds: float | None
    seconds: float | None
    images: int | None
    quantities: tuple[Quantity, ...] = ()

    @property
    def worse(self) -> bool:
        """Whether it fails the gate."""
        grew = any(quantity.change == MORE for quantity in self.quantities)
        return self.word in (REGRESSION, FAILED) or self.open is not None or grew

    @property
    def speeds(self) -> tuple[float | None, float | None]:
        """Images a second at its level, and now."""
        return speed(self.images, self.level_seconds), speed(self.images, self.seconds)


def judge(
    benchmark: Benchmark,
    history: Series | None,
    now: Point | None,
    outcomes: Sequence[Outcome],
    limits: Limits,
    again: Point | None = None,
) -> Level:
    """Rule on the newest point by the history before it; `again` is a fresh point, of which a change asks for one.

    `outcomes` are those of the newest measurement, also what is no point.
    """
    lost = [o for o in outcomes if o.failed or o.trouble]
    if now is None:
        why = next((o.failed or o.trouble for o in lost), "no sample was taken")
        broke = history is not None and any(o.failed and o.cause != "refused" for o in lost)
        word = FAILED if broke else INCONCLUSIVE if any(o.trouble for o in lost) else NOT_MEASURED
        return Level(benchmark, word, why, None, None, None, None, None, None)
    level = _level(benchmark, history, now, limits, again)
    if lost:  # the others are judged, and this is not kept quiet
        beside = f"{len(lost)} of {len(outcomes)} processes gave nothing: {lost[0].failed or lost[0].trouble}"
        level = replace(level, because="; ".join(filter(None, [level.because, beside])))
    return level


def _level(benchmark: Benchmark, history: Series | None, now: Point, limits: Limits, again: Point | None) -> Level:
    images = now.samples[0].outcome.images
    if history is None:
        first = Ruling("too few points", None, None, None, 0)
        because = "the first point of its history: reported only"
        return Level(benchmark, INCONCLUSIVE, because, first, None, None, None, now.seconds, images)
    line = history.baseline(limits)
    ruling = line.rule(math.log(now.seconds))
    level = math.exp(statistics.median(line.values)) if line.values else None
    fresh = line.rule(math.log(again.seconds)) if ruling.flagged and again is not None else None
    confirmed = fresh and fresh.agrees(ruling)
    still = _still_open(line.open, line.values, now, limits)
    word, because = _said(ruling, fresh, bool(confirmed), still, history, limits)
    since = max(history.accepted, default=0)
    sizes = tuple(_quantities(history.points[since:], now, limits.minimum))
    return Level(benchmark, word, because, ruling, confirmed, still, level, now.seconds, images, sizes)


def _said(
    ruling: Ruling, fresh: Ruling | None, confirmed: bool, still: Open | None, history: Series, limits: Limits
) -> tuple[str, str | None]:
    """The word for it, and what to add. What could not have been seen is no pass."""
    if ruling.kind == "regression" and confirmed:
        return REGRESSION, None
    if still is not None:
        commit = (history.points[still.index].taking.commit or "an unknown commit")[:12]
        return REGRESSION, f"slower by {still.effect:.1%} since {commit}, neither accepted nor gone"
    if ruling.flagged and confirmed:
        return IMPROVEMENT, None
    if ruling.high is None:
        return INCONCLUSIVE, f"too few points to judge ({ruling.n} of {limits.fewest}): reported only"
    if ruling.flagged and fresh is None:
        return INCONCLUSIVE, f"{ruling.effect:+.1%} was seen, not confirmed"
    last = fresh or ruling
    seen = [f"{ruling.effect:+.1%} was seen, and {fresh.effect:+.1%} in a fresh measurement"] if fresh else []
    if last.high > 2 * limits.minimum:
        return INCONCLUSIVE, "; ".join([*seen, f"in this noise a slowdown of {last.high:.1%} is not excluded"])
    return STEADY, "; ".join(seen) or None


def _still_open(found: Open | None, values: Sequence[float], now: Point, limits: Limits) -> Open | None:
    """An open slowdown, unless the newest point is as fast as it was before it."""
    if found is None or not values:
        return None
    lowest = statistics.median(values) - math.log1p(found.effect)
    return found if math.expm1(math.log(now.seconds) - lowest) > limits.minimum else None


def _quantities(before: Sequence[Point], now: Point, margin: float) -> list[Quantity]:
    """Counts and bytes now against the least since the last accepted level."""
    if not before:
        return []
    outcomes = [sample.outcome for sample in now.samples]
    least: dict[str, Quantity] = {}
    for point in before:
        for quantity in quantities([sample.outcome for sample in point.samples], outcomes, margin):
            if quantity.name not in least or quantity.base < least[quantity.name].base:
                least[quantity.name] = quantity
    return list(least.values())


def flagged(levels: Mapping[str, Level]) -> list[str]:
    """The benchmarks of which a fresh point is asked for."""
    return [name for name, level in levels.items() if level.ruling and level.ruling.flagged]
