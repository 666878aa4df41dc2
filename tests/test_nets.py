"""Nets against torchvision, published counts, a literal functional reference and closed forms."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.cell import IMAGENET_DEPTHS, Arch
from bench.errors import FieldError
from bench.nets import ResNet, ZeroPadded, ZeroPaddedAddition, build, recompute

OPTIONS = ("none", "A", "B", "C")
SMALL = [
    *(Arch("cifar", 8, option) for option in OPTIONS),
    *(Arch("imagenet", 18, option, 0.25) for option in OPTIONS),
    *(Arch("imagenet", 50, option, 0.125, stride) for option in OPTIONS for stride in ("original", "v1.5")),
]
PARAMETERS = {  # parameters of (plain and A, B, C), computed from the architecture
    ("cifar", 20): (269_722, 272_474, 283_962),
    ("cifar", 32): (464_154, 466_906, 489_594),
    ("cifar", 44): (658_586, 661_338, 695_226),
    ("cifar", 56): (853_018, 855_770, 900_858),
    ("cifar", 110): (1_727_962, 1_730_714, 1_826_202),
    ("cifar", 1202): (19_421_274, 19_424_026, 20_538_714),
    ("imagenet", 18): (11_515_688, 11_689_512, 12_043_816),
    ("imagenet", 34): (21_623_848, 21_797_672, 22_716_840),
}
BOTTLENECK_PARAMETERS = {50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Nets this small run fastest on one thread, above all beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _known_global_generator() -> Iterator[None]:
    """Inputs are drawn from the global generator; no test depends on another's draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def label(arch: Arch) -> str:
    return f"{arch.family}-{arch.label}-{arch.stride}"


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def convolutions(net: nn.Module, *, shortcuts: bool) -> list[nn.Conv2d]:
    """Those on shortcuts, or those off them."""
    named = ((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    return [module for name, module in named if ("downsample" in name) is shortcuts]


@torch.no_grad()
def disturbed(net: ResNet) -> ResNet:
    """`net` in float64 with batch normalization, fc bias and running statistics that are not their initial values."""
    for name, tensor in net.double().state_dict().items():
        if "running_var" in name or ("bn" in name and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.uniform_(-0.5, 0.5)
    return net


# Counts


@pytest.mark.parametrize(("family", "depth"), PARAMETERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_parameter_and_layer_counts_are_those_of_the_paper(family: str, depth: int, option: str) -> None:
    plain_and_a, b, c = PARAMETERS[family, depth]
    classes = 10 if family == "cifar" else 1000
    net = build(Arch(family, depth, option), classes=classes, device="meta")
    assert parameters(net) == {"none": plain_and_a, "A": plain_and_a, "B": b, "C": c}[option]
    assert len(convolutions(net, shortcuts=False)) + 1 == depth


@pytest.mark.parametrize("depth", BOTTLENECK_PARAMETERS)
@pytest.mark.parametrize("stride", ["original", "v1.5"])
def test_bottleneck_parameter_counts_are_those_of_the_paper(depth: int, stride: str) -> None:
    net = build(Arch("imagenet", depth, "B", stride=stride), classes=1000, device="meta")
    assert parameters(net) == BOTTLENECK_PARAMETERS[depth]


def test_option_c_has_13_projections_more_on_34_layers() -> None:
    b, c = (convolutions(build(Arch("imagenet", 34, o), device="meta"), shortcuts=True) for o in "BC")
    assert (len(b), len(c)) == (3, 16)


@given(n=st.integers(1, 20), option=st.sampled_from(OPTIONS))
@settings(max_examples=5, deadline=None)
def test_every_cifar_depth_has_that_many_weighted_layers(n: int, option: str) -> None:
    net = build(Arch("cifar", 6 * n + 2, option), device="meta")
    assert len(convolutions(net, shortcuts=False)) + 1 == 6 * n + 2
    assert len(convolutions(net, shortcuts=True)) == {"none": 0, "A": 0, "B": 2, "C": 3 * n}[option]


@pytest.mark.parametrize("depth", IMAGENET_DEPTHS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_imagenet_depth_has_that_many_weighted_layers(depth: int, option: str) -> None:
    net = build(Arch("imagenet", depth, option), device="meta")
    assert len(convolutions(net, shortcuts=False)) + 1 == depth


@pytest.mark.parametrize(
    ("arch", "filters"),
    [
        (Arch("cifar", 8, width=0.5), (8, 8, 16, 32)),
        (Arch("cifar", 8, width=1 / 16), (1, 1, 2, 4)),
        (Arch("cifar", 8, width=2.0), (32, 32, 64, 128)),
        (Arch("imagenet", 50, "B", width=0.3), (19, 19 * 4, 38 * 4, 77 * 4, 154 * 4)),
    ],
)
def test_width_multiplies_filters(arch: Arch, filters: tuple[int, ...]) -> None:
    net = build(arch, device="meta")
    last = [
        stage[-1].bn3 if arch.bottleneck else stage[-1].bn2 for name, stage in net.named_children() if "lay" in name
    ]
    assert (net.bn1.num_features, *(bn.num_features for bn in last)) == filters


# Outputs


def torchvision_twin(arch: Arch) -> tuple[ResNet, nn.Module]:
    """A net with disturbed weights, and torchvision's net with the very same tensors, mapped over by name."""
    ours = disturbed(build(arch, classes=7))
    with torch.device("meta"):  # drawing its own initial weights takes longer than the test
        theirs = getattr(torchvision.models, f"resnet{arch.depth}")(num_classes=7)
    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)
    return ours, theirs


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.isfinite().all()
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", IMAGENET_DEPTHS)
def test_outputs_equal_torchvision_in_eval_mode(depth: int) -> None:
    arch = Arch("imagenet", depth, "B", stride="v1.5" if depth >= 50 else "original")
    ours, theirs = torchvision_twin(arch)
    images = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    with torch.no_grad():
        assert_alike(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("depth", [18, 50])
def test_training_equals_torchvision(depth: int) -> None:
    """Outputs, gradients of every parameter and running statistics."""
    ours, theirs = torchvision_twin(Arch("imagenet", depth, "B", stride="v1.5" if depth >= 50 else "original"))
    theirs = copy.deepcopy(theirs)  # gradients and running statistics of its own
    images = torch.randn(3, 3, 33, 40, dtype=torch.float64)
    outputs = [net.train()(images) for net in (ours, theirs)]
    assert_alike(*outputs)
    for output in outputs:
        F.cross_entropy(output, torch.tensor([0, 6, 3])).backward()
    for (name, mine), (their_name, their) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        torch.testing.assert_close(mine.grad, their.grad, rtol=1e-7, atol=1e-9)
    running = [{n: b for n, b in net.named_buffers() if "running" in n} for net in (ours, theirs)]
    torch.testing.assert_close(*running, rtol=1e-9, atol=1e-9)


def test_original_stride_equals_torchvision_with_its_strides_moved() -> None:
    ours, theirs = torchvision_twin(Arch("imagenet", 50, "B", stride="original"))
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
        assert stage[0].conv1.stride == (2, 2)
    images = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    with torch.no_grad():
        assert_alike(ours.eval()(images), theirs.eval()(images))


def reference(arch: Arch, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The logits in eval mode, from sections 3.3, 4.1 and 4.2 word by word."""

    def conv_bn(x: Tensor, conv: str, bn: str, stride: int) -> Tensor:
        kernel = weights[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=(kernel.shape[-1] - 1) // 2)
        mean, var, scale, shift = (
            weights[f"{bn}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    cifar, bottleneck = arch.family == "cifar", arch.depth >= 50 and arch.family == "imagenet"
    x = torch.clamp(conv_bn(images, "conv1", "bn1", 1 if cifar else 2), min=0)
    if not cifar:
        x = F.max_pool2d(x, 3, 2, 1)
    counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}.get(arch.depth) if not cifar else ((arch.depth - 2) // 6,) * 3
    for stage, count in enumerate(counts, start=1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            last = 3 if bottleneck else 2
            strided = 2 if arch.stride == "v1.5" else 1
            y = x
            for number in range(1, last + 1):
                y = conv_bn(y, f"{name}.conv{number}", f"{name}.bn{number}", stride if number == strided else 1)
                if number < last:
                    y = torch.clamp(y, min=0)
            changes = x.shape != y.shape
            if arch.shortcut == "C" or (arch.shortcut == "B" and changes):
                y = y + conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            elif arch.shortcut != "none":
                y = y + zero_padded(x, stride, y.shape[1])
            x = torch.clamp(y, min=0)
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


def zero_padded(x: Tensor, stride: int, outputs: int) -> Tensor:
    """Option A, one number at a time."""
    n, channels, height, width = x.shape
    result = torch.zeros(n, outputs, math.ceil(height / stride), math.ceil(width / stride), dtype=x.dtype)
    for i, j in itertools.product(range(result.shape[2]), range(result.shape[3])):
        for image, channel in itertools.product(range(n), range(channels)):
            result[image, channel, i, j] = x[image, channel, stride * i, stride * j]
    return result


@given(
    arch=st.sampled_from([a for a in SMALL if a.family == "cifar"]) | st.just(Arch("cifar", 14, "A", 0.5)),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 13), st.integers(1, 13)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_cifar_outputs_equal_the_reference(arch: Arch, shape: tuple[int, int, int], seed: int) -> None:
    torch.manual_seed(seed)
    net = disturbed(build(arch, channels=shape[0], classes=5, seed=seed)).eval()
    images = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), reference(arch, net.state_dict(), images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", [a for a in SMALL if a.family == "imagenet"], ids=label)
def test_imagenet_outputs_equal_the_reference(arch: Arch) -> None:
    net = disturbed(build(arch, channels=2, classes=5)).eval()
    images = torch.randn(2, 2, 33, 40, dtype=torch.float64)
    with torch.no_grad():
        assert_alike(net(images), reference(arch, net.state_dict(), images))


@given(
    shape=st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 9)] * 2),
    stride=st.integers(1, 3),
    new_channels=st.integers(0, 3),
)
def test_option_a_is_the_subsampled_and_zero_padded_identity(
    shape: tuple[int, ...], stride: int, new_channels: int
) -> None:
    x = torch.randn(shape)
    module = ZeroPadded(shape[1], shape[1] + new_channels, stride)
    assert torch.equal(module(x), zero_padded(x, stride, shape[1] + new_channels))
    assert not list(module.parameters())


@pytest.mark.parametrize("arch", SMALL, ids=label)
def test_gradients_reach_every_parameter(arch: Arch) -> None:
    net = build(arch)
    F.cross_entropy(net(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    assert gradients
    assert [name for name, grad in gradients.items() if grad is None or not grad.any()] == []


@pytest.mark.parametrize("arch", SMALL, ids=label)
def test_the_bn_after_each_convolution_is_seen_before_relu_and_addition(arch: Arch) -> None:
    """At its initial weights a BN's response has mean 0 and variance 1 in each channel; rectified or added to, not."""
    net = build(arch).double()
    moments = {}

    def record(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, out: Tensor) -> None:
            moments[name] = (out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False))

        net.get_submodule(name).register_forward_hook(hook)

    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d) and "down" not in name]
    for name in names:
        record(name.replace("conv", "bn"))
    with torch.no_grad():
        net(torch.randn(16, 3, 32, 32, dtype=torch.float64))
    assert len(moments) == len(names) == arch.depth - 1
    for mean, variance in moments.values():
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-9)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=1e-2)  # BN's epsilon


# Initial values


@pytest.mark.parametrize("arch", SMALL, ids=label)
def test_initial_weights_are_shared_by_all_options_and_decided_by_the_seed(arch: Arch) -> None:
    plain = build(Arch(arch.family, arch.depth, "none", arch.width), seed=3).state_dict()
    same, other = (build(arch, seed=seed).state_dict() for seed in (3, 4))
    assert plain.keys() == {name for name in same if "downsample" not in name}
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    drawn = [name for name in same if ("conv" in name or "downsample.0" in name or name == "fc.weight")]
    assert len(drawn) == arch.depth + sum("downsample.0" in name for name in same)
    assert not any(torch.equal(same[name], other[name]) for name in drawn)
    again = build(arch, seed=3).state_dict()
    assert all(torch.equal(same[name], again[name]) for name in same)


@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
@pytest.mark.parametrize("arch", [Arch("cifar", 20, "C"), Arch("imagenet", 18, "B")], ids=label)
def test_weights_are_he_normal(arch: Arch, fan: str) -> None:
    net = build(arch, classes=100, seed=1, init_fan=fan)
    drawn = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(drawn) > arch.depth
    scores = []
    for module in drawn:
        weight = module.weight.detach().double().flatten()
        if isinstance(module, nn.Linear):
            of_fan = module.in_features
        else:
            channels = module.in_channels if fan == "fan_in" else module.out_channels
            of_fan = channels * module.kernel_size[0] * module.kernel_size[1]
        unit = weight / math.sqrt(2 / of_fan)
        assert abs(unit.mean()) < 5 / math.sqrt(len(unit))
        assert abs(unit.square().mean() - 1) < 5 * math.sqrt(2 / len(unit))  # five standard errors of a variance
        scores.append(unit)
    scores = torch.cat(scores)
    for sigmas in (0.5, 1, 2, 3):  # normal, not merely of that variance
        share = (scores.abs() < sigmas).double().mean().item()
        assert share == pytest.approx(math.erf(sigmas / math.sqrt(2)), abs=5 * 0.5 / math.sqrt(len(scores)))


def test_the_fans_differ_at_the_stem() -> None:
    """sqrt(2/27) against sqrt(2/144), drawn from the same numbers."""
    by_fan_in, by_fan_out = (build(Arch(), init_fan=fan).conv1.weight for fan in ("fan_in", "fan_out"))
    torch.testing.assert_close(by_fan_in, by_fan_out * math.sqrt(144 / 27))


@pytest.mark.parametrize("arch", SMALL, ids=label)
def test_everything_else_starts_at_its_neutral_value(arch: Arch) -> None:
    net = build(arch)
    batch_norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(batch_norms) == sum(isinstance(module, nn.Conv2d) for module in net.modules())
    for bn in batch_norms:
        assert (bn.weight == 1).all() and (bn.bias == 0).all()
        assert (bn.running_mean == 0).all() and (bn.running_var == 1).all() and bn.num_batches_tracked == 0
    assert (net.fc.bias == 0).all()
    assert all(module.bias is None for module in net.modules() if isinstance(module, nn.Conv2d))
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_building_neither_reads_nor_moves_the_global_generator(device: str) -> None:
    before = torch.get_rng_state()
    first = build(Arch("cifar", 8, "C"), device=device)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(12345)
    second = build(Arch("cifar", 8, "C"), device=device)
    assert {p.device.type for p in first.parameters()} == {device}
    if device == "cpu":
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [("channels", 0), ("channels", 3.0), ("classes", 0), ("classes", "10"), ("seed", -1), ("init_fan", "fan_avg")],
)
def test_bad_arguments_are_named(key: str, value: object) -> None:
    with pytest.raises(FieldError, match=key) as error:
        build(Arch("cifar", 8), **{key: value})
    assert repr(value) in str(error.value)


# Speed


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("size", "stride", "new"), [((5, 7), 2, 3), ((4, 4), 1, 2), ((1, 1), 2, 0), ((9, 8), 3, 5)])
def test_adding_without_the_zeros_gives_the_bits_of_padding(layout, size, stride, new) -> None:
    x = torch.randn(2, 4, *size).to(memory_format=layout).requires_grad_()
    out = torch.randn(2, 4 + new, *(-(-side // stride) for side in size)).to(memory_format=layout).requires_grad_()
    found = []
    for added in (out * 1 + ZeroPadded(4, 4 + new, stride)(x), ZeroPaddedAddition.apply(out * 1, x, stride)):
        gradients = torch.autograd.grad((added**3).sum(), (out, x))
        found.append((added, *gradients))
    for padded, direct in zip(*found, strict=True):
        assert torch.equal(padded, direct)


@pytest.mark.parametrize("arch", SMALL, ids=label)
def test_channels_last_is_kept_throughout(arch: Arch) -> None:
    net = build(arch).eval()
    images = torch.randn(2, 3, 64, 64)  # an odd image, subsampled, has no layout that torch calls channels-last
    expected = net(images)
    net = net.to(memory_format=torch.channels_last)
    kept = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | ZeroPadded):
            module.register_forward_hook(
                lambda _m, _i, out: kept.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    outputs = net(images.to(memory_format=torch.channels_last))
    assert len(kept) > 2 * (arch.depth - 2) and all(kept)
    torch.testing.assert_close(outputs, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("option", OPTIONS)
def test_traces_to_one_graph(option: str) -> None:
    """No data-dependent control flow: torch.compile sees one graph."""
    net = build(Arch("cifar", 8, option)).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        traced = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(traced(images), net(images))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("option", OPTIONS)
def test_cuda_starts_from_the_same_weights_and_can_be_captured(option: str) -> None:
    arch = Arch("cifar", 8, option)
    on_cpu, on_gpu = build(arch, seed=5), build(arch, seed=5, device="cuda")
    for mine, theirs in zip(on_cpu.state_dict().values(), on_gpu.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs.cpu())
    images = torch.randn(4, 3, 32, 32, device="cuda")
    on_gpu.eval()
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            on_gpu(images)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = on_gpu(images)
        images.copy_(torch.randn_like(images))
        graph.replay()
        torch.testing.assert_close(captured, on_gpu(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "arch", [Arch(depth=14, shortcut=s, width=0.5) for s in ("none", "A", "C")] + [Arch("imagenet", 50, "B", 1 / 16)]
)
def test_recomputing_changes_no_bit(arch):
    kept, again = build(arch, seed=3), build(arch, seed=3)
    recompute(again)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outputs = [net(images) for net in (kept, again)]
    assert (outputs[0] == outputs[1]).all()
    for output in outputs:
        output.square().sum().backward()
    for (name, mine), theirs in zip(kept.named_parameters(), again.parameters(), strict=True):
        assert (mine.grad == theirs.grad).all(), name
    for mine, theirs in zip(kept.buffers(), again.buffers(), strict=True):
        assert (mine == theirs).all()


def test_recomputing_keeps_less():
    """Counted by what autograd saves: of each block its input, and no more."""
    saved = {}
    for name in ("kept", "again"):
        net, total = build(Arch(depth=20), seed=3), [0]
        if name == "again":
            recompute(net)

        def keep(tensor, total=total):
            total[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = net(torch.randn(4, 3, 32, 32))
        saved[name] = total[0]
        output.sum().backward()
    assert saved["again"] < saved["kept"] / 2
