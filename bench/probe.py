"""What section 4 looks at inside a net while it trains: each layer's response (Fig. 7) and its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.analysis import Reading

PIECE = 64  # images of a response that are looked at together


class Probe:
    """Takes readings of a net's layers; with it the net computes the same bits as without.

    Layers are the 3x3 convolutions off the shortcuts, in depth order, `names` as the net's modules are called: all
    convolutions of a CIFAR net, and of an ImageNet net neither the 7x7 stem nor a bottleneck's 1x1. Modules must be
    named as in `bench.nets`: batch normalisation `bnN` beside its convolution `convN`. `readings` are in order of
    iteration.
    """

    def __init__(self, net: nn.Module) -> None:
        convolutions = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
        self.names = [n for n, c in convolutions.items() if c.kernel_size == (3, 3) and "downsample" not in n]
        self.readings: list[Reading] = []
        numbers = {name: number for number, (name, _) in enumerate(net.named_parameters())}
        self._numbers = [numbers[f"{name}.weight"] for name in self.names]
        self._normalisations = [net.get_submodule(_normalisation(name)) for name in self.names]
        self._gradients = torch.full((len(self.names),), torch.nan, dtype=torch.float64)

    def after_step(self, iteration: int, gradients: Sequence[Tensor]) -> None:
        """Keep the norms of the gradients of the step from `iteration` to the next, given in the order of parameters.

        At iteration 0 that is a reading of its own, without responses, for BN has no statistics yet; no other call
        waits for the device.
        """
        norms = [torch.linalg.vector_norm(gradients[i], dtype=torch.float64) for i in self._numbers]
        self._gradients = torch.stack(norms)
        if iteration == 0:
            self.readings.append(Reading(0, None, self._gradients.tolist()))

    @contextmanager
    def reading(self, iteration: int) -> Iterator[None]:
        """Take a reading: the responses of the first forward pass within, and the gradients kept last."""
        heard: dict[nn.Module, Tensor] = {}

        def hear(module: nn.Module, _inputs: object, response: Tensor) -> None:
            if module not in heard:
                heard[module] = deviation(response)  # here and now: ReLU and addition will overwrite it

        handles = [module.register_forward_hook(hear) for module in self._normalisations]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        responses = torch.stack([heard[module] for module in self._normalisations]).double()
        both = torch.stack([responses, self._gradients.to(responses.device)]).tolist()  # one wait for the device
        self.readings.append(Reading(iteration, *both))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: a tensor and plain values."""
        return {"readings": [vars(reading) for reading in self.readings], "gradients": self._gradients}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.readings = [Reading(**reading) for reading in state["readings"]]
        self._gradients = state["gradients"]


def deviation(values: Tensor) -> Tensor:
    """The standard deviation of all values [N, ...] about their mean, divided by their number: a float32 scalar.

    Two passes, as accurate as `torch.std` and twice as fast on a CPU; in pieces, so that peak memory stays what it is
    without a probe. Infinite where a square is.
    """
    mean = values.mean(dtype=torch.float32)
    squares = [(piece.float() - mean).square_().sum() for piece in values.split(PIECE)]
    return (torch.stack(squares).sum() / values.numel()).sqrt()


def _normalisation(convolution: str) -> str:
    path, dot, name = convolution.rpartition(".")
    return path + dot + name.replace("conv", "bn")
