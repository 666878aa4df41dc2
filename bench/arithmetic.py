"""How a net computes: its layout in memory, float32's arithmetic, compilation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.cell import Recipe
from bench.errors import DeviceError


def memory_format(recipe: Recipe, net: nn.Module, device: torch.device) -> torch.memory_format:
    """The recipe's layout; channels_last, the faster, not where it is broken.

    On a CPU the backward pass of a strided 1x1 convolution of fewer than 8 channels writes outside its memory in
    channels_last (seen with torch 2.15 on x86-64, under a checking allocator, for 1 to 7 channels and for no more).
    """
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    broken = any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 8 for c in convolutions)
    last = recipe.memory_format == "channels_last" and not (broken and device.type == "cpu")
    return torch.channels_last if last else torch.contiguous_format


def compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The module compiled for the shape that it sees first, forward and backward, at its first call.

    Raises:
        DeviceError: without a C++ compiler.
    """
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        raise DeviceError("compiled = true needs a C++ compiler, and no g++ or clang++ is found") from None
    return torch.compile(module, dynamic=False)


def set_precision(recipe: Recipe, device: torch.device) -> None:
    """Set float32 arithmetic as the recipe says, for the whole process, and on a GPU deterministic convolutions.

    Raises:
        DeviceError: for tf32, or decoding on a GPU, away from one.
    """
    if recipe.decoding == "gpu" and device.type != "cuda":
        raise DeviceError(f'decoding = "gpu" needs a CUDA device, and this cell runs on {device.type}')
    tf32 = recipe.precision == "tf32"
    if tf32 and device.type != "cuda":
        raise DeviceError(f'precision = "tf32" needs a CUDA device, and this cell runs on {device.type}')
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True  # and no benchmark, whose choice would depend on what runs beside
