"""What a GPU did while something was measured on it, and whether that spoils the measurement."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.nvml import SLOWDOWNS, THERMAL, Reading

POLLED = ("sm_clock_mhz", "temperature_celsius", "other_computing")
INVALID = (*THERMAL, *SLOWDOWNS)  # under which a GPU does not work as it normally does


@dataclass(frozen=True)
class Span:
    """What a GPU did between two readings; None where it could not be read.

    Clocks are over the polls in between (of a span without any: its two ends), `slowdowns` the reasons that held the
    clocks down with their seconds, `uncorrected` new ECC errors, `other_*` the most processes seen at once. The driver
    brings its counters up to date now and then: over a short span they, and the energy, are coarse.
    """

    seconds: float
    polls: int
    joules: float | None
    sm_clock_mhz_mean: float | None
    sm_clock_mhz_median: float | None
    temperature_celsius_max: int | None
    slowdowns: Mapping[str, float] | None
    uncorrected: int | None
    other_processes: int | None
    other_computing: int | None
    unread: Mapping[str, str]

    @classmethod
    def between(cls, first: Reading, last: Reading, polls: Sequence[Reading], seconds: float) -> Span:
        """The span from `first` to `last`, `seconds` later."""
        clocks = _known(polls or (first, last), "sm_clock_mhz")
        everything = (first, *polls, last)
        before, after = first.slowdowns or {}, last.slowdowns
        gained = {reason: _gain(before.get(reason), end) for reason, end in (after or {}).items()}
        return cls(
            seconds=seconds,
            polls=len(polls),
            joules=_gain(first.energy_joules, last.energy_joules),
            sm_clock_mhz_mean=statistics.fmean(clocks) if clocks else None,
            sm_clock_mhz_median=statistics.median(clocks) if clocks else None,
            temperature_celsius_max=max(_known(everything, "temperature_celsius"), default=None),
            slowdowns=None if None in (first.slowdowns, after) else {r: gain for r, gain in gained.items() if gain},
            uncorrected=_gain(first.ecc_uncorrected, last.ecc_uncorrected),
            other_processes=max(_known(everything, "other_processes"), default=None),
            other_computing=max(_known(everything, "other_computing"), default=None),
            unread=dict(first.unread) | dict(last.unread),
        )

    def trouble(self) -> str | None:
        """Why what was measured in this span is not valid; None where nothing speaks against it.

        A software power cap is what a GPU at full load works under, and no trouble.
        """
        slowed = self.slowdowns or {}
        causes = [f"{reason} for {slowed[reason]:.3g} s" for reason in INVALID if reason in slowed]
        if self.uncorrected:
            causes.append(f"{self.uncorrected} uncorrected memory error{'s' if self.uncorrected > 1 else ''}")
        if self.other_computing:
            several = self.other_computing > 1
            causes.append(f"{self.other_computing} other process{'es' if several else ''} on the GPU")
        return "; ".join(causes) or None


def _known(readings: Sequence[Reading], name: str) -> list[Any]:
    return [value for reading in readings if (value := getattr(reading, name)) is not None]


def _gain(before: Any, after: Any) -> Any:
    """What a counter gained; None where an end is unknown or it began anew in between."""
    return None if before is None or after is None or after < before else after - before
