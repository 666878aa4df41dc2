"""Where cells run: places on the GPUs there are, or on the cores of the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import host
from bench.cell import Cell
from bench.errors import DeviceError
from bench.source import Source

CONNECTIONS = ("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # of its 8, streams of a larger gang would wait for each other


@dataclass(frozen=True)
class Slot:
    """A place where one cell, or one gang of cells, at a time runs: a share of a device."""

    device: str  # as torch names it in the child
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def shares(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What cells in slots of one device have in common."""
        return self.device, self.environment

    def job(self, cell: Cell, source: Source, data_sha256: str | None) -> dict[str, Any]:
        """What every child that works on a cell here is told."""
        return {
            "cell": cell.flat(),
            "source": str(source),
            "device": self.device,
            "threads": 1,
            "data_sha256": data_sha256,
        }


def choose_gpus(device: str, toolkit: host.Toolkit | None = None) -> list[host.Gpu]:
    """The GPUs that cells run on; none means the CPU.

    Raises:
        DeviceError: when `cuda` is asked for and not there.
    """
    found = host.gpus() if device != "cpu" else []
    usable = found if toolkit is None or toolkit.cuda_available else []
    if device == "cuda" and not usable:
        why = f"torch {toolkit.torch} does not use the GPU" if found and toolkit else "NVML finds no visible GPU"
        raise DeviceError(f"--device cuda: {why}")
    return usable


def slots(gpus: Sequence[host.Gpu], workers: int | None) -> list[Slot]:
    """The places to run: `workers` of them, dealt round the GPUs, pinned by UUID; or on the CPU, one a core."""
    if not gpus:
        return [Slot("cpu")] * (workers or host.cores())
    pinned = [Slot("cuda:0", (("CUDA_VISIBLE_DEVICES", gpu.uuid), CONNECTIONS)) for gpu in gpus]
    return [pinned[i % len(pinned)] for i in range(workers or len(pinned))]


def check_gpus(gpus: Sequence[host.Gpu], cells: Sequence[Cell]) -> None:
    """Whether these cells can run on these GPUs, or (none) on the CPU.

    Raises:
        DeviceError: for tf32, or decoding on a GPU, without one; or GPUs that differ.
    """
    for name, value in (("precision", "tf32"), ("decoding", "gpu")):
        if not gpus and any(getattr(cell.recipe, name) == value for cell in cells):
            raise DeviceError(f'{name} = "{value}" needs a GPU, and these cells would run on the CPU')
    if len({(gpu.name, gpu.memory_bytes, gpu.power_limit_watts) for gpu in gpus}) > 1:
        names = ", ".join(gpu.name for gpu in gpus)
        raise DeviceError(f"unlike GPUs are not mixed in one run ({names}); choose with CUDA_VISIBLE_DEVICES")
