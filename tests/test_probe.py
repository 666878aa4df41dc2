"""Readings against independent truth: a forward pass written out in float64, and gradients of a net built apart."""

import dataclasses
import io
import math

import pytest
import torch
import torch.nn.functional as F

from bench.cell import Arch, Cell, Recipe
from bench.evaluation import MEASURED
from bench.nets import build
from bench.passes import EVALUATION_BATCH
from bench.probe import Probe, deviation
from bench.train import Training

RECIPE = Recipe(iterations=8, batch=64, lr=0.05, drops=(6,), crop_padding=1, flip=False, eval_every=4, split="holdout")


pytestmark = pytest.mark.usefixtures("one_thread")


def a_cell(recipe: Recipe = RECIPE, **arch) -> Cell:
    return Cell(Arch(**({"depth": 8, "width": 0.25} | arch)), recipe, "digits", seed=1)


def responses_by_hand(weights, images, shortcut):
    """Section 3.3 for an 8-layer CIFAR net in eval mode, float64: every response after BN."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    found = []

    def layer(x, conv, bn, stride=1, *, padding=1):
        x = F.conv2d(x, w[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, scale, shift = (
            w[f"{bn}.{part}"][None, :, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    def heard(x):
        found.append(math.sqrt(((x - x.mean()) ** 2).mean()))
        return x

    x = heard(layer(images.double(), "conv1", "bn1")).clamp(min=0)
    for stage in (1, 2, 3):
        stride, block = (1 if stage == 1 else 2), f"layer{stage}.0"
        y = heard(layer(x, f"{block}.conv1", f"{block}.bn1", stride)).clamp(min=0)
        y = heard(layer(y, f"{block}.conv2", f"{block}.bn2"))
        if shortcut == "B" and stride == 2:
            y = y + layer(x, f"{block}.downsample.0", f"{block}.downsample.1", stride, padding=0)
        elif shortcut != "none":
            same = x[:, :, ::stride, ::stride]
            y = y + torch.cat([same, torch.zeros_like(y)[:, same.shape[1] :]], 1)
        x = y.clamp(min=0)
    return found


@pytest.mark.parametrize("shortcut", ["none", "A", "B"])
def test_responses_are_those_of_a_forward_pass_written_out(digits, shortcut):
    training = Training(a_cell(shortcut=shortcut), digits, probing=True)
    for _ in range(2):
        training.advance(training.next_evaluation)
        training.evaluate()
        training._passes.data.rewind()
        images, _ = training._passes.data.evaluation_batch("train", EVALUATION_BATCH)
        expected = responses_by_hand(training.net.state_dict(), images, shortcut)
        assert training.probe.readings[-1].response_std == pytest.approx(expected, rel=1e-4)
    assert [reading.iteration for reading in training.probe.readings] == [0, 4, 8]
    assert len(training.probe.names) == 7


@pytest.mark.parametrize("shortcut", ["none", "C"])
def test_gradient_norms_are_those_of_a_net_built_apart(digits, shortcut):
    cell = a_cell(shortcut=shortcut)
    training = Training(cell, digits, probing=True)

    def norms(state, iteration):
        net = build(cell.arch, channels=1, seed=cell.seed).double().train()
        if state:
            net.load_state_dict(state)
        images, labels = training._batches.at(iteration)
        F.cross_entropy(net(images.double()), labels).backward()
        weights = {n: p for n, p in net.named_parameters() if p.ndim == 4 and p.shape[-1] == 3}
        assert [n.removesuffix(".weight") for n in weights] == training.probe.names
        return [math.sqrt((p.grad**2).sum()) for p in weights.values()]

    training.advance(3)
    before = {name: tensor.clone() for name, tensor in training.net.state_dict().items()}
    training.advance(4)
    training.evaluate()
    initial, later = training.probe.readings
    assert (initial.iteration, initial.response_std) == (0, None)
    assert initial.gradient_norm == pytest.approx(norms(None, 0), rel=1e-3)
    assert later.gradient_norm == pytest.approx(norms(before, 3), rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_probing_changes_no_bit(digits, precision):
    cell = a_cell(dataclasses.replace(RECIPE, precision=precision))
    ends = []
    for probing in (False, True):
        training = Training(cell, digits, probing=probing)
        points = []
        while not training.ended:
            training.advance(training.next_evaluation)
            points.append(dataclasses.asdict(training.evaluate()))
        ends.append(([{k: v for k, v in p.items() if k not in MEASURED} for p in points], training.net.state_dict()))
    (points, net), (probed_points, probed_net) = ends
    assert points == probed_points
    assert all(torch.equal(net[name], probed_net[name]) for name in net)


def test_responses_in_bf16_are_summed_in_float32(digits):
    training = Training(a_cell(dataclasses.replace(RECIPE, precision="bf16"), shortcut="C"), digits, probing=True)
    training.advance(4)
    seen = {}

    def see(module, _inputs, response):
        assert response.dtype == torch.bfloat16
        seen.setdefault(module, response.double())

    modules = [training.net.get_submodule(name.replace("conv", "bn")) for name in training.probe.names]
    for module in modules:
        module.register_forward_hook(see)
    training.evaluate()
    exact = [seen[module].std(correction=0).item() for module in modules]
    assert training.probe.readings[-1].response_std == pytest.approx(exact, rel=1e-6)


def test_deviation_of_many_values_far_from_zero():
    values = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0)) * 0.01 + 3
    assert deviation(values).item() == pytest.approx(values.double().std(correction=0).item(), rel=1e-5)
    assert math.isnan(deviation(torch.tensor([1.0, math.inf])).item())


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 8])
def test_a_restart_changes_no_reading(digits, stop):
    def end(training):
        while not training.ended:
            training.advance(training.next_evaluation)
            training.evaluate()
        return training.probe.readings

    whole = end(Training(a_cell(), digits, probing=True))
    first = Training(a_cell(), digits, probing=True)
    first.advance(min(stop, 4))  # at 4 and 8 an evaluation is due: its gradients are those of a step before the restart
    if stop > 4:
        first.evaluate()
        first.advance(stop)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second = Training(a_cell(), digits, probing=True)
    second.restore(torch.load(file, weights_only=True))
    assert end(second) == whole


def test_a_checkpoint_without_readings_goes_on_with_those_to_come(digits):
    first = Training(a_cell(), digits)
    first.advance(4)
    first.evaluate()
    state = first.state()
    del state["probe"]  # as an older resbench wrote it
    second = Training(a_cell(), digits, probing=True)
    second.restore(state)
    second.advance(8)
    second.evaluate()
    assert [reading.iteration for reading in second.probe.readings] == [8]


def test_a_diverged_net_is_recorded_as_it_is(digits):
    recipe = dataclasses.replace(RECIPE, lr=10.0, momentum=1.0, weight_decay=0.5, drops=(), iterations=400)
    training = Training(a_cell(recipe), digits, probing=True)
    while not training.ended:
        training.advance(training.next_evaluation)
        training.evaluate()
    assert training.diverged
    assert not all(map(math.isfinite, training.probe.readings[-1].gradient_norm))


@pytest.mark.parametrize(
    ("arch", "first", "count"),
    [
        (Arch(depth=20, shortcut="C"), "conv1", 19),
        (Arch("imagenet", 18, "B"), "layer1.0.conv1", 16),
        (Arch("imagenet", 50, "B"), "layer1.0.conv2", 16),
    ],
)
def test_layers_are_the_3x3_convolutions_off_the_shortcuts(arch, first, count):
    names = Probe(build(arch, device="meta")).names
    assert names[0] == first
    assert len(names) == len(set(names)) == count
    if arch.bottleneck:
        assert all(name.endswith("conv2") for name in names)
