"""`resbench evaluate` from end to end."""

import json

import pytest
import torch
from pagesof import image, png

from bench import evaluator, pool, testing
from bench.accuracy import Accuracy
from bench.cell import Arch
from bench.cli import main
from bench.nets import build
from bench.stats import clopper_pearson
from bench.task import Died, Returned

FIELDS = {"images": 50_000, "wrong1": 11_935, "wrong5": 3_569, "bad": 0, "seconds": 12.5}


@pytest.fixture
def answering(monkeypatch):
    """Answers the child's task; the tasks asked for."""
    tasks = []

    def answer(accuracies, end=None):
        def outcome(task, told):
            tasks.append(task)
            told("half way")
            found = {"classes": 1000, "images": 50_000, "sha256": "a" * 64, "accuracies": accuracies}
            return end or Returned(task.key, found)

        monkeypatch.setattr(pool, "outcome", outcome)
        return tasks

    return answer


def evaluate(*more):
    return main(["evaluate", "weights.pth", "--device", "cpu", *map(str, more)])


def test_errors_stand_beside_published_ones(answering, capsys):
    answering({"single": FIELDS, "10-crop": FIELDS})
    assert evaluate("--data", "folder:some/imagenet", "--depth", 50, "--protocol", "single", "10-crop") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    low, high = (f"{100 * bound:.3f}" for bound in clopper_pearson(11_935, 50_000))
    assert lines[1] == ["single,", "top-1", "50,000", "23.870", low, "to", high, "–", "23.870"]
    assert lines[2][:4] == ["single,", "top-5", "50,000", "7.138"] and lines[2][-2:] == ["–", "7.138"]
    assert lines[3][-2:] == ["22.850", "–"] and lines[4][-2:] == ["6.710", "–"]
    assert "the paper's nets subsample in the first 1x1, this one in the 3x3 (v1.5)" in out
    assert "half way" in err and "ResNet-50-B of weights.pth on folder:imagenet" in err


def test_json_has_counts_and_full_precision(answering, capsys):
    answering({"single": FIELDS | {"images": 49_999, "bad": 1}})
    assert evaluate("--data", "folder:imagenet", "--depth", 152, "--json", "--bad-images", "skip") == 0
    found = json.loads(capsys.readouterr().out)
    (test,) = found["tests"]
    assert (test["protocol"], test["images"], test["bad_images"], test["seconds"]) == ("single", 49_999, 1, 12.5)
    assert test["errors"]["top1"]["error"] == 11_935 / 49_999
    assert test["errors"]["top5"]["interval"] == list(clopper_pearson(3_569, 49_999))
    assert test["errors"]["top5"]["torchvision_percent"] == 5.954
    assert found["arch"]["stride"] == "v1.5" and found["data"] == "folder:imagenet" and "cores" in found["device"]


def test_what_a_child_is_asked(answering):
    tasks = answering({})
    evaluate("--data", "folder:x/photos", "--depth", 18, "--protocol", "10-crop", "10-crop", "single")
    more = ("--crop", 48, "--loaders", 3, "--images", 100, "--normalise", "mean", "--split", "holdout", "--batch", 7)
    evaluate("--data", "folder:x", "--depth", 20, "--family", "cifar", "--shortcut", "A", "--width", "0.5", *more)
    first, second = (task.payload for task in tasks)
    assert all(task.entry == "bench.evaluator:run" for task in tasks)
    assert first["protocols"] == ["10-crop", "single"] and first["arch"]["stride"] == "original"
    assert (first["crop"], first["loaders"], first["images"], first["source"]) == (224, 0, None, "folder:x/photos")
    assert second["arch"] == {"family": "cifar", "depth": 20, "shortcut": "A", "width": 0.5, "stride": "original"}
    assert [second[name] for name in ("crop", "loaders", "images", "batch")] == [48, 3, 100, 7]
    assert (second["normalise"], second["split"], second["split_seed"]) == ("mean", "holdout", 0)


def lines(data, arch, normalise="torchvision", protocol="single"):
    found = {protocol: Accuracy(100, 30, 10)}
    return [(line.paper, line.torchvision) for line in testing._lines(found, arch, data, normalise)]


def test_only_what_is_alike_has_a_published_figure():
    eighteen, fifty = Arch("imagenet", 18, "B"), Arch("imagenet", 50, "B", stride="v1.5")
    assert lines("folder:imagenet", eighteen) == [(None, 30.242), (None, 10.922)]
    assert lines("folder:imagenet-1k", fifty, protocol="multi-scale") == [(20.74, None), (5.25, None)]
    for data, arch, normalise in (
        ("folder:photos", fifty, "torchvision"),
        ("folder:imagenet", fifty, "mean"),
        ("folder:imagenet", Arch("imagenet", 50, "B"), "torchvision"),
        ("folder:imagenet", Arch("imagenet", 50, "C", stride="v1.5"), "torchvision"),
        ("folder:imagenet", Arch("imagenet", 18, "B", 0.5), "torchvision"),
    ):
        assert lines(data, arch, normalise) == [(None, None), (None, None)]


def test_what_is_published_is_what_torchvision_says():
    from torchvision.models import resnet

    for depth, errors in testing.TORCHVISION.items():
        said = getattr(resnet, f"ResNet{depth}_Weights").IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
        assert errors == pytest.approx((100 - said["acc@1"], 100 - said["acc@5"]))
    prepare = resnet.ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert (tuple(prepare.mean), tuple(prepare.std)) == (evaluator.MEAN, evaluator.DEVIATION)


def test_where_nothing_could_be_decoded(answering, capsys):
    answering({"single": dict.fromkeys(FIELDS, 0) | {"bad": 2}})
    assert evaluate("--data", "folder:x", "--depth", 18) == 0
    out = capsys.readouterr().out
    assert "single, top-1       0         –" in out and "single: 2 images could not be decoded and are left out" in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--data", "folder:x", "--depth", "19"), "resbench evaluate: depth = 19 is not allowed"),
        (("--data", "cifar", "--depth", "18"), "resbench evaluate: data = 'cifar' is not allowed"),
        (("--data", "folder:x", "--depth", "18", "--stride", "v1.5"), "stride = 'v1.5' is not allowed"),
    ],
)
def test_wrong_options(more, says, capsys):
    assert evaluate(*more) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        ("refused", "error: why\n"),
        ("error", "error: why\n"),
        ("out-of-memory", "error: why; a smaller --batch than 128 takes less memory\n"),
    ],
)
def test_how_a_child_ends_is_told_in_a_line(cause, says, answering, capsys):
    answering({}, Died("evaluate", cause, "why", "log"))
    assert evaluate("--data", "folder:x", "--depth", 18) == 2
    assert capsys.readouterr().err.endswith(says)


def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Images in a folder, decoded by processes of a child's."""
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    for part, count in (("train", 2), ("val", 6)):
        for number in range(2 * count):
            path = tmp_path / "photos" / part / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image(40 + number, 50, number)))
    arch = Arch("imagenet", 18, "B", 1 / 8)
    torch.save(build(arch, classes=2).state_dict(), tmp_path / "net.pth")
    command = f"evaluate {tmp_path}/net.pth --data folder:{tmp_path}/photos --depth 18 --width 0.125 --crop 32 --json"
    command = f"{command} --loaders 2 --device cpu --protocol single 10-crop multi-scale".split()
    for normalise in ("torchvision", "mean"):
        assert main([*command, "--normalise", normalise]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [test["images"] for test in found["tests"]] == [12, 12, 12]
        assert all(test["errors"]["top5"]["error"] == 0 for test in found["tests"])
    (tmp_path / "photos/val/class1/3.png").write_bytes(b"no image")
    assert main(command) == 2
    assert "class1/3.png: cannot be decoded" in capsys.readouterr().err
    assert main([*command, "--bad-images", "skip"]) == 0
    out, err = capsys.readouterr()
    assert [test["bad_images"] for test in json.loads(out)["tests"]] == [1, 1, 1] and "left out: " in err
