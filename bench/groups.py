"""Batch normalisation over a part of the batch, as each of several GPUs has it: its running statistics (section 3.4).

The paper's batch of 256 was divided among GPUs, and each normalised its own share. So the result depends on how large a
share is, and not on how many devices there are, where running statistics, too, are those of all shares: a step moves
them towards the mean of what the shares have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class RunningStatistics:
    """The running means and variances of a net, while a step passes one share of its batch after another."""

    def __init__(self, net: nn.Module) -> None:
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        self.tensors: list[Tensor] = [b for norm in norms for b in (norm.running_mean, norm.running_var)]

    def over(self, shares: int) -> Iterator[int]:
        """The number of each share in turn; each moves the statistics from where the step found them, and at the end
        they are the mean over shares."""
        before = [tensor.clone() for tensor in self.tensors]
        sums = [torch.zeros_like(tensor) for tensor in self.tensors]
        for number in range(shares):
            torch._foreach_copy_(self.tensors, before)
            yield number
            torch._foreach_add_(sums, self.tensors)
        torch._foreach_div_(sums, float(shares))
        torch._foreach_copy_(self.tensors, sums)
