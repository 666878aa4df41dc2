"""Floors against bytes and multiply-adds counted by hand, and against torch's own flop counter."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench import floors
from bench.cell import Arch
from bench.floors import Ceilings, Needs, measure_ceilings, measure_needs, precisions, step_needs
from bench.nets import build


class Residual(nn.Module):
    """relu(bn(conv(x)) + x) of 2 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)

    def forward(self, x):
        return (self.bn(self.conv(x)) + x).relu_()


def tiny() -> nn.Module:
    """A 3x3 convolution of 1 to 2 channels, a residual block, pooling, 5 classes."""
    stem = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    net = nn.Sequential(stem, Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
    return net.to("meta")


IMAGE = 4 * 4  # elements
MAP = 2 * IMAGE
FORWARD = (
    (IMAGE + MAP)  # the stem reads an image, and writes a map
    + 2 * MAP  # convolution
    + 2 * MAP  # BN
    + 3 * MAP  # the addition reads two, writes one
    + 2 * MAP  # ReLU
    + (MAP + 2)  # pooling
    + (2 + 5)  # linear layer
    + 2 * 5  # log-softmax
    + 5  # its loss is a scalar
)
BACKWARD = (
    2 * 5  # of the loss: reads log-probabilities, writes a gradient
    + 3 * 5  # of the log-softmax
    + 5  # of the linear layer: its bias sums the gradient,
    + (5 + 2)  # its weight needs the gradient and the input,
    + (5 + 2)  # its input the gradient
    + (2 + MAP)  # of pooling: a gradient a channel, spread over a map
    + 3 * MAP  # of ReLU: its output, the gradient, a gradient
    + 3 * MAP  # of BN: its input, the gradient, a gradient
    + 3 * MAP  # of the convolution: likewise
    + 3 * MAP  # the block's input gets two gradients, which are added
    + (IMAGE + MAP)  # of the stem: no gradient of the image
)
STEM, WEIGHT, LINEAR = 2 * 9, 2 * 2 * 9, 2 * 5  # numbers of weights
CONSTANT = (
    (STEM + WEIGHT + LINEAR + 5)  # weights read forward
    + (2 + 2 + 2 + 2)  # BN: its weight and bias, running mean and variance
    + (2 + 2)  # the batch's mean and deviation, kept
    + (STEM + WEIGHT + LINEAR)  # weights read backward
    + (2 + 2 + 2 + 2 + 2)  # BN: its weight, both means, both variances
    + (STEM + WEIGHT + LINEAR + 5)  # gradients written
    + (2 + 2)  # BN's
    + 5 * (STEM + WEIGHT + LINEAR + 5 + 2 + 2)  # the update reads three, writes two
)


@pytest.mark.parametrize(("precision", "element"), [("fp32", 4), ("tf32", 4), ("bf16", 2)])
@pytest.mark.parametrize("batch", [1, 7])
def test_bytes_of_a_tiny_net_by_hand(precision, element, batch):
    needs = measure_needs(tiny(), (1, 4, 4), batch, precision)
    assert needs.bytes == batch * (FORWARD + BACKWARD) * element + CONSTANT * 4


def test_multiply_adds_of_a_tiny_net_by_hand():
    forward = STEM * IMAGE + WEIGHT * IMAGE + LINEAR
    assert measure_needs(tiny(), (1, 4, 4), 7).multiply_adds == 7 * (3 * forward - STEM * IMAGE)


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_multiply_adds_are_half_of_torchs_flops(shortcut):
    net = build(Arch(depth=8, shortcut=shortcut), channels=1, device="meta")
    with FlopCounterMode(display=False) as counter:
        images, labels = torch.empty(5, 1, 9, 9, device="meta"), torch.empty(5, dtype=torch.int64, device="meta")
        F.cross_entropy(net(images), labels).backward()
    needs = step_needs(Arch(depth=8, shortcut=shortcut), 5, channels=1, size=9)
    assert 2 * needs.multiply_adds == counter.get_total_flops() > 0


def test_a_step_of_resnet_20_moves_7_mb_an_image_in_bf16():
    """As published for unfused kernels, 6.5 MB, and the sums of two gradients where a shortcut leaves: 0.59 MB."""
    maps = 16 * 32 * 32, 32 * 16 * 16, 64 * 8 * 8
    sums = 3 * 2 * (3 * maps[0] + 3 * maps[1] + 3 * maps[2])  # three accesses of two bytes; 3 blocks a stage
    an_image = step_needs(Arch(depth=20), 128, "bf16").bytes / 128
    assert (an_image - sums) / 1e6 == pytest.approx(6.5, abs=0.1)


def test_a_net_is_left_without_gradients_and_hooks():
    net = tiny()
    assert measure_needs(net, (1, 4, 4), 3) == measure_needs(net, (1, 4, 4), 3)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_floors_are_needs_over_ceilings():
    ceilings = Ceilings(bandwidth=2e9, rates={"fp32": 1e9, "bf16": 4e9})
    assert Needs(bytes=10**9, multiply_adds=3 * 10**9).seconds(ceilings, "fp32") == (0.5, 3.0)
    assert Needs(bytes=10**9, multiply_adds=3 * 10**9).seconds(ceilings, "bf16") == (0.5, 0.75)


def test_ceilings_are_positive_and_finite(monkeypatch):
    monkeypatch.setattr(floors, "COPIED", {"cpu": 2**16})
    monkeypatch.setattr(floors, "MATRIX", {"cpu": 32})
    monkeypatch.setattr(floors, "WINDOW_SECONDS", 1e-3)
    found = measure_ceilings()
    assert tuple(found.rates) == precisions(torch.device("cpu")) == ("fp32", "bf16")
    assert all(math.isfinite(value) and value > 0 for value in (found.bandwidth, *found.rates.values()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_ceilings_of_a_gpu():
    before = torch.backends.cuda.matmul.allow_tf32
    found = measure_ceilings("cuda")
    assert tuple(found.rates) == precisions(torch.device("cuda"))
    assert all(math.isfinite(value) and value > 0 for value in (found.bandwidth, *found.rates.values()))
    assert torch.backends.cuda.matmul.allow_tf32 == before
