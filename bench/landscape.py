"""The loss around a trained net, along filter-normalised random directions (Li et al. 2018, section 4)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from bench.analysis import SlicePoint, Slicing


class Measured(Protocol):
    """What is measured at a point: `bench.train.Tally`."""

    images: int

    def loss(self) -> float:
        """The mean loss an image, in nats."""

    def error(self) -> float:
        """The fraction of images classified wrongly."""


def slices(net: nn.Module, measure: Callable[[], Measured], slicing: Slicing) -> Iterator[SlicePoint]:
    """Yield the loss at net + a·d1 (+ b·d2) for every a (and b) of `slicing`; the net is as before at the end.

    `measure` is called with the net at each point, and decides on which images and in which mode. A slice of two
    dimensions comes with that of one along d1, which is its row b = 0. Points need not have a finite loss.
    """
    ends, offsets = directions(net, slicing.dimensions, slicing.direction_seed), slicing.offsets
    with restored(net) as weights:
        for along in itertools.product(offsets, repeat=slicing.dimensions):
            displace(weights, ends, along)
            found = measure()
            a, b = (*along, None)[:2]
            point = (found.loss(), found.error(), found.images, slicing.direction_seed)
            if not b:
                yield SlicePoint(1, a, None, *point)
            if b is not None:
                yield SlicePoint(2, a, b, *point)


def directions(net: nn.Module, count: int, seed: int) -> list[list[Tensor]]:
    """Random directions in the space of the net's weights (`weights_of`), one tensor a weight.

    Gaussian, each filter (a convolution's or linear layer's weights of one output) scaled to the Euclidean norm of the
    net's own. Drawn on the CPU in the default layout from a generator seeded by `seed`, the first direction first, so
    they depend neither on the device nor on how many are asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    return [[_like(weight, generator) for weight in weights_of(net)] for _ in range(count)]


def weights_of(net: nn.Module) -> list[Tensor]:
    """The weights of convolutions and linear layers. Biases and BN parameters are vectors, and are left alone."""
    return [parameter.detach() for parameter in net.parameters() if parameter.ndim > 1]


def _like(weight: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(weight.shape, generator=generator).to(weight.device)
    axes = tuple(range(1, weight.ndim))
    norms = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    return drawn * (norms / torch.linalg.vector_norm(drawn, dim=axes, keepdim=True))


@contextmanager
def restored(net: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Pairs of a weight, free to be changed, and its value before, which it has again at the end."""
    weights = [(weight, weight.clone()) for weight in weights_of(net)]
    try:
        yield weights
    finally:
        for weight, before in weights:
            weight.copy_(before)


def displace(weights: list[tuple[Tensor, Tensor]], ends: list[list[Tensor]], along: tuple[float, ...]) -> None:
    """Set each weight to its value before plus the directions, each times its coordinate of `along`."""
    for (weight, before), *components in zip(weights, *ends, strict=True):
        weight.copy_(before)
        for offset, component in zip(along, components, strict=True):
            weight.add_(component, alpha=offset)
