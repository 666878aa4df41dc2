"""Loss slices against independent truth: displacements and losses written out in float64, on a net of two layers."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import dataset
from bench.analysis import Slicing
from bench.cell import Arch, Cell, Recipe
from bench.landscape import directions, slices, weights_of
from bench.nets import build
from bench.source import Source
from bench.train import Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def training():
    recipe = Recipe(iterations=20, batch=32, lr=0.05, drops=(), crop_padding=1, eval_every=20, split="holdout")
    made = Training(
        Cell(Arch(depth=8, shortcut="C", width=0.25), recipe, "digits"), dataset.load(Source.parse("digits"))
    )
    made.advance(20)
    made.evaluate()
    return made


def filters(tensor):
    return tensor.double().reshape(len(tensor), -1).numpy()


def test_directions_have_the_norm_of_each_filter_of_the_net():
    """Li et al. 2018, section 4: d <- d / |d| |w|, filter by filter; nothing along biases and BN's parameters."""
    net = build(Arch(depth=8, shortcut="B"), seed=3)
    weights = [p for n, p in net.named_parameters() if n == "fc.weight" or ("conv" in n or "downsample.0" in n)]
    for direction in directions(net, 2, seed=5):
        assert [d.shape for d in direction] == [w.shape for w in weights] == [w.shape for w in weights_of(net)]
        for d, w in zip(direction, weights, strict=True):
            norms = np.linalg.norm(filters(d), axis=1)
            assert norms == pytest.approx(np.linalg.norm(filters(w.detach()), axis=1), rel=1e-5)


def test_directions_are_gaussian_and_follow_from_the_seed_alone():
    net = build(Arch(depth=20), seed=3)
    one, (first, second) = directions(net, 1, 7)[0], directions(net, 2, 7)
    assert all(map(torch.equal, one, first))  # how many are asked for does not change the first
    assert not any(map(torch.equal, first, second))
    assert not any(map(torch.equal, first, directions(net, 1, 8)[0]))
    normed = np.concatenate(
        [
            (filters(d) / np.linalg.norm(filters(d), axis=1, keepdims=True)).ravel() * math.sqrt(d[0].numel())
            for d in first
        ]
    )
    assert normed.mean() == pytest.approx(0, abs=0.01)
    assert (normed**4).mean() == pytest.approx(3, abs=0.1)  # of a Gaussian; a uniform direction's is 1.8
    cosines = [F.cosine_similarity(a.flatten(), b.flatten(), 0).item() for a, b in zip(first, second, strict=True)]
    assert max(map(abs, cosines[3:-1])) < 0.1


def test_a_dead_filter_stays_dead():
    net = build(Arch(depth=8), seed=0)
    with torch.no_grad():
        net.conv1.weight[2] = 0
    direction = directions(net, 1, 0)[0][0]
    assert not direction[2].any() and direction.isfinite().all()


class Counted:
    """A measurement: the loss of a two-layer net on two inputs."""

    images = 2

    def __init__(self, net):
        with torch.no_grad():
            self.logits = net(INPUTS)

    def loss(self):
        return F.cross_entropy(self.logits, LABELS).item()

    def error(self):
        return (self.logits.argmax(1) != LABELS).float().mean().item()


INPUTS, LABELS = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.8, -1.0]]), torch.tensor([0, 1])


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("dimensions", [1, 2])
def test_every_point_is_the_loss_of_the_net_displaced_by_hand(dimensions):
    net = two_layers()
    first, bias1, second, bias2 = (p.detach().double() for p in net.parameters())
    ends = [[d.double() for d in direction] for direction in directions(net, dimensions, 11)]
    slicing = Slicing(images=2, steps=5, span=1.5, direction_seed=11, dimensions=dimensions)
    points = list(slices(net, lambda: Counted(net), slicing))
    grid = [p for p in points if p.dimensions == dimensions]
    offsets = np.linspace(-1.5, 1.5, 5)
    expected = list(itertools.product(offsets, offsets)) if dimensions == 2 else [(a, None) for a in offsets]
    assert [(p.a, p.b) for p in grid] == expected
    for point in grid:
        along = [point.a, point.b][:dimensions]
        w1, w2 = (w + sum(x * e[i] for x, e in zip(along, ends, strict=True)) for i, w in enumerate((first, second)))
        logits = (INPUTS.double() @ w1.T + bias1).clamp(min=0) @ w2.T + bias2
        assert point.loss == pytest.approx(F.cross_entropy(logits, LABELS).item(), rel=1e-4)
        assert point.error == (logits.argmax(1) != LABELS).double().mean().item()
        assert (point.images, point.direction_seed) == (2, 11)
    row = [(p.a, p.loss) for p in points if p.dimensions == 1]  # the slice of one dimension comes with that of two
    assert row == [(p.a, p.loss) for p in grid if not p.b]


def test_the_net_is_as_before_to_the_bit_even_when_measuring_fails():
    net = two_layers()
    before = [p.clone() for p in net.parameters()]
    list(slices(net, lambda: Counted(net), Slicing(steps=3)))
    assert all(map(torch.equal, before, net.parameters()))
    calls = iter([Counted(net), Counted(net)])
    with pytest.raises(RuntimeError):
        list(slices(net, lambda: next(calls), Slicing(steps=3)))
    assert all(map(torch.equal, before, net.parameters()))


def test_the_centre_is_the_net_itself_over_the_first_training_images(training):
    before = {name: tensor.clone() for name, tensor in training.net.state_dict().items()}
    slicing = Slicing(images=321, steps=3, span=0.5)
    points = list(slices(training.net, lambda: training.measure("train", slicing.images), slicing))
    assert all(torch.equal(before[name], tensor) for name, tensor in training.net.state_dict().items())
    assert len(points) == slicing.points == 9 + 3
    (centre,) = (p for p in points if p.dimensions == 2 and p.a == p.b == 0)
    own = training.measure("train", 321)
    assert (centre.loss, centre.error, centre.images) == (own.loss(), own.error(), 321)
    training._passes.data.rewind()
    images, labels = training._passes.data.evaluation_batch("train", 1197)
    net = copy.deepcopy(training.net).double().eval()
    with torch.inference_mode():
        logits = net(images[:321].double())
    assert centre.loss == pytest.approx(F.cross_entropy(logits, labels[:321]).item(), rel=1e-4)
    assert centre.error == pytest.approx((logits.argmax(1) != labels[:321]).double().mean().item(), abs=4e-3)
    assert training.measure("train", 10**6).images == 1197  # as many as there are


@given(st.integers(1, 100), st.floats(1e-3, 1e3))
def test_offsets_are_a_linspace_with_an_exact_middle_and_ends(half, span):
    slicing = Slicing(steps=2 * half + 1, span=span)
    assert slicing.offsets == pytest.approx(np.linspace(-span, span, slicing.steps), abs=1e-12 * span)
    assert (slicing.offsets[0], slicing.offsets[half], slicing.offsets[-1]) == (-span, 0.0, span)
    assert slicing.offsets == [-a for a in reversed(slicing.offsets)]
