"""Checks of a folder of ImageNet's layout, by real processes; counts on listings alone."""

import numpy as np
import pytest
from images import encoded, photographs, pictures

from bench import imagenet
from bench.errors import DataError
from bench.folders import Listing
from bench.imagenet import Expected, check

IMAGENET = Expected()


def test_a_sound_folder_and_one_with_faults(tmp_path):
    photographs(tmp_path / "d", classes="abc", each=5)
    told = []
    report = check(tmp_path / "d", lambda *each: told.append(each), Expected(3, 15, 15), processes=2)
    assert report.sound and (report.classes, report.train, report.test) == (3, 15, 15)
    assert told[0] == (0, 30) and told[-1] == (30, 30)

    (tmp_path / "d" / "train" / "b" / "b_1.JPEG").write_bytes(encoded(pictures(1, side=64)[0], "JPEG")[:-200])
    (tmp_path / "d" / "val" / "c" / "c_1.JPEG").write_bytes(b"junk")
    (tmp_path / "d" / "val" / "c" / "c_2.JPEG").unlink()
    (tmp_path / "d" / "train" / "d").mkdir()
    report = check(tmp_path / "d", lambda *_: None, Expected(3, 15, 15))
    assert not report.sound and report.bad_count == 2
    assert [where.rpartition("/")[2] for where, _ in report.bad] == ["b_1.JPEG", "c_1.JPEG"]
    assert report.faults == (
        "4 classes; expected: 3",
        "14 validation images; expected: 15",
        "images of train/d (0); expected: at least 1 in each class",
        "images of val/d (0); expected: at least 1 in each class",
    )


def test_many_bad_images_are_counted_and_some_named(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "NAMED", 2)
    photographs(tmp_path / "d", classes="ab", each=2)
    for path in (tmp_path / "d").rglob("*.JPEG"):
        path.write_bytes(b"junk")
    report = check(tmp_path / "d", lambda *_: None, Expected(2, 4, 4), processes=1)
    assert report.bad_count == 8 and not report.sound
    assert [where.rpartition("/")[2] for where, _ in report.bad] == ["a_0.JPEG", "a_1.JPEG"]


def test_no_such_layout_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        check(tmp_path / "nothing", lambda *_: None)
    with pytest.raises(DataError, match="no train images"):
        check(tmp_path, lambda *_: None)


def test_a_process_that_dies_is_an_error(tmp_path, monkeypatch):
    photographs(tmp_path / "d", classes="ab", each=2)
    monkeypatch.setattr(imagenet, "ENTRY", "children:fail")
    with pytest.raises(DataError, match="a process that decodes images ended: "):
        check(tmp_path / "d", lambda *_: None, Expected(2, 4, 4), processes=2)


def listing(folder, each):
    labels = np.repeat(np.arange(len(each)), each)
    return Listing(folder, [""] * len(labels), labels, labels, labels)


def imagenet_listings():
    """1,281,167 images in 1,000 classes, of which 895 are full; 50 of each to test."""
    each = np.full(1000, 1300)
    left = 1300 * 1000 - 1_281_167
    for number in range(1000):
        taken = min(568, left)
        each[number], left = 1300 - taken, left - taken
    return each, np.full(1000, 50)


def faults(train, test, classes=None, expected=IMAGENET):
    names = classes or [f"n{number:08d}" for number in range(len(train))]
    return imagenet._faults(listing("train", train), listing("val", test), names, expected)


def test_imagenets_own_numbers_are_known():
    train, test = imagenet_listings()
    assert (train.sum(), train.min(), train.max()) == (1_281_167, 732, 1300)
    assert faults(train, test) == []
    train[3], train[999] = 700, 1300 + train[3] - 700
    test[7], test[8] = 49, 51
    assert faults(train, test) == [
        f"images of train/n00000003 (700), train/n00000999 ({train[999]:,}); expected: 732 to 1,300 in each class",
        "images of val/n00000007 (49), val/n00000008 (51); expected: 50 in each class",
    ]


def test_classes_must_have_wordnets_names_where_all_of_imagenet_is_expected():
    train, test = imagenet_listings()
    names = [f"n{number:08d}" for number in range(999)] + ["tench"]
    assert faults(train, test, names) == ["tench: not WordNet ids, as n01440764"]
    assert faults([2, 2], [1, 1], ["cat", "dog"], Expected(2, 4, 2)) == []


def test_long_lists_are_cut():
    (line,) = faults([0] * 30 + [5], [1] * 31, expected=Expected(31, 5, 31))
    assert line.endswith("and 10 more; expected: at least 1 in each class")
