"""What the analysis of section 4 records: each layer's response and gradient, and points of loss slices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One 3x3 convolution (or the stem's) at one point of training (Fig. 7).

    `layer` counts them from 1 in depth order; `name` is the module's, `layer1.0.conv2`. `response_std` is the standard
    deviation, over images, channels and pixels, of the layer's response after BN, before nonlinearity and addition, in
    an eval-mode pass over the first training images; None at iteration 0, where BN has no statistics yet.
    `gradient_norm` is the Euclidean norm of the loss's gradient in the layer's weights, on the latest training batch
    (at iteration 0: on the first batch, at the initial weights).
    """

    iteration: int
    layer: int
    name: str
    response_std: float | None
    gradient_norm: float


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
