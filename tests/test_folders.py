"""Trees of image files, held to torchvision's ImageFolder and to what was written."""

import shutil
from pathlib import Path

import pytest
from images import encoded, photographs, pictures
from torchvision import datasets

from bench.errors import DataError
from bench.folders import listed, pages
from bench.source import Source


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_folders_are_listed_as_torchvision_lists_them(tmp_path, test):
    source = photographs(tmp_path / "pets", ("train", test), classes=("dog", "cat", "Émile x", "zoo"))
    train, tests, classes = listed(source)
    for part, name in ((train, "train"), (tests, test)):
        truth = datasets.ImageFolder(tmp_path / "pets" / name)
        assert list(classes) == truth.classes
        assert part.folder == name and part.labels.tolist() == truth.targets
        assert [str(tmp_path / "pets" / name / each) for each in part.names] == [path for path, _ in truth.samples]
        found = pages(tmp_path / "pets", part)
        for number, (path, _) in enumerate(truth.samples):
            assert found.read(number) == Path(path).read_bytes()
            assert found.name(number) == path


def test_nested_hidden_linked_and_other_files(tmp_path):
    source = photographs(tmp_path / "pets", each=1)
    folder = tmp_path / "pets" / "train" / "a"
    image = (folder / "a_0.JPEG").read_bytes()
    for name in ("b/x.png", "b/a/y.webp", "b.png", ".hidden/z.png", "notes.txt", "._a.png", "png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(image)
    (folder / "link.jpg").symlink_to(folder / "a_0.JPEG")
    (folder / "broken.jpg").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    (tmp_path / "pets" / "train" / "linked").symlink_to(folder)
    train, _, classes = listed(source)
    inside = ["a_0.JPEG", "b/a/y.webp", "b/x.png", "b.png", "link.jpg"]
    assert classes == ("a", "b", "linked")
    assert train.names == [f"a/{name}" for name in inside] + ["b/b_0.JPEG"] + [f"linked/{name}" for name in inside]


def test_an_empty_class_folder_is_told_unless_it_may_be(tmp_path):
    source = photographs(tmp_path / "pets")
    (tmp_path / "pets" / "train" / "aa").mkdir()
    (tmp_path / "pets" / "val" / "zz").mkdir()
    with pytest.raises(DataError, match=r"train.aa: no image in it; fill the class's folder, or remove it"):
        listed(source)
    train, test, classes = listed(source, empty=True)
    assert classes == ("a", "aa", "b") and train.labels.tolist() == test.labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_flat_validation_folder_goes_by_its_ground_truth(tmp_path):
    source = photographs(tmp_path / "pets", ("train",))
    (tmp_path / "pets" / "val").mkdir()
    (tmp_path / "pets" / "test").mkdir()  # as Kaggle's: images without labels
    for name in ("v_2.JPEG", "v_1.JPEG"):
        (tmp_path / "pets" / "val" / name).write_bytes(encoded(pictures(1)[0], "JPEG"))
        (tmp_path / "pets" / "test" / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"val: 2 images in no class's folder; expected: .*val\.txt"):
        listed(source)
    (tmp_path / "pets" / "val.txt").write_text("v_1.JPEG 1\nv_2.JPEG a\n")
    _, test, _ = listed(source)
    assert (test.folder, test.names, test.labels.tolist()) == ("val", ["v_1.JPEG", "v_2.JPEG"], [1, 0])
    shutil.rmtree(tmp_path / "pets" / "val")
    (tmp_path / "pets" / "val").mkdir()
    with pytest.raises(DataError, match=r"test: 2 images in no"):
        (tmp_path / "pets" / "val.txt").unlink()
        listed(source)


def test_what_is_missing_is_named(tmp_path):
    source = Source.parse(f"folder:{tmp_path / 'pets'}")
    with pytest.raises(DataError, match="there is no such folder"):
        listed(source)
    (tmp_path / "pets" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no train images; expected: train/CLASS/\*\.JPEG"):
        listed(source)
    photographs(tmp_path / "pets", ("train",))
    with pytest.raises(DataError, match="no test images; expected: test or val or valid or validation, in it a folder"):
        listed(source)
    (tmp_path / "pets" / "val" / "emu").mkdir(parents=True)
    (tmp_path / "pets" / "val" / "emu" / "e.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"val.emu.e\.png: no training image has class 'emu'; the classes: a, b"):
        listed(source)
