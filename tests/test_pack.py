"""Parquet's encoded images copied into one file: the very bytes, whole or not at all."""

import shutil
from collections import namedtuple

import pytest
from images import encoded, pictures, small, write_parquet

from bench import decode, pack
from bench.errors import DataError
from bench.source import Source


def copied(source, target):
    return pack.pages(source, decode.files_of(source), target)


def test_every_image_is_its_bytes(tmp_path):
    images = [encoded(p, kind) for p, kind in zip(pictures(7), ["PNG", "JPEG", "WEBP"] * 3, strict=False)]
    write_parquet(tmp_path / "d" / "train-0.parquet", images[:3], [0, 1, 1])
    write_parquet(tmp_path / "d" / "train-1.parquet", images[3:5], [0, 2])
    write_parquet(tmp_path / "d" / "val.parquet", [*images[5:], None], [2, 0, 1])
    train, test, classes = copied(Source.parse(f"parquet:{tmp_path / 'd'}"), tmp_path / "c" / "copy")
    assert [part.read(n) for part in (train, test) for n in range(len(part))] == [*images, b""]
    assert (train.labels.tolist(), test.labels.tolist(), classes) == ([0, 1, 1, 0, 2], [2, 0, 1], ("0", "1", "2"))
    assert train.name(4) == f"{tmp_path / 'd' / 'train-1.parquet'}, row 1"
    assert test.name(2) == f"{tmp_path / 'd' / 'val.parquet'}, row 2"
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["copy"]


def test_classes_have_the_names_the_hub_gives_them(tmp_path):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", [encoded(pictures(1)[0])], [1], names=["cat", "dog"])
    assert copied(Source.parse(f"parquet:{tmp_path}"), tmp_path / "copy")[2] == ("cat", "dog")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, None], [0], "train.parquet, row 1: label is missing"),
        ([0, -1], [0], "train.parquet, row 1: label -1"),
        ([0, 2], [0], "train.parquet, row 1: label 2; allowed: whole numbers from 0 to 1"),
        ([0, 2**62], [0], f"train.parquet, row 1: label {2**62}"),
        ([1, 1], [0], "labels go up to 1, but no training image has label 0"),
        ([0, 1], [2], "test.parquet, row 0: label 2; allowed: whole numbers from 0 to 1"),
        ([], [0], "0 training and 1 test images"),
    ],
)
def test_a_label_that_does_not_fit_is_named(tmp_path, train, test, message):
    image = encoded(pictures(1)[0])
    source = small(tmp_path / "d", ([image] * len(train), train), ([image] * len(test), test))
    with pytest.raises(DataError) as caught:
        copied(source, tmp_path / "c" / "copy")
    assert message in str(caught.value)
    assert not list((tmp_path / "c").iterdir())


def test_a_full_disk_is_told_before_anything_is_copied(tmp_path, monkeypatch):
    source = small(tmp_path / "d")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(100))
    with pytest.raises(DataError, match=r"its images take about 0\.0 GB, and .* has 0\.0 GB free; set RESBENCH_CACHE"):
        copied(source, tmp_path / "c" / "copy")
    assert not list((tmp_path / "c").iterdir())


def test_a_full_disk_while_copying_leaves_nothing(tmp_path, monkeypatch):
    source = small(tmp_path / "d")

    def full(*_):
        yield b"x", 0
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decode, "encoded_rows", full)
    with pytest.raises(DataError, match=r"its images cannot be copied into .*No space left"):
        copied(source, tmp_path / "c" / "copy")
    assert not list((tmp_path / "c").iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".copy.123.tmp").write_bytes(b"x")
    copied(small(tmp_path / "d"), tmp_path / "c" / "copy")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["copy"]
