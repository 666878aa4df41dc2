"""Encoded images read one by one, and where they are said to lie."""

import pickle

import numpy as np
import pytest

from bench.pages import REST, Pages


def pages(root, files, file, offset, length, **more):
    return Pages(
        root,
        np.array(files),
        np.array(file, np.int32),
        np.array(offset, np.int64),
        np.array(length, np.int64),
        np.arange(len(file)),
        **more,
    )


@pytest.fixture
def three(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "bb").write_bytes(b"abcdef")
    return pages(tmp_path, [b"a", b"bb"], [0, 1, 1, 0, 0], [2, 0, 4, 0, 3], [3, 6, 2, REST, REST])


def test_each_image_is_its_bytes(three):
    contents = [three.read(number) for number in range(len(three))]
    assert contents == [b"234", b"abcdef", b"ef", b"0123456789", b"3456789"]
    again = pickle.loads(pickle.dumps(three))
    assert [again.read(number) for number in range(len(again))] == contents


def test_nothing_of_it_can_be_changed(three):
    with pytest.raises(ValueError, match="read-only"):
        three.labels[0] = 3


def test_a_file_that_is_shorter_gone_or_unreadable_is_an_os_error(three, tmp_path):
    (tmp_path / "a").write_bytes(b"0123")
    with pytest.raises(OSError, match="2 bytes of the 3 it had when it was listed"):
        three.read(0)
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        three.read(3)
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        three.read(3)


def test_images_are_named_by_their_path_or_row(tmp_path, three):
    assert three.name(1) == str(tmp_path / "bb")
    rows = (("x.parquet", 0), ("empty.parquet", 2), ("y.parquet", 2))
    copied = pages(tmp_path, [b"copy"], [0] * 4, [0, 1, 2, 3], [1] * 4, rows=rows)
    assert [copied.name(n) for n in range(4)] == [
        "x.parquet, row 0", "x.parquet, row 1", "y.parquet, row 0", "y.parquet, row 1",
    ]  # fmt: skip


def test_every_takes_a_share(tmp_path):
    for name in "abcde":
        (tmp_path / name).write_text(name)
    whole = pages(tmp_path, [b"a", b"b", b"c", b"d", b"e"], range(5), [0] * 5, [1] * 5)
    shares = [whole.every(3, first) for first in range(3)]
    assert [[share.read(n) for n in range(len(share))] for share in shares] == [[b"a", b"d"], [b"b", b"e"], [b"c"]]
    assert [share.labels.tolist() for share in shares] == [[0, 3], [1, 4], [2]]
    assert shares[1].name(1) == str(tmp_path / "e")
