"""One benchmark measured once, by one process: a row of the history."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime

DEVICE, CPU, WALL = "device", "cpu", "wall"  # clocks
HISTORY, CONFIRMATION, COMPARISON, CALIBRATION, IMPORTED = PURPOSES = (
    "history",
    "confirmation",
    "comparison",
    "calibration",
    "imported",
)


def speed(images: int | None, seconds: float | None) -> float | None:
    """Images a second; None where either is unknown or none."""
    return images / seconds if images and seconds else None


@dataclass(frozen=True)
class Taking:
    """When, where and of what code samples were taken: what those of one process have in common.

    `measurement_id` is of all samples that one command took; `side` (base or head) and `pair` place a sample within a
    comparison. `dirty` is whether the code differs from the commit. `injected` is by how much the side was slowed down
    on purpose. Times are UTC.
    """

    measurement_id: str
    purpose: str
    side: str | None
    pair: int | None
    commit: str | None
    dirty: bool | None
    committed: datetime | None
    host_id: str
    device: str
    threads: int
    injected: float | None
    started: datetime


@dataclass(frozen=True)
class Outcome:
    """What was measured. Times are seconds, memory bytes; what could not be read is None, and `unread` says why.

    `window_seconds` and `cpu_seconds` (of the process's CPU time) are the raw windows, of `calls` calls each, after
    those of the warm-up: of these `warm_up_seconds` are a call's, and `steady` says whether they ended in no more
    drift. `clock` is what times a call: the device's events on a GPU, the process's CPU time on one thread of a CPU
    (what others take from it is not its own), else the wall's. `images` are those of a call; a training step's moves at
    least `call_bytes`, and does `call_multiply_adds` (`bench.floors`): the shares are what that is of the device's
    measured copy bandwidth and matrix rate; of other work with a net, what it computes forward. `slowdowns` are seconds
    by reason, as JSON. `trouble`, where set, is why the sample is not valid. `failed` is why there is none, `cause` of
    what kind (`bench.instrument`); one taken in turns with another that failed has neither, and no windows.
    """

    failed: str | None = None
    cause: str | None = None
    clock: str = WALL
    images: int | None = None
    calls: int | None = None
    window_seconds: tuple[float, ...] = ()
    cpu_seconds: tuple[float, ...] = ()
    warm_up_seconds: tuple[float, ...] = ()
    steady: bool | None = None
    call_bytes: int | None = None
    call_multiply_adds: int | None = None
    bandwidth_share: float | None = None
    arithmetic_share: float | None = None
    joules_per_1000_images: float | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_rss_bytes: int | None = None
    base_rss_bytes: int | None = None
    gpu_memory_used_bytes: int | None = None
    sm_clock_mhz: float | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    slowdowns: str | None = None
    trouble: str | None = None
    unread: str | None = None

    def windows(self, clock: str) -> tuple[float, ...]:
        """The windows' seconds by a clock."""
        return self.cpu_seconds if clock == CPU else self.window_seconds

    @property
    def seconds(self) -> float | None:
        """A call's, by its clock: the median of the windows over `calls`; None where there is no window."""
        return statistics.median(self.windows(self.clock)) / self.calls if self.window_seconds and self.calls else None

    @property
    def images_per_second(self) -> float | None:
        """Images of a call over its seconds."""
        return speed(self.images, self.seconds)

    @property
    def memory_bytes(self) -> int | None:
        """The peak of torch's allocator on a GPU, else by how much the process's resident memory grew."""
        return self.grown_bytes if self.peak_allocated_bytes is None else self.peak_allocated_bytes

    @property
    def grown_bytes(self) -> int | None:
        """By how much the process's resident memory grew beyond what it began with."""
        if self.peak_rss_bytes is None or self.base_rss_bytes is None:
            return None
        return self.peak_rss_bytes - self.base_rss_bytes
