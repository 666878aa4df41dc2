"""Where cells run: places on the GPUs there are, or on the cores of the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench import host
from bench.cell import Cell
from bench.errors import DeviceError
from bench.source import Source

VISIBLE = "CUDA_VISIBLE_DEVICES"
CONNECTIONS = ("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # of its 8, streams of a larger gang would wait for each other


@dataclass(frozen=True)
class Slot:
    """A place where one cell, or one gang of cells, at a time runs: a share of a device, or several `devices`."""

    device: str  # as torch names it, or the first, in the child
    environment: tuple[tuple[str, str], ...] = ()
    devices: int = 1

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


def slots(gpus: Sequence[host.Gpu], workers: int | None, devices: int = 1) -> list[Slot]:
    """The places to run: `workers` of them, dealt round the GPUs, pinned by UUID; or on the CPU, one a core.

    With `devices` a place is so many GPUs, those next to each other by number, or so many cores.

    Raises:
        DeviceError: when there are fewer GPUs.
    """
    if not gpus:
        return [Slot("cpu", devices=devices)] * (workers or max(1, host.cores() // devices))
    if devices > len(gpus):
        raise DeviceError(f"--devices {devices}: there {'is 1 GPU' if len(gpus) == 1 else f'are {len(gpus)} GPUs'}")
    together = [gpus[start : start + devices] for start in range(0, len(gpus) - devices + 1, devices)]
    visible = [(VISIBLE, ",".join(gpu.uuid for gpu in some)) for some in together]
    pinned = [Slot("cuda:0", (which, CONNECTIONS), devices) for which in visible]
    return [pinned[i % len(pinned)] for i in range(workers or len(pinned))]


def fallen_away(slot: Slot) -> str | None:
    """The GPU of a slot that the system has no longer, by its UUID; None where all are there."""
    uuids = [uuid for name, value in slot.environment if name == VISIBLE for uuid in value.split(",")]
    return next((uuid for uuid in uuids if not host.has_gpu(uuid)), None)


def check_shares(cells: Sequence[Cell], devices: int) -> None:
    """Whether each cell's batch can be shared among so many devices.

    Raises:
        DeviceError: for a batch that does not divide by them, or into shares of whole groups of batch normalisation.
    """
    for cell in cells if devices > 1 else ():
        recipe = cell.recipe
        share, rest = divmod(recipe.batch, devices)
        if rest:
            raise DeviceError(f"--devices {devices}: {cell.label} has batch = {recipe.batch}, no multiple of that")
        if recipe.norm_batch and share % recipe.norm_batch:
            raise DeviceError(
                f"--devices {devices}: {cell.label} normalises over norm_batch = {recipe.norm_batch} images, and a "
                f"device's share of its batch is {share}, no multiple of that"
            )


def check_recipes(cells: Sequence[Cell], *, on_gpu: bool) -> None:
    """Whether these cells can run on a GPU, or on a CPU.

    Raises:
        DeviceError: for tf32, or decoding on a GPU, without one.
    """
    for name, value in (("precision", "tf32"), ("decoding", "gpu")):
        if not on_gpu and any(getattr(cell.recipe, name) == value for cell in cells):
            raise DeviceError(f'{name} = "{value}" needs a GPU, and these cells would run on the CPU')


def check_gpus(gpus: Sequence[host.Gpu]) -> None:
    """Whether cells may run on all of these.

    Raises:
        DeviceError: for GPUs that differ.
    """
    if len({(gpu.name, gpu.memory_bytes, gpu.power_limit_watts) for gpu in gpus}) > 1:
        names = ", ".join(gpu.name for gpu in gpus)
        raise DeviceError(f"unlike GPUs are not mixed in one run ({names}); choose with CUDA_VISIBLE_DEVICES")
