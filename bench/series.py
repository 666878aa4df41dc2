"""The trend of a benchmark on one host: its points in order, its levels, and what is held against the newest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.benchmark import Benchmark
from bench.history import Mark, Sample
from bench.host import Host
from bench.sample import Taking, speed
from bench.steps import Step, change_points
from bench.trend import Baseline, Limits, baseline


@dataclass(frozen=True)
class Point:
    """What one measurement gave: the samples of its processes, the first of which says how they were taken."""

    samples: tuple[Sample, ...]

    @property
    def taking(self) -> Taking:
        """When, where and of what code."""
        return self.samples[0].taking

    @cached_property
    def seconds(self) -> float:
        """Of a call: the median over the processes."""
        return statistics.median(sample.outcome.seconds for sample in self.samples)

    @property
    def images_per_second(self) -> float | None:
        """Images of a call over its seconds; None where a call has no images."""
        return speed(self.samples[0].outcome.images, self.seconds)


@dataclass(frozen=True)
class Series:
    """The points of one benchmark on one host, measured one way, in the order of their commits.

    `accepted` has the notes of accepted levels by the index of the first point at them.
    """

    benchmark_id: str
    name: str
    benchmark: Benchmark | None
    host_id: str
    host: Host | None
    points: tuple[Point, ...]
    accepted: Mapping[int, str]

    def alike(self, sample: Sample) -> bool:
        """Whether a sample was measured on this host, in the same way."""
        ours, theirs = self.points[0].taking, sample.taking
        return (ours.host_id, ours.device, ours.threads) == (theirs.host_id, theirs.device, theirs.threads)

    @property
    def logs(self) -> list[float]:
        """ln seconds of the points: what change points and the gate go by."""
        return [math.log(point.seconds) for point in self.points]

    @cached_property
    def steps(self) -> list[Step]:
        """The change points over the whole of it."""
        return change_points(self.logs)

    def baseline(self, limits: Limits | None = None) -> Baseline:
        """What a new point is held against."""
        return baseline(self.logs, self.accepted, limits)


def series(samples: Iterable[Sample], marks: Sequence[Mark], hosts: Mapping[str, Host]) -> list[Series]:
    """The series in samples of a history (in its order); those that failed or are in trouble are no points."""
    groups: dict[tuple[str, str, str, int, str], dict[str, list[Sample]]] = {}
    for sample in samples:
        taking, outcome = sample.taking, sample.outcome
        if outcome.seconds is None or outcome.trouble:
            continue
        key = sample.benchmark_id, taking.host_id, taking.device, taking.threads, outcome.clock
        groups.setdefault(key, {}).setdefault(taking.measurement_id, []).append(sample)
    return [_series(list(map(tuple, found.values())), marks, hosts) for found in groups.values()]


def _series(measured: list[tuple[Sample, ...]], marks: Sequence[Mark], hosts: Mapping[str, Host]) -> Series:
    points = tuple(Point(samples) for samples in measured)
    first = points[0].samples[0]
    host_id = first.taking.host_id
    accepted = {}
    for mark in marks:
        if mark.benchmark_id == first.benchmark_id and mark.host_id in (None, host_id):
            accepted[_index(points, mark)] = mark.note
    return Series(first.benchmark_id, first.name, first.benchmark, host_id, hosts.get(host_id), points, accepted)


def _index(points: Sequence[Point], mark: Mark) -> int:
    """The first point of the mark's commit, or of any committed since; the end where there is none yet."""
    for index, point in enumerate(points):
        if point.taking.commit == mark.commit or (point.taking.committed or point.taking.started) > mark.committed:
            return index
    return len(points)
