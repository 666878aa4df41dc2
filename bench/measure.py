"""Time and memory of a device, measured so that a figure can be believed."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch


class Stopwatch:
    """Seconds of device work. Queued work is waited for before either reading of the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the enclosed work takes on the device."""
        self._synchronize()
        start = time.perf_counter()
        yield
        self._synchronize()
        self.seconds += time.perf_counter() - start

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


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
