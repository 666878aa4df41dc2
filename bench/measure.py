"""Time and memory of a device, measured so that a figure can be believed."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

Wait = Callable[[torch.cuda.Event], None]


class Stopwatch:
    """Seconds of work on a device: on a CPU by its clock, on a GPU by events in the current stream.

    On a GPU measuring waits for nothing but, so that the host keeps at most one piece of work ahead of the device, for
    the piece before the last. `wait` is how it waits for an event.
    """

    def __init__(self, device: torch.device, wait: Wait = torch.cuda.Event.synchronize) -> None:
        self._on_gpu, self._wait = device.type == "cuda", wait
        self._seconds = 0.0
        self._pieces: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @property
    def seconds(self) -> float:
        """The time so far; waits until the work is done."""
        self._settle(0)
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._settle(0)
        self._seconds = seconds

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the enclosed work, or the work it queues, takes."""
        if self._on_gpu:
            begin, end = (torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._pieces.append((begin, end))
            self._settle(1)
        else:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start

    def _settle(self, ahead: int) -> None:
        while len(self._pieces) > ahead:
            begin, end = self._pieces.popleft()
            self._wait(end)
            self._seconds += begin.elapsed_time(end) / 1000


@dataclass(frozen=True)
class Memory:
    """Peaks in bytes: of torch's allocator on the device (None on a CPU), and of the process's resident set."""

    allocated: int | None
    reserved: int | None
    resident: int


def peak_memory(device: torch.device) -> Memory:
    """The peaks since this process began."""
    resident = _peak_resident()
    if device.type != "cuda":
        return Memory(None, None, resident)
    return Memory(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device), resident)


def _peak_resident() -> int:
    """VmHWM where there is a /proc: getrusage's ru_maxrss also counts the process that this one was started from."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
