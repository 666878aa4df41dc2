"""An engine whose workers train nothing and are no processes: what a sweep takes on it is the driver's own."""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from synthetic import a_curve, a_host

from bench import run
from bench.answer import Place
from bench.cell import Cell
from bench.kept import Kept
from bench.shared import Shared
from bench.slots import Slot
from bench.task import Event, Returned, Sent, Task


class Crowd:
    """An engine (`bench.engines.Engine`): each worker takes `seconds` a cell, and sends its curve meanwhile."""

    label = "a crowd"

    def __init__(self, workers: int, cell: Cell, seconds: float, folder: Path) -> None:
        """All cells end as `cell` would: with as many evaluations, and readings of as many layers."""
        self.slots, self.kept = [Slot("cpu")] * workers, Kept(Shared(str(folder)))
        self._seconds, self._points = seconds, [asdict(point) for point in a_curve(cell)]
        names = [f"layer{n}.conv" for n in range(cell.arch.depth - 1)]
        readings = [
            {"iteration": at, "response_std": [n / 7 for n in range(len(names))], "gradient_norm": [0.1] * len(names)}
            for at in (0, *(point["iteration"] for point in self._points))
        ]
        layers = {"names": names, "readings": readings}
        self._value = {"curve": self._points, "layers": layers, "base_rss_bytes": 1, "tests": None, "loading": None}
        self._place = Place(a_host(), run.provenance(), datetime.now(UTC), seconds)
        self._due: list[tuple[float, int, Event]] = []  # by time
        self._order, self._under_way = itertools.count(), 0

    def __len__(self) -> int:
        return self._under_way

    def start(self, task: Task) -> None:
        """Its events are known already."""
        self._under_way += 1
        now, of = time.monotonic(), len(self._points)
        events = [Sent(task.key, point) for point in self._points]
        for n, event in enumerate([*events, Returned(task.key, self._value, self._place)]):
            heapq.heappush(self._due, (now + self._seconds * min(n + 1, of) / of, next(self._order), event))

    def wait(self, seconds: float) -> list[Event]:
        """The events of the next moment; empty after `seconds` without any."""
        first = self._due[0][0] if self._due else float("inf")
        time.sleep(max(0.0, min(seconds, first - time.monotonic())))
        now, events = time.monotonic(), []
        while self._due and self._due[0][0] <= now:
            events.append(heapq.heappop(self._due)[2])
        self._under_way -= sum(isinstance(event, Returned) for event in events)
        return events

    def stop(self) -> list[Event]:
        """What is under way is forgotten."""
        self._due.clear()
        return []
