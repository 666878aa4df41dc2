"""Where benchmarks stand: each series with its host's name, what is known of its level, and the tables that say it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.sample import Outcome, Taking
from bench.sampling import CLOCKS
from bench.series import Point, Series
from bench.steps import Step
from bench.table import Column, Table, Value, percent, table
from bench.trend import NORMAL_MAD, Baseline, Limits, Open

Setup = tuple[str, str, int, str]  # host id, device, threads, clock


@dataclass(frozen=True, eq=False)
class Standing:
    """A series, and what its host is called among those of a report."""

    host: str
    series: Series

    @cached_property
    def baseline(self) -> Baseline:
        """The present level."""
        return self.series.baseline()

    @property
    def open(self) -> Open | None:
        """What is slower than it was, neither accepted nor gone."""
        return self.baseline.open

    @property
    def level(self) -> Sequence[Point]:
        """The points of the present level; none where it is only to come."""
        return self.series.points[self.baseline.start :]

    def since(self, index: int) -> str:
        """The commit of a point, as it is shown."""
        points = self.series.points
        return name(points[index].taking) if index < len(points) else "the next commit"

    @property
    def spread(self) -> float | None:
        """1.4826 MAD of the present level, in log seconds: about a share of the time."""
        values = self.baseline.values
        if len(values) < 2:
            return None
        centre = statistics.median(values)
        return NORMAL_MAD * statistics.median(abs(value - centre) for value in values)

    @property
    def state(self) -> str:
        """In words: open, accepted, steady, too few points."""
        if self.open:
            return f"✘ open, {share(self.open.effect)} since {self.since(self.open.index)}"
        few = "" if len(self.baseline.values) >= Limits().fewest else "too few points"
        accepted = "accepted" if self.series.accepted else ""
        return ", ".join(filter(None, [accepted, few])) or "✔ steady"


def standings(found: Sequence[Series]) -> list[list[Standing]]:
    """The series of each benchmark, hosts in the order of their names; first what is open, then what changed, the
    larger effects before the smaller."""
    names = _names(found)
    groups: dict[str, list[Standing]] = {}
    for series in sorted(found, key=lambda series: names[_setup(series)]):
        groups.setdefault(series.benchmark_id, []).append(Standing(names[_setup(series)], series))

    def rank(group: Sequence[Standing]) -> tuple[float, float, str, str]:
        lasting = max((standing.open.effect for standing in group if standing.open), default=0.0)
        changed = max((abs(effect(step)) for standing in group for step in standing.series.steps), default=0.0)
        return -lasting, -changed, group[0].series.name, group[0].series.benchmark_id

    return sorted(groups.values(), key=rank)


def _setup(series: Series) -> Setup:
    taking, outcome = series.points[0].taking, series.points[0].samples[0].outcome
    return series.host_id, taking.device, taking.threads, outcome.clock


def _names(found: Sequence[Series]) -> Mapping[Setup, str]:
    """What hosts are called: their label, and what tells from each other those that would share one."""
    names = {_setup(series): series.host.label if series.host else "unknown host" for series in found}
    says: list[Callable[[Any], str]] = [
        lambda host_id: f"host {host_id}",
        str,
        lambda threads: f"threads: {threads or 'unknown'}",
        lambda clock: f"by {CLOCKS[clock]}",
    ]
    for number, words in enumerate(says):
        for shared in set(names.values()):
            same = [setup for setup, label in names.items() if label == shared]
            if len({setup[number] for setup in same}) > 1:
                names |= {setup: f"{shared}, {words(setup[number])}" for setup in same}
    return names


def name(taking: Taking) -> str:
    """A commit as pictures and tables show it: 7 digits, a plus where the code differed from it; else the date."""
    return f"{taking.commit[:7]}{'+' if taking.dirty else ''}" if taking.commit else f"{day(taking)}"


def day(taking: Taking) -> str:
    """When it was committed, else measured: `2026-03-01`."""
    return f"{taking.committed or taking.started:%Y-%m-%d}"


def effect(step: Step) -> float:
    """By what share a call takes longer after a change of level than before."""
    return math.expm1(step.after - step.before)


def share(change: float) -> str:
    """A change as pictures show it: `+5.1 %`."""
    return f"{100 * change:+.1f} %"


def number(value: float) -> str:
    """With four digits at least: `12,345`, `0.1234`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def count(many: int, noun: str) -> str:
    """`1 point`, `2 points`."""
    return f"{many:,} {noun}{'s' if many != 1 else ''}"


def listing(found: Sequence[Series]) -> Table:
    """For a terminal: a line a benchmark and host, what is open and what changed first."""
    lines = [standing for group in standings(found) for standing in group]
    columns = LISTED if len({standing.host for standing in lines}) == 1 else [LISTED[0], HOST, *LISTED[1:]]
    return _filled("history", columns, lines)


def latest(found: Sequence[Standing], title: str) -> Table:
    """Where each benchmark stands on one host."""
    return _filled(title, COLUMNS, sorted(found, key=lambda s: (s.series.name, s.series.benchmark_id)))


def changes(found: Sequence[Standing]) -> Table:
    """Every change point and every accepted mark, the newest first."""
    columns = [Column("benchmark"), Column("host"), Column("commit"), Column("date")]
    columns += [percent("takes longer by, %", signed=True), Column("p"), Column("accepted")]
    rows: list[tuple[Any, ...]] = []
    for standing in found:
        points, steps = standing.series.points, {step.index: step for step in standing.series.steps}
        for index in steps.keys() | standing.series.accepted.keys():
            step, note = steps.get(index), standing.series.accepted.get(index)
            when = day(points[index].taking) if index < len(points) else "–"
            change = [effect(step), f"{step.p:.1g}"] if step else [None, None]
            rows.append((standing.series.name, standing.host, standing.since(index), when, *change, note))
    return table("changes", columns, sorted(sorted(rows, key=lambda r: r[:3]), key=lambda r: r[3], reverse=True))


def _filled(title: str, columns: Sequence[tuple[Column, Ask]], found: Sequence[Standing]) -> Table:
    """A table with a line a series, without the columns in which nothing is known."""
    values = [(column, [ask(standing) for standing in found]) for column, ask in columns]
    kept = [(column, told) for column, told in values if any(value is not None for value in told)]
    return table(title, [column for column, _ in kept], list(zip(*(told for _, told in kept), strict=True)))


def _newest(ask: Callable[[Outcome], float | None]) -> Ask:
    """Of the newest point: the median over the processes that tell it."""

    def newest(standing: Standing) -> float | None:
        told = [ask(sample.outcome) for sample in standing.series.points[-1].samples]
        return _median([value for value in told if value is not None])

    return newest


def _level(ask: Callable[[Point], float | None]) -> Ask:
    """The median over the points of the present level."""
    return lambda standing: _median([value for p in standing.level if (value := ask(p)) is not None])


def _median(values: Sequence[float]) -> float | None:
    return float(statistics.median(values)) if values else None


def _last(tell: Callable[[Standing, Step], Value]) -> Ask:
    """Of the last change of level."""
    return lambda standing: tell(standing, standing.series.steps[-1]) if standing.series.steps else None


Ask = Callable[[Standing], Value]
HOST: tuple[Column, Ask] = Column("host"), lambda standing: standing.host
LISTED: list[tuple[Column, Ask]] = [
    (Column("benchmark"), lambda standing: standing.series.name),
    (Column("points"), lambda standing: len(standing.series.points)),
    (Column("images/s"), lambda standing: standing.series.points[-1].images_per_second),
    (Column("level, images/s"), _level(lambda point: point.images_per_second)),
    (Column("ms a call", 4, 1000), lambda standing: standing.series.points[-1].seconds),
    (Column("level, ms", 4, 1000), _level(lambda point: point.seconds)),
    (percent("spread, %", 2), lambda standing: standing.spread),
    (Column("since"), lambda standing: standing.since(standing.baseline.start)),
    (percent("last change, %", signed=True), _last(lambda _, step: effect(step))),
    (Column("at"), _last(lambda standing, step: standing.since(step.index))),
    (Column("state"), lambda standing: standing.state),
]
COLUMNS: list[tuple[Column, Ask]] = [
    *LISTED,
    (Column("memory, MB", 1, 1e-6), _newest(lambda outcome: outcome.memory_bytes)),
    (percent("of bandwidth, %"), _newest(lambda outcome: outcome.bandwidth_share)),
    (percent("of matrix rate, %"), _newest(lambda outcome: outcome.arithmetic_share)),
    (Column("J/1000 images", 2), _newest(lambda outcome: outcome.joules_per_1000_images)),
]
