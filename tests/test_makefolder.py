"""Folders of JPEGs made from other images: real content, drawn sizes, the same each time, whole or not at all."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import encoded, photographs, small
from PIL import Image
from torchvision import datasets

from bench import album, makefolder
from bench.errors import DataError, InputError
from bench.makefolder import Options, make, varied
from bench.source import Source

DIGITS = Options("digits", classes=3, least=24, most=40, train=20, test=7)


def quiet(*_):
    pass


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "digits"
    assert make(out, Source.parse("digits"), DIGITS, quiet)
    return out


def test_it_is_a_folder_as_torchvision_and_albums_read_it(digits):
    found = album.load(Source.parse(f"folder:{digits}"))
    for part, folder, count in ((found.train, "train", 20), (found.test, "val", 7)):
        truth = datasets.ImageFolder(digits / folder)
        assert truth.classes == list(found.class_names) == ["0", "1", "2"]
        assert truth.targets == part.labels.tolist()
        each = np.bincount(part.labels)
        assert each.sum() == count and each.max() - each.min() <= 1
        for image, _ in truth:
            assert 24 <= min(image.size) <= 40
            assert 3 / 4 - 0.05 < image.width / image.height < 4 / 3 + 0.05
        assert len({image.size for image, _ in truth}) > 4


def test_nothing_but_what_is_said_is_there(digits):
    assert sorted(path.name for path in digits.iterdir()) == ["made.json", "train", "val"]
    assert all(path.suffix == ".JPEG" and path.name.startswith(path.parts[-3]) for path in digits.rglob("*/*/*"))


def test_it_is_the_same_each_time_whatever_the_threads(digits, tmp_path):
    told = []
    assert make(tmp_path / "again", Source.parse("digits"), DIGITS, lambda *each: told.append(each), threads=3)
    assert files(tmp_path / "again") == files(digits)
    assert told == [(n, 27) for n in range(1, 28)]
    make(tmp_path / "other", Source.parse("digits"), replace(DIGITS, seed=1), quiet)
    assert files(tmp_path / "other") != files(digits)


def test_fewer_images_or_another_size_draw_the_same_for_what_is_left(digits, tmp_path):
    make(tmp_path / "more", Source.parse("digits"), replace(DIGITS, test=20), quiet)
    less, more = files(digits / "val"), files(tmp_path / "more" / "val")
    assert less.items() < more.items() and files(tmp_path / "more" / "train") == files(digits / "train")


def test_what_was_made_with_these_options_is_left_as_it_is(digits, monkeypatch):
    monkeypatch.setattr(makefolder, "_jobs", lambda *_: pytest.fail("made again"))
    before = files(digits)
    assert not make(digits, Source.parse("digits"), DIGITS, quiet)
    with pytest.raises(InputError, match=r"was made with classes = 3, not 2; remove it, or name another folder"):
        make(digits, Source.parse("digits"), replace(DIGITS, classes=2), quiet)
    assert files(digits) == before


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "null", '{"format": 1}'])
def test_other_content_is_left_alone(tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    if content is not None:
        (tmp_path / "out" / "made.json").write_text(content)
    before = files(tmp_path)
    with pytest.raises(InputError, match="out: not empty, and not a folder that this command made"):
        make(tmp_path / "out", Source.parse("digits"), DIGITS, quiet)
    assert files(tmp_path) == before


def test_an_empty_folder_and_missing_parents_are_welcome(tmp_path):
    (tmp_path / "empty").mkdir()
    assert make(tmp_path / "empty", Source.parse("digits"), DIGITS, quiet)
    assert make(tmp_path / "a" / "b", Source.parse("digits"), DIGITS, quiet)


def test_whole_or_not_at_all(tmp_path):
    def stop(done, _):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", Source.parse("digits"), DIGITS, stop)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        make(tmp_path / "file" / "out", Source.parse("digits"), DIGITS, quiet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 11}, "--classes 11: digits has 10"),
        ({"train": 3000}, "--train 3000: 1000 of a class, but class 0 has"),
        ({"test": 3000}, "--test 3000: 1000 of a class, but class 0 has"),
    ],
)
def test_more_than_there_is_is_told(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        make(tmp_path / "out", Source.parse("digits"), replace(DIGITS, **options), quiet)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_images_keep_their_class_and_their_content(tmp_path, kind):
    """Images of one colour each, by class: all that is made of them has that colour, to the edge."""
    colours = [(200, 30, 40), (20, 180, 60), (30, 60, 190)]
    images = [np.full((20, 30, 3), colour, np.uint8) for colour in colours]
    if kind == "parquet":
        rows = [encoded(image) for image in images] * 2, [0, 1, 2] * 2
        source = small(tmp_path / "d", rows, rows)
    else:
        source = photographs(tmp_path / "d", classes="012", each=2)
        for path in (tmp_path / "d").rglob("*.JPEG"):
            path.write_bytes(encoded(images[int(path.parent.name)]))
    make(tmp_path / "out", source, Options(source.identity, 3, 16, 64), quiet)
    made = sorted((tmp_path / "out").rglob("*.JPEG"))
    assert len(made) == 12
    for path in made:
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(int)
        assert np.abs(pixels - colours[int(path.parent.name)]).max() < 12


@pytest.mark.usefixtures("fresh_cache")
def test_a_damaged_image_is_named(tmp_path):
    source = photographs(tmp_path / "d")
    (tmp_path / "d" / "train" / "b" / "b_1.JPEG").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b_1\.JPEG: not an image"):
        make(tmp_path / "out", source, Options(source.identity, 2, 16, 64), quiet)
    assert not (tmp_path / "out").exists()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(8, 80), st.integers(0, 99))
def test_a_window_is_of_the_image_and_has_the_size(width, height, side, seed):
    """An image of one brightness stays so, to the edge: nothing is padded."""
    found = np.asarray(varied(Image.new("L", (width, height), 150), side, np.random.default_rng(seed)))
    assert min(found.shape) == side and found.min() >= 149 and found.max() <= 151
    assert max(found.shape) <= round(side * 4 / 3)


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("great tit", "../x", "n01440764"), ["great_tit", "_x", "n01440764"]),
        (("a/b", "a b"), ["0000_a_b", "0001_a_b"]),
        (("Cat", "cat"), ["0000_Cat", "0001_cat"]),
        (("", "b"), ["0000_", "0001_b"]),
        ((".", ".."), ["0000__", "0001__"]),
    ],
)
def test_folders_have_names_that_any_system_takes(names, folders):
    assert makefolder._folder_names(names) == folders


def test_options_are_recorded(digits):
    recorded = json.loads((digits / "made.json").read_text())
    assert recorded["seed"] == 0 and recorded["source"] == "digits" and recorded["quality"] == 90
