"""The process that tests a net from a file."""

import numpy as np
import pytest
import torch
from pagesof import Pages, pages

from bench import album, evaluator, pixels, protocols
from bench.accuracy import Accuracy
from bench.album import Album
from bench.cell import Arch, values
from bench.errors import DataError, InputError
from bench.nets import build

pytestmark = pytest.mark.usefixtures("torch_settings", "fresh_cache")
ARCH, CROP = Arch("imagenet", 18, "B", 1 / 8), 32


class Caller:
    def __init__(self):
        self.told = []

    def send(self, message):
        self.told.append(message)


@pytest.fixture
def made(monkeypatch):
    """An album of 20 test images in 4 classes, which any source names."""
    sizes = [(40 + 3 * (number % 3), 50) for number in range(20)]
    parts = pages(sizes[:8], [0, 1] * 4), pages(sizes, np.arange(20) // 5)
    found = Album("folder:made", *parts, tuple("abcd"), sha256="5" * 64)
    monkeypatch.setattr(album, "load", lambda _: found)
    return found


@pytest.fixture
def kept(tmp_path):
    """A net's file."""
    net = build(ARCH, classes=4, seed=1)
    torch.save({"cell_id": "0" * 16, "net": net.state_dict()}, tmp_path / "net.pt")
    return net, tmp_path / "net.pt"


def job(path, **changes):
    return {
        **{"weights": str(path), "arch": values(ARCH), "source": "folder:made", "crop": CROP, "batch": 16},
        **{"protocols": ["single", "multi-scale"], "normalise": "torchvision", "split": "full", "split_seed": 0},
        **{"device": "cpu", "threads": 1, "loaders": 0, "bad_images": "fail", "images": None},
    } | changes


@pytest.mark.parametrize("loaders", [0, 2])
def test_all_protocols_asked_for(made, kept, loaders):
    net, path = kept
    answer = evaluator.run(job(path, loaders=loaders), Caller())
    assert (answer["classes"], answer["images"], answer["sha256"]) == (4, 20, "5" * 64)
    assert list(answer["accuracies"]) == ["single", "multi-scale"]
    normalise = protocols.standardised(evaluator.MEAN, evaluator.DEVIATION)
    for protocol, fields in answer["accuracies"].items():
        assert fields.pop("seconds") > 0
        expected = protocols.test(
            net, made.test, range(20), protocol, crop=CROP, normalise=normalise, device="cpu", batch=16
        )
        assert Accuracy(**fields) == expected and expected.wrong1


def test_less_the_training_parts_mean(made, kept, monkeypatch):
    _, path = kept
    seen = []
    monkeypatch.setattr(
        evaluator.protocols, "centred", lambda mean: seen.append(mean) or protocols.standardised([0], [1])
    )
    evaluator.run(job(path, normalise="mean"), Caller())
    expected = pixels.measure(made.train, np.arange(8), CROP)
    assert np.array_equal(seen[0].numpy(), expected.mean)


@pytest.mark.usefixtures("made")
def test_it_is_told_how_far_it_is(kept):
    caller = Caller()
    evaluator.run(job(kept[1]), caller)
    assert caller.told[0].endswith(" of 20 images, single") and caller.told[-1].endswith(" of 20 images, multi-scale")


@pytest.mark.usefixtures("made")
def test_some_images_are_of_all_classes(kept):
    assert evaluator.spaced(20, None) == evaluator.spaced(20, 20) == evaluator.spaced(20, 50) == range(20)
    assert evaluator.spaced(20, 4) == [0, 5, 10, 15] and evaluator.spaced(7, 3) == [0, 2, 4]
    answer = evaluator.run(job(kept[1], images=4, protocols=["10-crop"]), Caller())
    assert answer["accuracies"]["10-crop"]["images"] == 4 and answer["images"] == 20


def test_bad_images_end_it_or_are_skipped(made, kept, monkeypatch):
    caller = Caller()
    broken = Pages([*made.test.files], made.test.labels)
    broken.files[3] = b"no image"
    monkeypatch.setattr(album, "load", lambda _: Album("x", made.train, broken, tuple("abcd"), "5" * 64))
    with pytest.raises(DataError, match=r"images/3\.png: cannot be decoded: .* \(--bad-images skip leaves it out\)$"):
        evaluator.run(job(kept[1]), caller)
    answer = evaluator.run(job(kept[1], bad_images="skip", protocols=["single"]), caller)
    assert (answer["accuracies"]["single"]["images"], answer["accuracies"]["single"]["bad"]) == (19, 1)
    assert any(text.startswith("left out: images/3.png: ") for text in caller.told)


@pytest.mark.usefixtures("made")
def test_a_net_of_other_classes_or_channels_is_refused(tmp_path):
    for changes, says in (
        ({"classes": 7}, "a net of 7 classes, and folder:made has 4"),
        ({"channels": 1}, "of 1 chan"),
    ):
        torch.save(build(ARCH, **({"classes": 4} | changes)).state_dict(), tmp_path / "net.pth")
        with pytest.raises(InputError, match=says):
            evaluator.run(job(tmp_path / "net.pth"), Caller())
