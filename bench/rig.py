"""Where benchmarks are measured: the device, the host it belongs to, and what reads its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench import host, nvml
from bench.checkout import Checkout
from bench.host import Host, Toolkit
from bench.nvml import Gauge
from bench.sampling import Setting, instruments
from bench.slots import choose_gpus
from bench.source import Source


@dataclass(frozen=True)
class Rig:
    """How samples are taken, on which host, and the gauge of its GPU."""

    setting: Setting
    host: Host
    gauge: Gauge


@contextmanager
def opened(device: str, setting: Setting, checkout: Checkout, sources: Mapping[str, Source]) -> Iterator[Rig]:
    """The rig for `device` (auto, cpu or cuda), with the torch that `checkout` runs with: on a GPU its first.

    Raises:
        DeviceError: where a GPU is asked for in vain.
        InputError: where the checkout cannot be measured.
    """
    with instruments([checkout], setting) as (instrument,):
        toolkit = Toolkit(**{name: instrument.toolkit[name] for name in ("torch", "cuda", "cudnn", "cuda_available")})
    gpu = next(iter(choose_gpus(device, toolkit)), None)
    placed = replace(setting, sources=dict(sources))
    if gpu:
        placed = replace(placed, device="cuda:0", gpu_uuid=gpu.uuid)
    with nvml.open_gauge(gpu.uuid if gpu else None) as gauge:
        yield Rig(placed, host.describe(toolkit, gpu), gauge)
