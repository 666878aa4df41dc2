"""The protocols of section 3.4, held to literal ones: an image at a time, in loops, in float64."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from pagesof import Pages, image, pages, png
from torchvision.transforms.v2 import functional as transforms

from bench import cuts, protocols, views, weights
from bench.accuracy import PROTOCOLS, Accuracy
from bench.cell import Arch
from bench.errors import FieldError
from bench.nets import build
from bench.working import Working

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(40, 53), (53, 40), (64, 64), (90, 70), (41, 53), (40, 53), (33, 97), (18, 20), (40, 53), (53, 40), (71, 72)]
NETS = {"imagenet": (Arch("imagenet", 18, "B", 1 / 8), 40), "cifar": (Arch(depth=8, shortcut="A", width=0.5), 16)}


def net_of(family, classes=12, seed=1):
    """A net with statistics of its own, whose answers differ between images; float64."""
    arch, crop = NETS[family]
    net = build(arch, classes=classes, seed=seed).double()
    torch.manual_seed(seed)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(2 * torch.rand(16, 3, crop, crop, dtype=torch.float64) - torch.rand(16, 3, 1, 1))
        net.fc.weight *= 3
    return net, crop


def mean_of(crop):
    torch.manual_seed(5)
    return 0.3 + 0.4 * torch.rand(3, crop, crop)


@pytest.fixture
def scores(monkeypatch):
    """What each image scored, by its label: its own number."""
    found = {}
    count = protocols._Counts.add

    def add(self, rows, labels):
        found.update(zip(labels, rows, strict=True))
        count(self, rows, labels)

    monkeypatch.setattr(protocols._Counts, "add", add)
    return found


def run(net, crop, album, protocol, *, numbers=None, batch=8, **more):
    options = {"normalise": protocols.centred(mean_of(crop)), "device": "cpu"} | more
    numbers = range(len(album)) if numbers is None else numbers
    return protocols.test(net, album, numbers, protocol, crop=crop, batch=batch, **options)


# --- the literal protocols


def decoded(album, number):
    return torchvision.io.decode_image(torch.tensor(list(album.read(number)), dtype=torch.uint8))


def with_shorter_side(pixels, side):
    height, width = pixels.shape[1:]
    size = [side, int(side * width / height)] if height <= width else [int(side * height / width), side]
    return transforms.resize(pixels, size, antialias=True) if min(height, width) != side else pixels


def crops(pixels, crop, ten):
    """The centre; or four corners and the centre, of the image and of its mirror."""
    found = []
    for picture in (pixels, pixels.flip(2)) if ten else (pixels,):
        height, width = picture.shape[1:]
        centre = (round((height - crop) / 2), round((width - crop) / 2))
        corners = [(0, 0), (0, width - crop), (height - crop, 0), (height - crop, width - crop)]
        for top, left in [*(corners if ten else ()), centre]:
            found.append(picture[:, top : top + crop, left : left + crop])
    return found


def literally(net, crop, pixels, protocol):
    """Scores of an image in float64."""
    net = copy.deepcopy(net).double().eval()
    mean = mean_of(crop)
    found = []
    with torch.no_grad():
        if protocol != "multi-scale":
            for view in crops(with_shorter_side(pixels, round(crop * 256 / 224)), crop, protocol == "10-crop"):
                logits = net((view / 255 - mean).double()[None])[0]
                found.append(torch.exp(logits) / torch.exp(logits).sum())
            return sum(found) / len(found)
        channels = torch.stack([channel.mean() for channel in mean])[:, None, None]
        window = {"maxpool": -(-crop // 32)}.get("maxpool" if hasattr(net, "maxpool") else "", crop // 4)
        classify = torch.nn.Conv2d(net.fc.in_features, net.fc.out_features, 1).double()
        classify.weight.copy_(net.fc.weight[:, :, None, None])
        classify.bias.copy_(net.fc.bias)
        for side in (224, 256, 384, 480, 640):
            view = with_shorter_side(pixels, round(crop * side / 224))
            for picture in (view, view.flip(2)):
                subtracted = mean if picture.shape == mean.shape else channels
                maps = (picture / 255 - subtracted).double()[None]
                for name, module in net.named_children():
                    if name not in ("avgpool", "flatten", "fc"):
                        maps = module(maps)
                height, width = maps.shape[2:]
                places = [
                    classify(maps[:, :, y : y + window, x : x + window].mean((2, 3), keepdim=True)).flatten()
                    for y in range(height - window + 1)
                    for x in range(width - window + 1)
                ]
                logits = sum(places) / len(places)
                found.append(torch.exp(logits) / torch.exp(logits).sum())
    return sum(found) / len(found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", NETS)
def test_scores_are_the_literal_ones(family, protocol, scores):
    net, crop = net_of(family)
    album = pages(SIZES)
    expected = [literally(net, crop, decoded(album, number), protocol) for number in range(len(album))]
    assert torch.stack(expected).std(0).max() > 0.01  # images differ
    for batch in (1, 7, 200):
        scores.clear()
        assert run(net, crop, album, protocol, batch=batch).images == len(album)
        found = [scores[number] for number in range(len(album))]
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_are_those_counted_one_by_one(protocol, scores):
    net, crop = net_of("imagenet")
    album = pages(SIZES * 3)
    run(net, crop, album, protocol)
    wrong1 = wrong5 = 0
    truth = []
    for number in range(len(album)):
        ranking = sorted(range(12), key=lambda answer: -scores[number][answer])
        truth.append(label := ranking[number % 8])
        wrong1 += ranking[0] != label
        wrong5 += label not in ranking[:5]
    assert 0 < wrong5 < wrong1 < len(album)
    assert run(net, crop, Pages(album.files, truth), protocol) == Accuracy(len(album), wrong1, wrong5)


def test_with_torchvisions_net_and_transforms_a_single_crop_scores_the_same(tmp_path, scores):
    torch.manual_seed(2)
    reference = torchvision.models.resnet18(weights=None, num_classes=9).eval()
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    net = weights.load(tmp_path / "weights.pth", Arch("imagenet", 18, "B"))
    album = pages([(300, 400), (256, 311), (200, 170)])
    prepare = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    normalise = protocols.standardised(prepare.mean, prepare.std)
    protocols.test(net, album, range(3), "single", crop=224, normalise=normalise, device="cpu", batch=2)
    with torch.inference_mode():
        for number in range(3):
            theirs, ours = prepare(decoded(album, number)), cuts.single(decoded(album, number), crop=224)[0]
            level = 1 / 255 / min(prepare.std)  # they resize in floating point and round, we in integers
            torch.testing.assert_close(normalise(ours)[0], theirs, rtol=0, atol=1.01 * level)
            torch.testing.assert_close(scores[number], reference(theirs[None]).softmax(1)[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", NETS)
def test_at_the_crop_the_window_is_the_whole_map(family):
    net, _ = net_of(family)
    for crop in (16, 32, 40, 64, 97, 224):
        maps = net.eval().features(torch.zeros(1, 3, crop, crop + 16, dtype=torch.float64))
        assert maps.shape[2:] == (-(-crop // net.reduction), -(-(crop + 16) // net.reduction))
    images = torch.rand(2, 3, 40, 40, dtype=torch.float64)
    whole = protocols._fully_convolutional(net, -(-40 // net.reduction), images)
    torch.testing.assert_close(whole, net(images))


# --- batches and processes


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_processes_that_load_change_nothing(protocol, scores):
    net, crop = net_of("cifar")
    album = pages([*SIZES, *SIZES])
    alone = run(net, crop, album, protocol)
    before = dict(scores)
    assert run(net, crop, album, protocol, loaders=2) == alone
    assert all(torch.equal(scores[number], before[number]) for number in before)


def test_what_waits_is_bounded_and_classified_by_shapes(monkeypatch, scores):
    net, crop = net_of("cifar")
    album = pages([(20 + number % 7, 31) for number in range(28)])
    run(net, crop, album, "multi-scale", batch=1_000)
    before = dict(scores)
    of_one = sum(piece.nbytes for piece in cuts.whole(image(20, 31), crop=crop))
    monkeypatch.setattr(protocols, "WAITING", 2 * of_one)
    most, shapes = [], []

    class Watched(protocols._Batches):
        def add(self, label, pieces):
            super().add(label, pieces)
            most.append(self._bytes)
            held = sum(piece.nbytes for group in self._waiting.values() for _, piece in group)
            assert self._bytes == held <= protocols.WAITING

        def _classify(self, shape):
            shapes.append((shape, len(self._waiting[shape])))
            super()._classify(shape)

    monkeypatch.setattr(protocols, "_Batches", Watched)
    assert run(net, crop, album, "multi-scale", batch=20).images == 28
    assert max(most) > 1.5 * of_one  # it was reached
    for (several, _, height, width), count in shapes:
        assert count == 1 or several * count * height * width <= 20 * crop**2
    assert max(count for _, count in shapes) > 2
    for number in range(28):
        torch.testing.assert_close(scores[number], before[number], rtol=1e-9, atol=1e-12)


def test_shares_of_several_devices_add_up():
    net, crop = net_of("cifar")
    album = pages(SIZES, np.arange(len(SIZES)) % 12)
    shares = [run(net, crop, album, "10-crop", numbers=range(first, len(album), 3)) for first in range(3)]
    assert sum(shares, Accuracy()) == run(net, crop, album, "10-crop")


def test_nothing_to_test():
    net, crop = net_of("cifar")
    assert run(net, crop, pages(SIZES), "multi-scale", numbers=[]) == Accuracy()


def test_of_few_classes_all_are_among_the_first():
    net, crop = net_of("cifar", classes=3)
    found = run(net, crop, pages(SIZES, np.arange(len(SIZES)) % 3), "single")
    assert found.wrong5 == 0 < found.wrong1


def test_how_far_it_is():
    net, crop = net_of("cifar")
    told = []
    run(net, crop, pages(SIZES), "multi-scale", told=told.append)
    assert told == sorted(told) and told[-1] == len(SIZES)


@pytest.mark.parametrize("loaders", [0, 1])
def test_bad_images_are_named_and_left_out(loaders):
    net, crop = net_of("cifar")
    album = pages(SIZES)
    album.files[2], album.files[5], album.files[7] = b"no image", None, png(image(30, 30))[:200]
    told = []
    found = run(net, crop, album, "10-crop", loaders=loaders, bad=lambda *those: told.append(those))
    assert (found.images, found.bad) == (len(SIZES) - 3, 3)
    assert [name for name, _ in told] == ["images/2.png", "images/5.png", "images/7.png"]
    assert "No such file" in told[1][1] and all("\n" not in reason and reason for _, reason in told)
    good = [number for number in range(len(SIZES)) if number not in (2, 5, 7)]
    assert run(net, crop, album, "10-crop", numbers=good) == Accuracy(found.images, found.wrong1, found.wrong5)


@pytest.mark.parametrize("loaders", [0, 1])
def test_who_is_told_of_a_bad_image_may_end_it(loaders):
    net, crop = net_of("cifar")
    net.layer1.eval()

    def refuse(name, reason):
        raise ValueError(f"{name}: {reason}")

    album = pages(SIZES)
    album.files[3] = b""
    with pytest.raises(ValueError, match=r"images/3\.png: "):
        run(net, crop, album, "single", loaders=loaders, bad=refuse)
    assert net.training and net.fc.training and not net.layer1.training and not net.layer1[0].bn1.training


# --- the net's arithmetic, and its input


def test_a_net_is_tested_in_eval_mode_and_left_as_it_was():
    net, crop = net_of("cifar")
    net.layer2.eval()
    before = copy.deepcopy(net.state_dict())
    run(net, crop, pages(SIZES), "multi-scale")
    assert net.training and net.layer1[0].bn1.training and not net.layer2[0].bn2.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_copy_in_bfloat16_computes_in_it(protocol, scores):
    net, crop = net_of("imagenet")
    working = Working(net.float(), "bf16")
    album = pages(SIZES[:4])
    run(net, crop, album, protocol)
    exact = dict(scores)
    run(working.module, crop, album, protocol)
    for number in range(4):
        assert scores[number].dtype is torch.float32 and not torch.equal(scores[number], exact[number])
        torch.testing.assert_close(scores[number], exact[number], rtol=0, atol=0.05)
    if protocol == "single":
        image = views.single(decoded(album, 0), crop)[None]
        with torch.inference_mode():
            working.module.eval()
            logits = working(protocols.centred(mean_of(crop))(image))
        torch.testing.assert_close(logits.softmax(1)[0], scores_of_one(working.module, crop, album, scores))


def scores_of_one(net, crop, album, scores):
    run(net, crop, album, "single", numbers=[0])
    return scores[0]


def test_images_are_standardised_as_torchvision_does():
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = torch.stack([image(20, 31, seed) for seed in range(2)])
    expected = transforms.normalize(images.float() / 255, mean, deviation)
    torch.testing.assert_close(protocols.standardised(mean, deviation)(images), expected)


def test_a_mean_a_pixel_is_for_crops_and_its_channels_for_other_shapes():
    mean = mean_of(16)
    normalise = partial(protocols.centred(mean))
    crop, whole = image(16, 16)[None], image(16, 17)[None]
    torch.testing.assert_close(normalise(crop), crop / 255 - mean)
    averages = torch.tensor([mean[channel].mean() for channel in range(3)])
    torch.testing.assert_close(normalise(whole), whole / 255 - averages[:, None, None])


def test_other_protocols_are_refused():
    net, crop = net_of("cifar")
    with pytest.raises(FieldError, match="protocol = '5-crop' is not allowed; allowed: single, 10-crop, multi-scale"):
        run(net, crop, pages(SIZES), "5-crop")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_on_a_gpu_scores_are_the_same(protocol, scores):
    net, crop = net_of("imagenet")
    album = pages(SIZES * 4)
    run(net, crop, album, protocol)
    before = dict(scores)
    run(net.cuda(), crop, album, protocol, device="cuda", loaders=2)
    for number in before:
        torch.testing.assert_close(scores[number].cpu(), before[number], rtol=1e-6, atol=1e-9)
