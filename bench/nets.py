"""Plain and residual nets of both families, as modules (sections 3.3, 4.1 and 4.2).

`ResNet` is the whole net in order: stem, stages, global average pooling, linear layer. Parameters have torchvision's
names (`conv1`, `layer1.0.bn2`, `layer2.0.downsample.0`, `fc`), so weights map over by name. Each convolution `convN` is
followed by its batch normalization `bnN`. ReLU and the addition work in place: a hook on a `bnN` sees its response, but
must use or copy it before it returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench import field, synchronised
from bench.cell import FIELDS, Arch
from bench.team import Team

CIFAR_FILTERS = (16, 32, 64)
IMAGENET_FILTERS = (64, 128, 256, 512)
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4  # a bottleneck's outputs for each of its 3x3 filters

KINDS = {
    "channels": field.whole(1, 65_536),
    "classes": field.whole(1, 1_000_000),
    "seed": FIELDS["seed"],
    "init_fan": FIELDS["init_fan"],
}


def build(
    arch: Arch,
    *,
    channels: int = 3,
    classes: int = 10,
    seed: int = 0,
    init_fan: str = "fan_out",
    device: str | torch.device = "cpu",
) -> ResNet:
    """The net `arch` describes, in train mode: float32 images (N, channels, H, W) to logits (N, classes).

    Initial weights are drawn on the CPU from a generator seeded by `seed`: they depend neither on the device nor on the
    global generator, which is left as it was. Layers that every shortcut option has are drawn first, so nets of one
    depth and seed start from identical weights in them. Convolutions: He normal, standard deviation sqrt(2 / fan), fan
    being kernel area x input channels ("fan_in") or kernel area x filters ("fan_out"). Linear layer: the same with
    fan-in under either rule, since its fan-out is just the number of classes; bias 0. Batch normalization: weight 1,
    bias 0. On the device "meta" nothing is drawn.

    Raises:
        FieldError: for `channels`, `classes`, `seed` or `init_fan` out of range.
    """
    for key, value in {"channels": channels, "classes": classes, "seed": seed, "init_fan": init_fan}.items():
        field.canonical(key, KINDS[key], value)
    target = torch.device(device)
    with torch.device("meta" if target.type == "meta" else "cpu"):
        net = ResNet(arch, channels, classes)
    if target.type == "meta":
        return net
    initialise(net, seed, init_fan)
    return net.to(target)


@torch.no_grad()
def initialise(net: nn.Module, seed: int, init_fan: str) -> None:
    """Draw the weights of a net on the CPU, as `build` describes; BN has its initial values from its making."""
    generator = torch.Generator().manual_seed(seed)
    for _, module in sorted(net.named_modules(), key=lambda item: "downsample" in item[0]):  # projections last
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=init_fan, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)


class Convolution(nn.Conv2d):
    """A size x size convolution, (H, W) to (ceil(H / stride), ceil(W / stride)), without bias, which BN supplies."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, padding=size // 2, bias=False)

    def reset_parameters(self) -> None:
        """Left to `initialise`: torch's own initial values would take numbers from the global generator."""


class Normalisation(nn.BatchNorm2d):
    """Batch normalisation over N, H and W.

    `num_batches_tracked` stays 0: only averages of another kind need it, and on a GPU counting costs a kernel a layer.
    While `frozen`, running statistics stay as they are: a batch computed again has been counted. With a `team`, the
    batch is what all its processes are passing.
    """

    frozen = False
    team: Team | None = None

    def forward(self, x: Tensor) -> Tensor:
        running = self.running_mean, self.running_var
        if self.frozen:
            running = [statistic.clone() for statistic in running]
        if self.team and self.training:
            return synchronised.batch_norm(x, *running, self.weight, self.bias, self.momentum, self.eps, self.team)
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)


class Linear(nn.Linear):
    """The final layer."""

    def reset_parameters(self) -> None:
        """Left to `initialise`, as in `Convolution`."""


class ResNet(nn.Sequential):
    """A net of either family, plain if `arch.shortcut` is "none" (Table 1; section 4.2).

    Takes images of any size: CIFAR nets divide it by 4, ImageNet nets by 32 (`reduction`), rounding up.
    """

    def __init__(self, arch: Arch, channels: int, classes: int) -> None:
        super().__init__()
        outputs = stages(arch)[0][0]  # the stem has the first stage's filters
        size, stride = (3, 1) if arch.family == "cifar" else (7, 2)
        self.reduction = 4 if arch.family == "cifar" else 32
        self.conv1 = Convolution(channels, outputs, size, stride)
        self.bn1 = Normalisation(outputs)
        self.relu = nn.ReLU(inplace=True)
        if arch.family == "imagenet":
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for number, (filters, count) in enumerate(stages(arch), start=1):
            stage = nn.Sequential()
            for index in range(count):
                stage.append(block(arch, outputs, filters, stride=2 if number > 1 and index == 0 else 1))
                outputs = filters * EXPANSION if arch.bottleneck else filters
            self.add_module(f"layer{number}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = Linear(outputs, classes)

    def features(self, x: Tensor) -> Tensor:
        """What is pooled in the end: images (N, C, H, W) to (N, F, ceil(H / reduction), ceil(W / reduction))."""
        for name, module in self.named_children():
            if name == "avgpool":
                break
            x = module(x)
        return x


def stages(arch: Arch) -> list[tuple[int, int]]:
    """The filters and the number of blocks of each stage."""
    if arch.family == "cifar":
        filters, blocks = CIFAR_FILTERS, [(arch.depth - 2) // 6] * 3
    else:
        filters, blocks = IMAGENET_FILTERS, IMAGENET_BLOCKS[arch.depth]
    return [(scaled(base, arch.width), count) for base, count in zip(filters, blocks, strict=True)]


def scaled(filters: int, width: float) -> int:
    """A filter count times the width multiplier, at least 1."""
    return max(1, round(filters * width))


def block(arch: Arch, inputs: int, filters: int, stride: int) -> Block:
    """A block of the kind `arch` is made of."""
    if not arch.bottleneck:
        return BasicBlock(inputs, filters, stride, arch.shortcut)
    strides = (stride, 1) if arch.stride == "original" else (1, stride)
    return Bottleneck(inputs, filters, strides, arch.shortcut)


class Block(nn.Module):
    """relu(F(x) + shortcut(x)), or relu(F(x)) in a plain net (Equations 1 and 2): (N, C, H, W) to (N, C', H', W').

    `downsample` is the shortcut, None in a plain net; subclasses give F as `residual`. With `recompute` a training pass
    keeps the block's input alone, and the backward pass computes the rest again: less memory, the same bits.
    """

    downsample: nn.Module | None
    recompute = False

    def residual(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.recompute and self.training:
            return checkpoint(
                self._forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=self._first_and_again
            )
        return self._forward(x)

    def _first_and_again(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), self._frozen()

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        norms = [module for module in self.modules() if isinstance(module, Normalisation)]
        for norm in norms:
            norm.frozen = True
        try:
            yield
        finally:
            for norm in norms:
                norm.frozen = False

    def _forward(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        if isinstance(self.downsample, ZeroPadded) and not torch.compiler.is_compiling():  # a compiler fuses it anyway
            out = ZeroPaddedAddition.apply(out, x, self.downsample.stride)
        elif self.downsample is not None:
            out += self.downsample(x)
        return out.relu_()


class BasicBlock(Block):
    """Two 3x3 convolutions (Fig. 5, left)."""

    def __init__(self, inputs: int, filters: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, filters, 3, stride)
        self.bn1 = Normalisation(filters)
        self.conv2 = Convolution(filters, filters, 3)
        self.bn2 = Normalisation(filters)
        self.downsample = shortcut(option, inputs, filters, stride)

    def residual(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions (Fig. 5, right); `strides` are those of the first two."""

    def __init__(self, inputs: int, filters: int, strides: tuple[int, int], option: str) -> None:
        super().__init__()
        outputs = filters * EXPANSION
        self.conv1 = Convolution(inputs, filters, 1, strides[0])
        self.bn1 = Normalisation(filters)
        self.conv2 = Convolution(filters, filters, 3, strides[1])
        self.bn2 = Normalisation(filters)
        self.conv3 = Convolution(filters, outputs, 1)
        self.bn3 = Normalisation(outputs)
        self.downsample = shortcut(option, inputs, outputs, max(strides))

    def residual(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        return self.bn3(self.conv3(x))


def shortcut(option: str, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """The shortcut of a block under an option (sections 3.3 and 4.1), None in a plain net."""
    if option == "none":
        return None
    changes = stride != 1 or inputs != outputs
    if option == "C" or (option == "B" and changes):
        return Projection(inputs, outputs, stride)
    return ZeroPadded(inputs, outputs, stride) if changes else nn.Identity()


def recompute(net: nn.Module) -> None:
    """Let every block of a net compute its activations again in the backward pass."""
    for module in net.modules():
        if isinstance(module, Block):
            module.recompute = True


def synchronise(net: nn.Module, team: Team) -> None:
    """Let batch normalisation be over the images of all processes of a team."""
    for module in net.modules():
        if isinstance(module, Normalisation):
            module.team = team


class Projection(nn.Sequential):
    """Options B and C: a strided 1x1 convolution and its BN; modules `0` and `1`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(Convolution(inputs, outputs, 1, stride), Normalisation(outputs))


class ZeroPadded(nn.Module):
    """Option A: every `stride`-th pixel of the image, then zeros for the new channels; no parameters.

    (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, new_channels={self.new_channels}"


class ZeroPaddedAddition(torch.autograd.Function):
    """Add what `ZeroPadded` gives to `out`, in place, and without the zeros: the same bits in fewer passes over memory.

    Of ResNet-20 on 32x32 images it takes 3 ms where padding takes 7 (forward and backward, batch 128, one core).
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, stride: int) -> Tensor:
        ctx.shape, ctx.stride = x.shape, stride
        ctx.mark_dirty(out)
        out[:, : x.shape[1]].add_(x[:, :, ::stride, ::stride])
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        last = gradient.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        below = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=layout).zero_()
        below[:, :, :: ctx.stride, :: ctx.stride] = gradient[:, : ctx.shape[1]]
        return gradient, below, None
