"""A net in the arithmetic of its recipe: float32 master weights, and the copy that computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Working:
    """`net` as it computes: itself in float32 and tf32; in bf16 a copy with bfloat16 convolutions and linear layer.

    In bf16 activations are bfloat16; batch normalisation, shared with `net`, keeps float32 parameters and statistics
    and computes in float32 inside. `net` holds the float32 master weights that the optimiser changes, and `refresh`
    rounds them into the copy in one call. Bit for bit this is `torch.autocast`, which would round each weight in a
    kernel of its own, forward and backward. Logits are float32.
    """

    def __init__(self, net: nn.Module, precision: str) -> None:
        self.net = net
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.module = net if self.dtype is torch.float32 else _rounded(net, self.dtype)
        self._parameters = list(self.module.parameters())
        pairs = zip(net.parameters(), self._parameters, strict=True)
        rounded = [(master.detach(), mine.detach()) for master, mine in pairs if master is not mine]
        self._masters, self._copies = ([pair[i] for pair in rounded] for i in (0, 1))

    def __call__(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        """Logits float32 [B, classes] of float32 images [B, C, H, W]; by `module` where it stands for the net's."""
        return (module or self.module)(images.to(self.dtype)).float()

    def refresh(self) -> None:
        """Take over the master weights."""
        if self._copies:
            torch._foreach_copy_(self._copies, self._masters)

    def clear_gradients(self) -> None:
        """Forget the gradients of an earlier step; their memory is free."""
        for parameter in self._parameters:
            parameter.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradients of the last backward pass in float32, in the order of `net.parameters()`."""
        found = [parameter.grad for parameter in self._parameters]
        if not self._copies:
            return found
        rounded = [gradient for gradient in found if gradient.dtype is self.dtype]
        exact = [torch.empty_like(gradient, dtype=torch.float32) for gradient in rounded]
        torch._foreach_copy_(exact, rounded)
        widened = iter(exact)
        return [next(widened) if gradient.dtype is self.dtype else gradient for gradient in found]


def _rounded(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    shared = {id(module): module for module in _normalisations(net)}
    rounded = copy.deepcopy(net, shared)  # what the memo holds is not copied
    for module in rounded.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return rounded


def _normalisations(net: nn.Module) -> Iterator[nn.Module]:
    return (module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
