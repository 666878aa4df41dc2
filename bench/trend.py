"""Whether a bench's newest result is out of line with its history on this host: plain sequences in, rulings out.

Values are natural logs of seconds, oldest first, so larger is slower and differences are ratios.

**Out of line.** The baseline is what came since the last change of level, found (`steps`) or accepted. A value x has
the robust z = (x - median) / scale, scale = max(1.4826 · MAD, a floor), where MAD is the median distance from the
median, 0.6745 standard deviations of normal noise. Both are estimates from n values, so z of a new normal value is
wider than normal: nearly √(1 + π/2n) times Student's t(ν), for a median's variance is π/2n of a value's, and a MAD
varies as much as a standard deviation of 0.367 n values does. ν = 0.367 (2⌊n/2⌋ + 1.3) is fitted: from n = 10 on, false
alarms are within a seventh of a stated rate of 0.01 or 0.001, and up to a third fewer at 0.0001. So few values ask for
more: at 0.001 a z of 7.4 for 10 values, 4.7 for 20 and 3.4 for 100. Heavier tails than normal raise more false alarms,
which is what the minimum effect and confirmation are for.

**Not forgotten.** A slowdown that lasts becomes the baseline. It stays open while the newest level lies above the
lowest level since the last accepted mark by more than the minimum effect: also where several steps, each too small, add
up, and where an improvement was lost again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from scipy.special import stdtrit

from bench.steps import change_points

NORMAL_MAD = 1.4826  # standard deviations of normal noise a MAD
Kind = Literal["regression", "improvement", "steady", "too few points"]


@dataclass(frozen=True)
class Limits:
    """What is flagged: an effect above `minimum` (0.02: 2 %) whose z a normal history passes at a rate of `level` on
    either side. `floor` is the least scale, in log seconds; below `fewest` baseline values nothing is flagged."""

    minimum: float = 0.02
    level: float = 0.001
    floor: float = 0.002
    fewest: int = 10


@dataclass(frozen=True)
class Open:
    """A slowdown neither accepted nor gone: from the history's `index` on every level lies above the lowest by more
    than the minimum; `effect` is the newest level over the lowest, less 1."""

    index: int
    effect: float


@dataclass(frozen=True)
class Ruling:
    """What one value is against a baseline of `n` values: `effect` is its time over the median's, less 1.

    `z` and `effect` are None for an empty baseline; wherever there are too few values also `threshold`, `high`, the
    effect that is not excluded at 95 % on one side, and `limit`, the least effect that would be flagged.
    """

    kind: Kind
    z: float | None
    effect: float | None
    threshold: float | None
    n: int
    high: float | None = None
    limit: float | None = None

    @property
    def flagged(self) -> bool:
        """Whether this wants confirming."""
        return self.kind in ("regression", "improvement")

    def agrees(self, first: Ruling) -> bool:
        """Whether this, of a new value against the same baseline, confirms the first: it is flagged likewise."""
        return self.flagged and self.kind == first.kind


@dataclass(frozen=True)
class Baseline:
    """The values of the present level, of which the first is the history's `start`, and what a new one is held to."""

    start: int
    values: tuple[float, ...]
    limits: Limits
    open: Open | None

    def rule(self, newest: float) -> Ruling:
        """The ruling on a value that is not in the history."""
        n, limits = len(self.values), self.limits
        if n == 0:
            return Ruling("too few points", None, None, None, 0)
        centre = median(self.values)
        effect = math.expm1(newest - centre)
        scale = max(NORMAL_MAD * median(abs(value - centre) for value in self.values), limits.floor)
        z = (newest - centre) / scale
        if n < limits.fewest:
            return Ruling("too few points", z, effect, None, n)
        least = threshold(n, limits.level)
        kind: Kind = "steady"
        if abs(z) > least and abs(effect) > limits.minimum:
            kind = "regression" if z > 0 else "improvement"
        high = math.expm1(newest - centre + threshold(n, 0.05) * scale)
        return Ruling(kind, z, effect, least, n, high, max(limits.minimum, math.expm1(least * scale)))


def baseline(history: Sequence[float], accepted: Iterable[int] = (), limits: Limits | None = None) -> Baseline:
    """The present level of a history in order (oldest first), the newest results to be ruled on not among it.

    A mark among `accepted`, an index from 0 to the history's length, says that a new level from there on is accepted;
    nothing before the last one counts. A mark that comes three values or more too early leaves the old level in, and
    the step may be found, and open, again. Raises ValueError for a mark outside the history, or a value not finite.
    """
    limits, marks = limits or Limits(), [0, *accepted]
    if not 0 <= min(marks) <= max(marks) <= len(history):
        raise ValueError(f"accepted marks are indices from 0 to {len(history)}, not {sorted(marks[1:])}")
    since = max(marks)
    steps = change_points(history[since:])
    starts = [since, *(since + step.index for step in steps)]
    levels = [steps[0].before, *(step.after for step in steps)] if steps else []
    return Baseline(starts[-1], tuple(history[starts[-1] :]), limits, _open(starts, levels, limits.minimum))


def threshold(n: int, level: float) -> float:
    """The z that a new value of normal noise exceeds at a rate of `level`, on one side, where n were seen."""
    df = 0.367 * (n // 2 * 2 + 1.3)
    return float(stdtrit(df, 1 - level)) * math.sqrt(1 + math.pi / (2 * n))


def _open(starts: Sequence[int], levels: Sequence[float], minimum: float) -> Open | None:
    """From the first of the last levels that all lie above the lowest by more than the minimum."""
    raised = [math.expm1(level - min(levels)) for level in levels]
    if not raised or raised[-1] <= minimum:
        return None
    last_low = max(i for i, effect in enumerate(raised) if effect <= minimum)  # the lowest level is one such
    return Open(starts[last_low + 1], raised[-1])
