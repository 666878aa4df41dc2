"""Batch normalisation in groups against one net for each group, in float64."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from bench.cell import Arch
from bench.groups import RunningStatistics
from bench.nets import build


def test_statistics_move_towards_the_mean_over_the_shares():
    norm = nn.BatchNorm2d(3).double()
    norm.running_mean.fill_(5.0)
    shares = torch.randn(4, 6, 3, 2, 2, dtype=torch.float64)
    for number in RunningStatistics(norm).over(4):
        norm(shares[number])
    means, variances = shares.mean((1, 3, 4)), shares.var((1, 3, 4))
    assert torch.allclose(norm.running_mean, 0.9 * 5 + 0.1 * means.mean(0))
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variances.mean(0))


def test_gradients_are_the_mean_over_nets_that_saw_a_share_each():
    net = build(Arch(depth=8, width=0.25, shortcut="B"), seed=1).double()
    images, labels = torch.randn(12, 3, 8, 8, dtype=torch.float64), torch.arange(12) % 10
    alone = []
    for shown, wanted in zip(images.split(4), labels.split(4), strict=True):
        one = copy.deepcopy(net)
        F.cross_entropy(one(shown), wanted).backward()
        alone.append(one)
    statistics = RunningStatistics(net)
    for number in statistics.over(3):
        (F.cross_entropy(net(images.split(4)[number]), labels.split(4)[number]) / 3).backward()
    for mine, *theirs in zip(net.parameters(), *(one.parameters() for one in alone), strict=True):
        assert torch.allclose(mine.grad, sum(other.grad for other in theirs) / 3)
    buffers = [[b for name, b in one.named_buffers() if "num" not in name] for one in alone]
    for mine, *theirs in zip(statistics.tensors, *buffers, strict=True):
        assert torch.allclose(mine, sum(theirs) / 3)
