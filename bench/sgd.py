"""Stochastic gradient descent with momentum and weight decay (section 3.4), as one fused call a group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.cell import Recipe


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that decay alike."""

    parameters: Sequence[Tensor]
    weight_decay: float


class Sgd:
    """v <- momentum v + (g + decay w); w <- w - lr v: the paper's momentum, not Nesterov's, v from 0.

    The bits are those of `torch.optim.SGD`, which imports torch's compiler (4 s a process) and spends on Python as
    much as its kernel takes. Learning rate and momentum stay where they are in memory, so a step can be captured in a
    CUDA graph. Parameters are float32.
    """

    def __init__(self, groups: Iterable[Group], lr: float, momentum: float) -> None:
        self._groups, self._momentum = tuple(groups), momentum
        buffered = self._groups if momentum else ()
        self._buffers = [[torch.zeros_like(p) for p in group.parameters] for group in buffered]
        self._in_order = [list(map(_in_order, group.parameters)) for group in self._groups]
        self._buffers_in_order = [list(map(_in_order, buffers)) for buffers in self._buffers]
        device = self._groups[0].parameters[0].device
        # the kernel reads float32 on a GPU; on a CPU it takes the number, which float64 leaves as it is
        self._lr = torch.tensor(lr, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
        self.lr = lr

    def set_lr(self, lr: float) -> None:
        """Use another learning rate from the next step on; nothing waits for the device."""
        if lr != self.lr:
            self._lr.fill_(lr)
            self.lr = lr

    @torch.no_grad()
    def step(self, gradients: Sequence[Sequence[Tensor]]) -> None:
        """Take a step: `gradients` are those of each group's parameters, with their layout in memory."""
        for number, (group, slopes) in enumerate(zip(self._groups, gradients, strict=True)):
            torch._fused_sgd_(
                self._in_order[number],
                list(map(_in_order, slopes)),
                self._buffers_in_order[number] if self._buffers else [],
                weight_decay=group.weight_decay,
                momentum=self._momentum,
                lr=self._lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"momentum": self._buffers}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for mine, theirs in zip(self._buffers, state["momentum"], strict=True):
            torch._foreach_copy_(mine, theirs)


def _in_order(tensor: Tensor) -> Tensor:
    """The tensor as it lies in memory: one in channels_last the kernel would copy there and back at each step."""
    if tensor.ndim == 4 and not tensor.is_contiguous():
        return tensor.permute(0, 2, 3, 1)
    return tensor


def parameter_groups(parameters: Sequence[Tensor], recipe: Recipe) -> list[tuple[list[int], float]]:
    """The numbers of the parameters that decay alike, and their weight decay.

    Everything decays, or (`decay_on = "weights"`) only tensors of rank over 1. Those are the convolutions and the final
    layer's weights; batch normalisation and biases are vectors.
    """
    ranks = [parameter.ndim for parameter in parameters]
    if recipe.decay_on == "all":
        return [(list(range(len(ranks))), recipe.weight_decay)]
    weights = [number for number, rank in enumerate(ranks) if rank > 1]
    vectors = [number for number, rank in enumerate(ranks) if rank <= 1]
    return [(weights, recipe.weight_decay), (vectors, 0.0)]


def optimiser(parameters: Sequence[Tensor], recipe: Recipe) -> tuple[list[list[int]], Sgd]:
    """An optimiser as the recipe says, and the numbers of the parameters in each of its groups."""
    own = [parameter.detach() for parameter in parameters]
    groups = parameter_groups(own, recipe)
    grouped = [Group([own[number] for number in numbers], decay) for numbers, decay in groups]
    return [numbers for numbers, _ in groups], Sgd(grouped, recipe.lr, recipe.momentum)
