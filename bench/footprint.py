"""What a batch needs: a few steps on one in this process, and the most memory they took."""

from __future__ import annotations

import os
import resource
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.arithmetic import memory_format, set_precision
from bench.cell import Arch, Cell, Recipe
from bench.dataset import Dataset
from bench.errors import DeviceError
from bench.measure import peak_memory
from bench.nets import build
from bench.nvml import open_gauge
from bench.replay import EAGER_CALLS, Replay
from bench.train import Training
from bench.working import Working

# On a GPU until the graph is captured, and replayed. On a CPU memory gets broken into pieces: of ResNet-20 and 256
# images the second step holds a tenth more than the first, above what the process alone does, later ones little more.
STEPS = {"cuda": EAGER_CALLS + 2, "cpu": 3}
SMALL = {"arch": {"family": "cifar", "depth": 8}, "batch": 64, "size": 16}
LACK = (  # how libraries say that memory ran out, but for those that say so
    "could not create a primitive",
    "could not create a memory",
    "could not execute a primitive",
    "alloc_failed",
    "unable to find an engine",
    "unable to find a valid cudnn algorithm",
)


def take(job: dict[str, Any], caller: Any) -> dict[str, Any]:  # noqa: ARG001
    """Take steps of a net on a batch of noise, and return the peaks in bytes, as the fields of `fit.Footprint`.

    `job`: `arch` and `recipe` (fields), `batch`, `channels`, `size`, `classes`, `inference` (forward passes in eval
    mode, not training steps), `device` (a torch device) and its `uuid` (None: a CPU), `threads`, and `limit`: the bytes
    that torch may reserve on a GPU (None: as many as there are), or that the process may hold on a CPU.

    Raises:
        DeviceError: when the device is not there, cannot do what the recipe asks, or cannot be limited.
        MemoryError: when memory ran out; torch's own error on a GPU.
    """
    device = torch.device(job["device"])
    torch.set_num_threads(job["threads"])
    torch.set_flush_denormal(True)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} does not use the GPU")
    if job["limit"] is not None:
        if device.type == "cpu":
            _train(job | SMALL, device)  # what libraries read in and keep is there before what is left is counted
        confine(job["limit"], device)
    try:
        (_infer if job["inference"] else _train)(job, device)
    except RuntimeError as error:
        if any(words in str(error).lower() for words in LACK):
            raise MemoryError(next(iter(str(error).splitlines()))) from error
        raise
    peaks = peak_memory(device)
    with open_gauge(job["uuid"]) as gauge:  # torch still holds all that it ever reserved
        reading = gauge.read({os.getpid()}, ("memory_used_bytes", "other_computing"))
    return {
        "allocated": peaks.allocated,
        "reserved": peaks.reserved,
        "resident": peaks.resident,
        "device": reading.memory_used_bytes,
        "others": reading.other_computing,
    }


def _train(job: dict[str, Any], device: torch.device) -> None:
    steps, batch = STEPS[device.type], job["batch"]
    recipe = Recipe(**job["recipe"] | {"batch": batch, "iterations": steps, "eval_every": steps, "drops": ()})
    cell = Cell(Arch(**job["arch"]), replace(recipe, split="full"), "folder:noise")
    Training(cell, _noise(batch, job), str(device)).advance(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _noise(batch: int, job: dict[str, Any]) -> Dataset:
    """As many images to train on as a batch has, and one for each other purpose."""
    chance = np.random.default_rng(0)

    def part(images: int) -> tuple[np.ndarray, np.ndarray]:
        pixels = chance.integers(256, size=(images, job["channels"], job["size"], job["size"]), dtype=np.uint8)
        return pixels, chance.integers(job["classes"], size=images)

    names = tuple(map(str, range(job["classes"])))
    return Dataset("folder:noise", *part(batch), *part(1), class_names=names, sha256="")


def _infer(job: dict[str, Any], device: torch.device) -> None:
    recipe = Recipe(**job["recipe"])
    set_precision(recipe, device)
    with torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext():
        net = build(Arch(**job["arch"]), channels=job["channels"], classes=job["classes"])
        layout = memory_format(recipe, net, device)
        working = Working(net.to(device, memory_format=layout).eval(), recipe.precision)
        shape = (job["batch"], job["channels"], job["size"], job["size"])
        images = torch.empty(shape, device=device, memory_format=layout).uniform_()
        forward = Replay(lambda: working(images), device)
        with torch.inference_mode():
            for _ in range(STEPS[device.type]):
                forward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def confine(limit: int, device: torch.device) -> None:
    """Let no more than `limit` bytes be had from here on: an allocation beyond fails, and nothing is killed.

    On a GPU it is what torch reserves. On a CPU it is what this process holds, resident: RLIMIT_DATA, which counts the
    memory that is written to, by how much there may be more of it. RLIMIT_AS would count what libraries reserve and
    map as well: 3 GiB with torch imported, of which 0.5 are held.

    Raises:
        DeviceError: where there is no /proc, by which to tell what the process holds.
        MemoryError: when the process alone holds more.
    """
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.mem_get_info(device)[1]), device)
        return
    try:
        held, data = (_status(name) for name in ("VmRSS", "VmData"))
    except OSError:
        raise DeviceError("a process's memory on a CPU can be limited on Linux only") from None
    if limit <= held:
        raise MemoryError(f"the process holds {held / 2**20:.0f} MiB before it does anything")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = data + limit - held
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if most < 0 else min(allowed, most), most))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
