"""What the analysis of section 4 records: each layer's response and gradient, and points of loss slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One 3x3 convolution off the shortcuts at one point of training (Fig. 7).

    `layer` counts them from 1 in depth order; `name` is the module's, `layer1.0.conv2`. `response_std` is the standard
    deviation, over images, channels and pixels, of the layer's response after BN, before nonlinearity and addition, in
    an eval-mode pass over the first training images; None at iteration 0, where BN has no statistics yet.
    `gradient_norm` is the Euclidean norm of the loss's gradient in the layer's weights, on the latest training batch
    (at iteration 0: on the first batch, at the initial weights). Neither need be finite in a net that diverges.
    """

    iteration: int
    layer: int
    name: str
    response_std: float | None
    gradient_norm: float


@dataclass(frozen=True)
class Reading:
    """All layers of a net at one point of training, in depth order: `Layer`s as they travel and are checkpointed."""

    iteration: int
    response_std: list[float] | None
    gradient_norm: list[float]

    def layers(self, names: Sequence[str]) -> list[Layer]:
        """One record a layer, given the layers' names."""
        responses = self.response_std or [None] * len(names)
        rows = zip(names, responses, self.gradient_norm, strict=True)
        return [Layer(self.iteration, number, *row) for number, row in enumerate(rows, start=1)]


def layers_of(names: Sequence[str], readings: Sequence[dict[str, Any]]) -> list[Layer]:
    """The layers of all readings, given as their fields, in the order of the readings and by depth."""
    return [layer for reading in readings for layer in Reading(**reading).layers(names)]


@dataclass(frozen=True)
class Slicing:
    """Which loss slice to take: `steps` points from -`span` to `span` a direction, over the first training images."""

    images: int = 500
    steps: int = 21  # odd, so that the net itself is a point
    span: float = 1.0
    direction_seed: int = 0
    dimensions: int = 2

    @property
    def points(self) -> int:
        """How many there are; a slice of two dimensions comes with that of one."""
        return self.steps + self.steps**2 * (self.dimensions - 1)

    @property
    def offsets(self) -> list[float]:
        """The coordinates along one direction; the middle is exactly 0, the ends are exactly the span."""
        half = self.steps // 2
        return [self.span * (step / half) for step in range(-half, half + 1)]


@dataclass(frozen=True)
class SlicePoint:
    """Loss (nats) and error (a fraction) over `images` training images at net + a·d1 + b·d2 (Li et al. 2018).

    d1 and d2 are random directions drawn from `direction_seed`, each filter scaled to the norm of the net's own.
    `dimensions` is 1 (b is None) or 2.
    """

    dimensions: int
    a: float
    b: float | None
    loss: float
    error: float
    images: int
    direction_seed: int
