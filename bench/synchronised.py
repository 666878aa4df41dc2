"""Batch normalisation over a batch whose images lie with several processes: as of the whole batch in one.

`torch.nn.SyncBatchNorm` does that on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.team import Team


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
    team: Team,
) -> Tensor:
    """`F.batch_norm` in training, of this process's part `x` [N, C, H, W] of a batch; N may differ, and be 0.

    Running statistics [C] become the same in all processes. Gradients with regard to `x` are of the sum of all
    processes' losses; those with regard to `weight` and `bias` are this process's part of that.
    """
    return _BatchNorm.apply(x, running_mean, running_var, weight, bias, momentum, eps, team)


class _BatchNorm(torch.autograd.Function):
    """With the whole batch's statistics known, the forward pass is that of evaluation, and half the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, running_mean: Tensor, running_var: Tensor, *rest: Any) -> Tensor:
        weight, bias, momentum, eps, team = rest
        mean, var, count = _statistics(x, weight.dtype, team)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps, ctx.team = eps, team
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, count = ctx.saved_tensors
        scale = torch.rsqrt(var + ctx.eps)
        # as if the statistics were constants: weight scale dy, sum of dy (x - mean) scale, and sum of dy
        if x.numel():
            direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
            )
        else:  # which divides by it
            direct, of_weight, of_bias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        sums = torch.stack([of_weight, of_bias])
        ctx.team.sum_([sums])
        # and through them: - weight scale (sum of dy + (x - mean) scale sum of dy (x - mean) scale) / count
        along, flat = sums[0] / count * weight * scale**2, sums[1] / count * weight * scale
        through = torch.addcmul(_wide(flat - along * mean), x, _wide(along))
        return direct.sub_(through), None, None, of_weight, of_bias, None, None, None


def _statistics(x: Tensor, dtype: torch.dtype, team: Team) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (over N, not N - 1) of the whole batch's channels [C], and how many values each has, a scalar.

    From each process's own mean and squares about it: differences of large sums of squares would cancel. In
    channels_last on a CPU torch's own kernel is less exact, and `torch.var_mean` takes 7 times as long as these passes.
    """
    x, count = x.to(dtype), x.numel() // x.shape[1]
    mean = x.sum((0, 2, 3)) / max(1, count)
    squares = (x - _wide(mean)).square_().sum((0, 2, 3))
    means, squares, counts = team.gathered(torch.stack([mean, squares, torch.full_like(mean, count)])).unbind(1)
    total = counts.sum(0)  # [C], of [size, C]
    mean = (means * counts).sum(0) / total
    var = (squares + (means - mean) ** 2 * counts).sum(0) / total
    return mean, var, total[0]


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None]
