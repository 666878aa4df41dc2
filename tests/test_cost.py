"""Costs against the paper's figures, torch's own flop counter and the tensors a forward pass allocates."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.cell import Arch
from bench.cost import Cost, Group, cost_of, measure_cost
from bench.errors import FieldError
from bench.nets import build

OPTIONS = ("none", "A", "B", "C")
ARCHS = [
    *(Arch("cifar", depth, option) for depth in (8, 20) for option in OPTIONS),
    *(Arch("imagenet", 18, option, 0.25) for option in OPTIONS),
    *(Arch("imagenet", 50, option, 0.25, stride) for option in OPTIONS for stride in ("original", "v1.5")),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Nets this small run fastest on one thread, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def label(arch: Arch) -> str:
    return f"{arch.family}-{arch.label}-{arch.stride}"


@pytest.mark.parametrize(
    ("depth", "option", "stride", "billions"),
    [
        (18, "A", "original", "1.795"),
        (34, "A", "original", "3.644"),
        (50, "B", "original", "3.858"),
        (101, "B", "original", "7.570"),
        (152, "B", "original", "11.282"),
        (50, "B", "v1.5", "4.089"),
        (101, "B", "v1.5", "7.801"),
        (152, "B", "v1.5", "11.514"),
    ],
)
def test_multiply_adds_are_those_of_the_paper(depth: int, option: str, stride: str, billions: str) -> None:
    cost = cost_of(Arch("imagenet", depth, option, stride=stride), channels=3, size=224, classes=1000)
    assert f"{cost.multiply_adds / 1e9:.3f}" == billions


@pytest.mark.parametrize(
    ("depth", "option", "parameters"),
    [
        (20, "A", 269_722),
        (32, "C", 489_594),
        (44, "B", 661_338),
        (56, "none", 853_018),
        (110, "C", 1_826_202),
    ],
)
def test_parameters_are_those_of_the_paper(depth: int, option: str, parameters: int) -> None:
    cost = cost_of(Arch("cifar", depth, option), channels=3, size=32, classes=10)
    assert (cost.parameters, cost.layers) == (parameters, depth)


@given(
    arch=st.sampled_from(ARCHS),
    channels=st.integers(1, 4),
    size=st.integers(1, 70),
    classes=st.integers(1, 20),
)
@settings(max_examples=6, deadline=None)  # every arch has its turn below
def test_multiply_adds_are_half_of_torchs_flops(arch: Arch, channels: int, size: int, classes: int) -> None:
    net = build(arch, channels=channels, classes=classes, device="meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, channels, size, size, device="meta"))
    cost = cost_of(arch, channels, size, classes)
    assert counter.get_total_flops() > 0
    assert 2 * cost.multiply_adds == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert cost.layers == arch.depth


class Allocations(TorchDispatchMode):
    """Bytes of the float32 maps and vectors of images (not of channels) that operations allocate, views aside."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.kept = list(known)  # alive, so that no storage is used twice
        self.storages = {tensor.untyped_storage()._cdata for tensor in known}
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if not isinstance(tensor, Tensor) or tensor.untyped_storage()._cdata in self.storages:
                continue
            self.kept.append(tensor)
            self.storages.add(tensor.untyped_storage()._cdata)
            if tensor.dim() >= 2 and tensor.dtype == torch.float32:
                self.bytes += tensor.numel() * 4
        return outputs


@pytest.mark.parametrize("arch", ARCHS, ids=label)
def test_costs_are_what_a_forward_pass_computes_and_allocates(arch: Arch) -> None:
    net = build(arch, channels=2, classes=7).eval()
    image = torch.randn(1, 2, 33, 33)
    allocations = Allocations(image, *net.parameters(), *net.buffers())
    with torch.no_grad(), FlopCounterMode(display=False) as counter, allocations:
        net(image)
    cost = cost_of(arch, 2, 33, 7)
    assert cost.activation_bytes == allocations.bytes > 33 * 33 * 4
    assert 2 * cost.multiply_adds == counter.get_total_flops() > 0
    assert cost.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert cost.layers == arch.depth


def test_groups_are_the_rows_of_table_1() -> None:
    cost = cost_of(Arch("imagenet", 50, "B"), channels=3, size=224, classes=1000)
    assert [(group.name, group.output_shape, group.layers) for group in cost.groups] == [
        ("stem", (64, 112, 112), 1),
        ("layer1", (256, 56, 56), 9),
        ("layer2", (512, 28, 28), 12),
        ("layer3", (1024, 14, 14), 18),
        ("layer4", (2048, 7, 7), 9),
        ("fc", (1000,), 1),
    ]


def test_groups_of_a_small_net_by_hand() -> None:
    cost = cost_of(Arch("cifar", 8, "B"), channels=3, size=32, classes=10)
    stem = Group("stem", (16, 32, 32), 1, 27 * 16 + 32, 27 * 16 * 1024, 2 * 16 * 1024 * 4)
    layer1 = Group("layer1", (16, 32, 32), 2, 2 * (144 * 16 + 32), 2 * 144 * 16 * 1024, 4 * 16 * 1024 * 4)
    weights2 = (144 * 32, 288 * 32, 16 * 32)  # two 3x3 convolutions and the projection
    layer2 = Group("layer2", (32, 16, 16), 2, sum(weights2) + 3 * 64, sum(weights2) * 256, 6 * 32 * 256 * 4)
    weights3 = (288 * 64, 576 * 64, 32 * 64)
    layer3 = Group("layer3", (64, 8, 8), 2, sum(weights3) + 3 * 128, sum(weights3) * 64, 6 * 64 * 64 * 4)
    fc = Group("fc", (10,), 1, 650, 640, (64 + 10) * 4)
    assert cost == Cost((stem, layer1, layer2, layer3, fc))


def test_the_module_is_counted_not_its_description() -> None:
    net = build(Arch("cifar", 8), device="meta").eval()
    image = torch.empty(1, 3, 32, 32, device="meta")
    before = measure_cost(net, image)
    net.layer3 = nn.Identity()
    net.fc = nn.Linear(32, 10, device="meta")
    after = measure_cost(net, image)
    removed = next(group for group in before.groups if group.name == "layer3")
    assert before.multiply_adds - after.multiply_adds == removed.multiply_adds + 320
    assert before.parameters - after.parameters == removed.parameters + 320
    assert not any(module._forward_hooks for module in net.modules())


def test_as_dict_survives_json() -> None:
    cost = cost_of(Arch("cifar", 8), 3, 8, 10)
    record = cost.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["parameters"] == cost.parameters == sum(group["parameters"] for group in record["groups"])
    assert record["multiply_adds"] == cost.multiply_adds
    assert record["activation_bytes"] == cost.activation_bytes
    assert record["groups"][0]["output_shape"] == [16, 8, 8]


@pytest.mark.parametrize(("key", "value"), [("size", 0), ("size", 32.0), ("channels", 0), ("classes", True)])
def test_bad_arguments_are_named(key: str, value: object) -> None:
    with pytest.raises(FieldError, match=key) as error:
        cost_of(Arch(), **{key: value})
    assert repr(value) in str(error.value)
