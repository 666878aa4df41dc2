"""Made-up histories of measurements, for tests of what reads and draws them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from synthetic import a_cell, a_host

from bench.benchmark import Benchmark
from bench.history import Mark, Sample, sample_of
from bench.host import Host
from bench.sample import HISTORY, WALL, Outcome, Taking
from bench.series import Series, series

START = datetime(2026, 1, 1, tzinfo=UTC)
OURS = Benchmark("train", a_cell())


def commit(number: int) -> str:
    """The digits of an imagined commit."""
    return hashlib.sha1(str(number).encode()).hexdigest()


def noisy(levels: Sequence[float], noise: float = 0.005, seed: int = 0) -> list[float]:
    """Seconds of a call around `levels`."""
    draw = random.Random(seed)
    return [level * math.exp(draw.gauss(0, noise)) for level in levels]


def samples(
    seconds: Sequence[float],
    host: Host,
    benchmark: Benchmark = OURS,
    *,
    first: int = 0,
    every: int = 1,
    processes: int = 3,
    **outcome: object,
) -> list[Sample]:
    """Measurements of commits from number `first` on, each `every` so many, by several processes around `seconds`."""
    found = []
    for index, value in enumerate(seconds):
        number = first + every * index
        committed = START + timedelta(hours=7 * number)
        taking = Taking(
            f"{host.id[:4]}-{number}",
            HISTORY,
            None,
            None,
            commit(number),
            False,
            committed,
            host.id,
            "cuda:0" if host.gpu else "cpu",
            1,
            None,
            committed + timedelta(minutes=30),
        )
        for process in range(processes):
            drift = 1 + 0.004 * (process - (processes - 1) / 2)
            fields = {"clock": WALL, "images": 32, "calls": 1, "window_seconds": (value * drift,)} | outcome
            found.append(sample_of(benchmark, taking, Outcome(**fields)))
    return found


def accepted(number: int, note: str, benchmark: Benchmark = OURS, host: Host | None = None) -> Mark:
    """A level accepted from a commit on."""
    when = START + timedelta(hours=7 * number)
    return Mark(benchmark.id, host.id if host else None, commit(number), when, note, when)


def all_series(found: Sequence[Sample], marks: Sequence[Mark] = (), hosts: Sequence[Host] = ()) -> list[Series]:
    """The series in such samples, in the order of a history."""
    order = sorted(found, key=lambda s: (s.taking.committed, s.taking.started))
    by_id: Mapping[str, Host] = {host.id: host for host in (*hosts, a_host())}
    return series(order, marks, by_id)
