"""How long a cell should take by the history of benchmarks: steps and forward passes of its net that were timed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from bench.benchmark import benchmarks
from bench.cell import Cell
from bench.host import Host
from bench.source import COUNTS, NOISE, SHAPES, Source

if TYPE_CHECKING:
    from bench.history import Sample

FORWARD_SHARE = 1 / 3  # of a training step's time an image, where no forward pass was timed: the backward pass is two
CROPS, SCALES = 10, 36  # views an image: ten crops; the pixels of five scales and their mirror images, in crops


@dataclass(frozen=True)
class Pace:
    """Images a second on a host: the median of `n` samples of one measurement, taken on `day`."""

    images_per_second: float
    host: Host
    n: int
    day: date


@dataclass(frozen=True)
class Paced:
    """What a cell should take on one device, and by what: its training steps' pace and, where they were timed, that of
    a forward pass, and of reading images of any size: the slower of reading and step binds."""

    seconds: float
    step: Pace
    forward: Pace | None
    reading: Pace | None = None

    @property
    def waits(self) -> bool:
        """Whether the device would wait for images."""
        return self.reading is not None and self.reading.images_per_second < self.step.images_per_second


class Paces:
    """The latest measurement of each benchmark on any of these hosts."""

    def __init__(self, samples: Iterable[Sample], hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._latest: dict[str, list[Sample]] = {}
        for sample in sorted(samples, key=lambda sample: sample.taking.started):
            taking, outcome = sample.taking, sample.outcome
            if taking.host_id not in hosts or taking.injected or outcome.trouble or not outcome.images_per_second:
                continue
            known = self._latest.setdefault(sample.benchmark_id, [])
            if known and known[0].taking.measurement_id != taking.measurement_id:
                known.clear()
            known.append(sample)

    def of(self, work: str, cell: Cell) -> Pace | None:
        """How fast a kind of work on a cell's net, or its images, goes; None where it was not timed."""
        for data in (cell.data,) if work == "loading" else _stand_ins(cell):
            (benchmark,) = benchmarks([work], [Cell(cell.arch, cell.recipe, data)])
            if samples := self._latest.get(benchmark.id):
                rate = statistics.median(sample.outcome.images_per_second for sample in samples)
                taking = samples[-1].taking
                return Pace(rate, self._hosts[taking.host_id], len(samples), taking.started.date())
        return None

    def expect(self, cell: Cell) -> Paced | None:
        """The time for a cell on one device; None without a timed step."""
        step = self.of("train", cell)
        if step is None:
            return None
        forward = self.of("inference", cell)
        rate = forward.images_per_second if forward else step.images_per_second / FORWARD_SHARE
        reading = self.of("loading", cell) if cell.recipe.crop_size else None
        most = reading.images_per_second if reading else math.inf
        trained = cell.recipe.iterations * cell.recipe.batch
        seconds = trained / min(step.images_per_second, most) + evaluated(cell) / min(rate, most)
        return Paced(seconds, step, forward, reading)


def counts(cell: Cell) -> tuple[int, int] | None:
    """How many images its data have, to train and to test; None where their name does not tell."""
    return COUNTS.get(Source.parse(cell.data).label.lower())


def evaluated(cell: Cell) -> int:
    """Views of images that its evaluations, and the tests of its last net, pass forward; 0 where it is not known."""
    known, recipe = counts(cell), cell.recipe
    if known is None:
        return 0
    train, test = known
    held_out = train // 10 if recipe.split == "holdout" else 0
    seen = min(recipe.train_sample or train, train - held_out)
    last = (CROPS + SCALES) * test if recipe.crop_size else 0
    return math.ceil(recipe.iterations / recipe.eval_every) * (seen + held_out + test) + last


def _stand_ins(cell: Cell) -> Iterator[str]:
    """Data on which a step of the cell is timed: its own images, where they are arrays, and noise of their size."""
    crop_size = cell.recipe.crop_size
    if not crop_size:
        yield cell.data
    pixels = (3, crop_size) if crop_size else SHAPES.get(cell.data, ())[:2]
    yield from (name for name in NOISE if SHAPES[name][:2] == pixels)
