"""The peers of `make bench-peers` do the work that ours does: the same net, the same steps, the same images."""

import itertools
import math

import bench_peers
import checkout
import numpy as np
import peers
import plain
import pytest
import torch
import torch.nn.functional as F
import torchvision

from bench.cell import Arch, Cell, Recipe
from bench.dataset import Dataset
from bench.nets import build
from bench.train import Training

IMAGES = 32


@pytest.fixture
def images() -> Dataset:
    """Random images of 8 x 8 pixels, one batch of them to train on."""
    draw = np.random.default_rng(0).integers
    pixels, labels = draw(256, size=(IMAGES + 10, 3, 8, 8), dtype=np.uint8), draw(10, size=IMAGES + 10)
    train, test = slice(IMAGES), slice(IMAGES, None)
    return Dataset("cifar10", pixels[train], labels[train], pixels[test], labels[test], tuple("0123456789"), "")


def channels(option: str) -> list[torch.Tensor]:
    """For the stem and each stage, which of our channels each of theirs is.

    With option A we put a stage's new channels after the old ones, they half of them before and half after.
    """
    orders = [torch.arange(16), torch.arange(16)]
    for filters in (32, 64):
        old, new = orders[-1], torch.arange(filters // 2, filters)
        halves = (new[: filters // 4], old, new[filters // 4 :])
        orders.append(torch.cat(halves) if option == "A" else torch.arange(filters))
    return orders


def theirs(state: dict[str, torch.Tensor], option: str) -> dict[str, torch.Tensor]:
    """Our net's state as theirs."""
    orders, renamed = channels(option), {}
    for name, value in state.items():
        stage = int(name[5]) if name.startswith("layer") else 0
        block = int(name[7]) if stage else 0
        of_input = orders[stage - 1 if stage and block == 0 else stage]
        moved = value
        if name == "fc.weight":
            moved = value[:, orders[3]]
        elif stage and name.endswith("conv1.weight"):
            moved = value[:, of_input]
        elif (stage and "bn2" in name and value.ndim) or (stage and "conv2" in name):
            moved = value[orders[stage]]
        renamed[name.replace("downsample", "shortcut").replace("fc.", "linear.")] = moved
    return renamed


@pytest.mark.parametrize("option", ["none", "A", "B", "C"])
def test_the_net_is_ours(option):
    own = build(Arch(depth=14, shortcut=option), seed=3).double()
    other = plain.Net(14, option).double()
    other.load_state_dict(theirs(own.state_dict(), option))
    x, y = torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    losses = [F.cross_entropy(net(x), y) for net in (own, other)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-12)
    for loss in losses:
        loss.backward()
    assert torch.allclose(own.conv1.weight.grad, other.conv1.weight.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("peer", ["plain", "akamaster", "kuangliu"])
def test_the_steps_are_ours(images, peer):
    """Two steps, each of the whole training set: as good as the same losses, and the same weights after them."""
    decay = {"kuangliu": 5e-4}.get(peer, 1e-4)
    recipe = Recipe(iterations=2, batch=IMAGES, drops=(), crop_padding=0, flip=False, weight_decay=decay, eval_every=2)
    training = Training(Cell(Arch(depth=8), recipe, "cifar10"), images)
    net = plain.Net(8)
    net.load_state_dict(theirs(training.net.state_dict(), "A"))
    training.advance(2)
    pixels = images.train_images / 255
    batch = torch.tensor(pixels - pixels.mean(0), dtype=torch.float32), torch.tensor(images.train_labels)
    if peer == "plain":
        steps = plain.steps(net, [batch], recipe)
    else:
        steps = getattr(peers, f"{peer}_steps")(net, [batch], "cpu")
    losses = list(itertools.islice(steps, 2))
    assert sum(losses) / 2 == pytest.approx(training.evaluate().running_loss, rel=1e-4)
    for (name, value), own in zip(
        net.named_parameters(), theirs(dict(training.net.named_parameters()), "A").values(), strict=True
    ):
        assert torch.allclose(value, own, rtol=1e-3, atol=1e-4), name


def test_a_plain_curve_has_our_points(images):
    recipe = Recipe(iterations=5, batch=8, drops=(4,), crop_padding=1, flip=False, eval_every=2, split="holdout")
    points = plain.curve(Cell(Arch(depth=8), recipe, "cifar10"), images)
    assert [point[0] for point in points] == [2, 4, 5]
    for _, *errors in points:  # of 29 images, 3 and 10
        wrong = [error * size for error, size in zip(errors, (29, 3, 10), strict=True)]
        assert wrong == pytest.approx([round(count) for count in wrong])


def test_a_plain_crop_is_a_window_of_the_padded_image(images):
    pixels = torch.tensor(images.train_images).float()
    cropped = plain.Cropped(pixels, torch.tensor(images.train_labels), 1)
    padded = F.pad(pixels[0], (1,) * 4)
    windows = [padded[:, dy : dy + 8, dx : dx + 8] for dy in range(3) for dx in range(3)]
    crops = [cropped[0][0] for _ in range(200)]
    seen = {next(i for i, window in enumerate(windows) if window.equal(crop)) for crop in crops}
    assert seen == set(range(9))


def test_pictures_are_the_images(images):
    pictures = peers.Pictures(images, torchvision.transforms.PILToTensor())
    assert len(pictures) == IMAGES
    assert pictures[5][0].numpy().tolist() == images.train_images[5].tolist()
    assert pictures[5][1] == images.train_labels[5]


def test_precision_at_1_is_in_percent():
    logits, labels = torch.eye(4), torch.tensor([0, 1, 0, 0])
    assert peers.precision_at_1(logits, labels).item() == 50.0


def test_torchvision_reads_the_batches_that_a_checkout_gets(tmp_path, monkeypatch):
    draw = np.random.default_rng(1).integers
    pixels, labels = draw(256, size=(12, 3, 32, 32), dtype=np.uint8), draw(10, size=12)
    written = Dataset("cifar10", pixels, labels, pixels[:3], labels[:3], tuple("0123456789"), "")
    checkout.write_batches(written, tmp_path)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    for train, count in ((True, 12), (False, 3)):
        read = torchvision.datasets.CIFAR10(tmp_path / "data", train=train)
        assert np.array_equal(read.data.transpose(0, 3, 1, 2), pixels[:count])
        assert read.targets == labels[:count].tolist()


def test_random_images_are_of_cifar10s_shape():
    images = peers.images_of("random")
    assert images.shape == (3, 32, 10) and len(images.train_labels) == 50_000
    assert math.isclose(images.train_images.mean(), 127.5, rel_tol=0.01)


def test_a_ratio_is_of_samples_of_one_round():
    assert bench_peers.ratios([20.0, 30.0, 80.0], [10.0, 10.0, 20.0]) == "3.00 (2.00 to 4.00)"
    assert bench_peers.spread([1234.5]) == "1,234"
