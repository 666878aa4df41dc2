"""Mixed precision against torch.autocast, to the bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.cell import Arch
from bench.nets import build
from bench.working import Working

pytestmark = pytest.mark.usefixtures("one_thread")


def a_net(shortcut="B"):
    return build(Arch(depth=8, shortcut=shortcut, width=0.5), seed=1).to(memory_format=torch.channels_last)


@pytest.fixture
def batch():
    """Eight images and their labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 16, 16, generator=generator).to(memory_format=torch.channels_last)
    return images, torch.arange(8)


def test_in_float32_it_is_the_net_itself(batch):
    net = a_net()
    working = Working(net, "fp32")
    assert working.module is net
    F.cross_entropy(working(batch[0]), batch[1]).backward()
    assert all(found is parameter.grad for found, parameter in zip(working.gradients(), net.parameters(), strict=True))
    working.clear_gradients()
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_in_bf16_logits_gradients_and_statistics_are_those_of_autocast(batch, shortcut):
    images, labels = batch
    net, reference = a_net(shortcut), a_net(shortcut)
    working = Working(net, "bf16")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = reference(images).float()
    F.cross_entropy(expected, labels).backward()
    logits = working(images)
    F.cross_entropy(logits, labels).backward()
    assert logits.dtype == torch.float32 and torch.equal(logits, expected)
    for gradient, parameter in zip(working.gradients(), reference.parameters(), strict=True):
        assert gradient.dtype == torch.float32 and gradient.stride() == parameter.stride()
        assert torch.equal(gradient, parameter.grad)
    assert all(map(torch.equal, net.buffers(), reference.buffers()))


def test_in_bf16_the_master_weights_keep_what_a_copy_cannot(batch):
    net = a_net()
    working = Working(net, "bf16")
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
    before = working(batch[0])
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(1e-6)  # too little to change a bfloat16 of this size
                assert not torch.equal(parameter, parameter.bfloat16().float())
        net.conv1.weight.mul_(2)
    assert torch.equal(working(batch[0]), before)
    working.refresh()
    assert not torch.equal(working(batch[0]), before)
    assert torch.equal(working.module.conv1.weight, net.conv1.weight.bfloat16())


def test_the_copy_shares_normalisation_and_rounds_the_rest():
    net = a_net()
    working = Working(net, "bf16")
    for name, module in working.module.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module is net.get_submodule(name)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad is False for p in working.module.parameters())
    assert copy.deepcopy(net).state_dict().keys() == working.module.state_dict().keys()
