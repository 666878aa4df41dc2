"""The least time a training step can take: its bytes over a device's bandwidth, its multiply-adds over its rate.

Both sides are measured: the ceilings by a copy and a product of matrices on the device, the needs by passing images
forward and backward through the built module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.cell import Arch
from bench.errors import DeviceError
from bench.measure import Stopwatch
from bench.nets import build

FLOAT32 = 4  # bytes
ELEMENT = {"fp32": FLOAT32, "tf32": FLOAT32, "bf16": 2}  # bytes of an activation; weights are float32 in each
UPDATE = 5  # of SGD with momentum: parameter, gradient and momentum read, parameter and momentum written
COPIED = {"cpu": 2**28, "cuda": 2**30}  # bytes of a buffer, more than any cache holds
MATRIX = {"cpu": 1024, "cuda": 8192}  # rows and columns
WINDOWS, WINDOW_SECONDS = 7, 0.1


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at best: bytes a second, read and written alike, and multiply-adds a second by precision."""

    bandwidth: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Needs:
    """What one training step moves and computes, at the least that its operations allow.

    `bytes`: every operation of the net, forward and backward (convolution, BN, ReLU, addition, pooling, linear layer,
    loss), reads each of its operands once and writes each result once, activations with the element size of the
    precision; and the optimiser's update. Views move nothing; labels, scalars, augmentation and casts are left out.
    Operations fused into one would need less, and what stays in a cache costs less than a copy from memory: a small
    net can be faster than this floor. `multiply_adds`: those of convolutions and the linear layer.
    """

    bytes: int
    multiply_adds: int

    def seconds(self, ceilings: Ceilings, precision: str) -> tuple[float, float]:
        """The two floors: to move the bytes, and to do the multiply-adds in this precision."""
        return self.bytes / ceilings.bandwidth, self.multiply_adds / ceilings.rates[precision]


def step_needs(
    arch: Arch, batch: int, precision: str = "fp32", channels: int = 3, size: int = 32, classes: int = 10
) -> Needs:
    """The needs of a step of the net `arch` describes, for a batch of images of `size` x `size` pixels."""
    net = build(arch, channels=channels, classes=classes, device="meta")
    return measure_needs(net, (channels, size, size), batch, precision)


def measure_needs(net: nn.Module, image: tuple[int, int, int], batch: int, precision: str = "fp32") -> Needs:
    """The needs of a step of `net`, which is on the device "meta", for `batch` images of shape (C, H, W).

    Passes of two and of three images tell what an image needs (activations) from what a step does (weights).
    """
    two, three = _pass(net, (2, *image)), _pass(net, (3, *image))
    an_image, multiply_adds = three.elements - two.elements, three.multiply_adds - two.multiply_adds
    a_step = two.elements - 2 * an_image + UPDATE * sum(p.numel() for p in net.parameters())
    return Needs(batch * an_image * ELEMENT[precision] + a_step * FLOAT32, batch * multiply_adds)


def _pass(net: nn.Module, shape: tuple[int, ...]) -> _Counter:
    """Forward and backward on the device "meta": shapes alone, no arithmetic."""
    images = torch.empty(shape, device="meta")
    labels = torch.empty(len(images), dtype=torch.int64, device="meta")
    counter = _Counter()
    with counter:
        loss = F.cross_entropy(net.train()(images), labels)
        loss.backward()
    net.zero_grad(set_to_none=True)
    return counter


class _Counter(TorchDispatchMode):
    """Counts the floating-point elements that operations read and write, and their multiply-adds."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.multiply_adds = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        if not (func.is_view or func in UNREAD):
            self.elements += sum(map(_elements, tree_leaves((args, kwargs, results))))
        if count := MULTIPLY_ADDS.get(func):
            self.multiply_adds += count(args, results)
        return results


def _elements(value: object) -> int:
    """Of a tensor the numbers that lie in memory: of one expanded fewer than its shape says."""
    if not (isinstance(value, Tensor) and value.is_floating_point() and value.dim()):
        return 0
    return min(value.numel(), value.untyped_storage().nbytes() // value.element_size())


def _forward(args: Any, output: Tensor) -> int:
    return output.numel() * args[1][0].numel()  # an output sums over one filter


def _backward(args: Any, gradients: Any) -> int:
    return args[0].numel() * args[2][0].numel() * sum(g is not None for g in gradients[:2])  # of input and of weight


_aten = torch.ops.aten
UNREAD = {_aten.empty_like.default, _aten.new_empty.default, _aten.empty.memory_format}  # of these, shapes alone
MULTIPLY_ADDS: dict[Any, Callable[[Any, Any], int]] = {
    _aten.convolution.default: _forward,
    _aten.convolution_backward.default: _backward,
    _aten.mm.default: lambda args, output: output.numel() * args[0].shape[1],
    _aten.addmm.default: lambda args, output: output.numel() * args[1].shape[1],
}


def measure_ceilings(device: torch.device | str = "cpu") -> Ceilings:
    """Measure what `device` can do, with as many threads as torch has: in seconds.

    Bandwidth: a copy of 256 MiB (CPU) or 1 GiB (GPU), read and written. Rates: a product of two square matrices of
    1,024 (CPU) or 8,192 (GPU) rows, in each precision the device has. Each after a warm-up, the best of 7 windows of at
    least a tenth of a second: a ceiling is what was reached at all.

    Raises:
        DeviceError: when the device has not the memory.
    """
    device = torch.device(device)
    try:
        return Ceilings(_bandwidth(device), {name: _rate(device, name) for name in precisions(device)})
    except torch.OutOfMemoryError:
        raise DeviceError(f"{device}: too little memory is free to measure its ceilings") from None


def precisions(device: torch.device) -> tuple[str, ...]:
    """The precisions of a recipe that `device` computes in."""
    if device.type != "cuda":
        return ("fp32", "bf16")
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    return ("fp32", "tf32", "bf16") if ampere else ("fp32",)


def _bandwidth(device: torch.device) -> float:
    source, target = (torch.ones(COPIED[device.type] // FLOAT32, device=device) for _ in range(2))
    return _best(lambda: target.copy_(source), 2 * COPIED[device.type], device)


def _rate(device: torch.device, precision: str) -> float:
    size = MATRIX[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    product = torch.empty_like(left)
    with _Tf32(precision == "tf32"):
        return _best(lambda: torch.mm(left, right, out=product), size**3, device)


class _Tf32(AbstractContextManager[None]):
    """Whether float32 products on a GPU may round their factors, within a block."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.before


def _best(work: Callable[[], Any], amount: int, device: torch.device) -> float:
    """The most of `amount` a second that a window reaches; `amount` is what one call of `work` does."""

    def seconds(calls: int) -> float:
        watch = Stopwatch(device)
        with watch.running():
            for _ in range(calls):
                work()
        return watch.seconds

    seconds(1)
    calls = math.ceil(WINDOW_SECONDS / seconds(1))
    return amount * calls / min(seconds(calls) for _ in range(WINDOWS))
