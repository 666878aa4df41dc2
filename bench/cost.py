"""What a net costs: parameters, multiply-adds and activation memory, counted by walking the built module."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench import field
from bench.cell import Arch
from bench.nets import build

SIZE = field.whole(1, 65_536)
FLOAT32 = 4  # bytes
ALLOCATING = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear)
ROWS = {"conv1": "stem", "bn1": "stem", "relu": "stem", "maxpool": "layer1", "avgpool": "fc", "flatten": "fc"}


@dataclass(frozen=True)
class Group:
    """One row of Table 1: `stem`, a stage (`layer1` ...) or `fc`.

    As in Table 1, max-pooling belongs to `layer1` and average pooling to `fc`. `output_shape` is one image's, (C, H, W)
    or (classes,). `layers` counts what the paper calls layers: convolutions and linear layers off the shortcuts.
    """

    name: str
    output_shape: tuple[int, ...]
    layers: int
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """What one forward pass over one image costs; the totals are the sums over `groups`.

    `multiply_adds` are those of convolutions, projections included, and of the linear layer (the "FLOPs" of Table 1);
    BN, ReLU, pooling, additions and biases count none. `activation_bytes` is the float32 size of every feature map the
    pass allocates: the outputs of convolutions, BN, pooling, the linear layer and zero-padded shortcuts. ReLU and the
    addition work in place, and identity shortcuts pass their input on: they allocate none. It grows as the memory of a
    training step does, but is not its peak, which depends on the batch, on what is kept for the backward pass and on
    the device.
    """

    groups: tuple[Group, ...]

    @property
    def layers(self) -> int:
        """Weighted layers off the shortcuts: the net's depth."""
        return sum(group.layers for group in self.groups)

    @property
    def parameters(self) -> int:
        """Trainable numbers, those of BN included."""
        return sum(group.parameters for group in self.groups)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return sum(group.multiply_adds for group in self.groups)

    @property
    def activation_bytes(self) -> int:
        """Bytes of feature maps for one image."""
        return sum(group.activation_bytes for group in self.groups)

    def as_dict(self) -> dict[str, Any]:
        """Totals and groups as JSON has them."""
        totals = {name: getattr(self, name) for name in ("layers", "parameters", "multiply_adds", "activation_bytes")}
        groups = [dataclasses.asdict(g) | {"output_shape": list(g.output_shape)} for g in self.groups]
        return totals | {"groups": groups}


def cost_of(arch: Arch, channels: int = 3, size: int = 32, classes: int = 10) -> Cost:
    """The cost of the net `arch` describes, for images of `size` x `size` pixels (Table 1).

    Raises:
        FieldError: for `channels`, `size` or `classes` out of range.
    """
    field.canonical("size", SIZE, size)
    net = build(arch, channels=channels, classes=classes, device="meta").eval()
    return measure_cost(net, torch.empty(1, channels, size, size, device="meta"))


def measure_cost(net: nn.Module, image: Tensor) -> Cost:
    """The cost of `net` for one image (1, C, H, W), seen by hooks while the image passes through each module."""
    rows: dict[str, Group] = {}

    def count(row: str, on_shortcut: bool, module: nn.Module, _: object, output: Tensor) -> None:
        seen = rows.get(row, Group(row, (), 0, 0, 0, 0))
        weighted = isinstance(module, nn.Conv2d | nn.Linear)
        # an output sums over one filter: kernel area x input channels, or the inputs of the linear layer
        filter_size = module.weight[0].numel() if weighted else 0
        allocated = output.numel() if isinstance(module, ALLOCATING) else 0
        rows[row] = Group(
            row,
            output_shape=tuple(output.shape[1:]),
            layers=seen.layers + (weighted and not on_shortcut),
            parameters=seen.parameters + sum(p.numel() for p in module.parameters(recurse=False)),
            multiply_adds=seen.multiply_adds + output.numel() * filter_size,
            activation_bytes=seen.activation_bytes + allocated * FLOAT32,
        )

    with ExitStack() as hooks, torch.no_grad():
        for name, child in net.named_children():
            for path, module in child.named_modules():
                handle = module.register_forward_hook(partial(count, ROWS.get(name, name), "downsample" in path))
                hooks.callback(handle.remove)
        net(image)
    return Cost(tuple(rows.values()))
