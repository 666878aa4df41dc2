"""Albums: their cache, read, damaged and changed; the checksum over what they hold."""

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from images import encoded, photographs, pictures, small, write_parquet, write_shard

from bench import album, folders, pack, shards
from bench.album import load
from bench.errors import DataError
from bench.host import cache_directory
from bench.source import Source

pytestmark = pytest.mark.usefixtures("fresh_cache")
KINDS = ("folder", "parquet", "webdataset")


def make(kind, root):
    """A data set of that kind, of three images for training and two for testing."""
    if kind == "folder":
        return photographs(root, each=2)
    images = [encoded(pictures(1, side=4 + n)[0]) for n in range(6)]
    if kind == "parquet":
        return small(root, (images[:4], [0, 0, 1, 1]), (images[4:], [1, 0]))
    for name, numbers in (("train-0", (0, 1)), ("train-1", (2, 3)), ("test-0", (4, 5))):
        write_shard(
            root / f"{name}.tar", [m for n in numbers for m in ((f"{n}.png", images[n]), (f"{n}.cls", b"%d" % (n % 2)))]
        )
    return Source.parse(f"webdataset:{root}")


def contents(found):
    return [[part.read(n) for n in range(len(part))] for part in (found.train, found.test)]


def same(a, b):
    """Whether two albums hold the same: checksums, names, labels, contents."""
    return (
        (a.sha256, a.class_names, a.source) == (b.sha256, b.class_names, b.source)
        and np.array_equal(a.train.labels, b.train.labels)
        and np.array_equal(a.test.labels, b.test.labels)
        and [a.train.name(n) for n in range(len(a.train))] == [b.train.name(n) for n in range(len(b.train))]
        and contents(a) == contents(b)
    )


def forbid(monkeypatch, listing=False):
    """Let making an index fail, and with `listing` any look at the files."""

    def refuse(*_, **__):
        raise AssertionError("made again")

    for module, name in ((pack, "pages"), (shards, "pages"), (folders, "pages")):
        monkeypatch.setattr(module, name, refuse)
    if listing:
        monkeypatch.setattr(folders, "listed", refuse)
        monkeypatch.setattr(album.decode, "files_of", refuse)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_load_reads_the_cache(tmp_path, monkeypatch, kind):
    source = make(kind, tmp_path / "data")
    first = load(source)
    assert (first.source, first.classes, len(first.train), len(first.test)) == (f"{kind}:data", 2, 4, len(first.test))
    forbid(monkeypatch)
    assert same(load(source), first)
    with pytest.raises(AssertionError, match="made again"):
        load(source, tmp_path / "another")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_expected_is_taken_without_a_look_at_the_files(tmp_path, monkeypatch, kind):
    source = make(kind, tmp_path / "data")
    first = load(source)
    with monkeypatch.context() as patch:
        forbid(patch, listing=True)
        assert same(load(source, expected=first.sha256), first)
        with pytest.raises(AssertionError, match="made again"):
            load(source, expected="0" * 64)
    assert same(load(source, expected="0" * 64), first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["json", "npz", "bin", "format", "no json", "no npz", "no bin"])
def test_a_damaged_entry_is_made_anew(tmp_path, caplog, kind, how):
    source = make(kind, tmp_path / "data")
    first = load(source)
    suffix = how.removeprefix("no ").replace("format", "json")
    files = list(cache_directory().glob(f"album-*.{suffix}"))
    if suffix == "bin" and kind != "parquet":
        assert not files
        return
    (file,) = files
    content = file.read_bytes()
    if how == "format":
        file.write_text(json.dumps(json.loads(content) | {"format": 0}))
    elif how.startswith("no "):
        file.unlink()
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with caplog.at_level(logging.INFO):
        assert same(load(source), first)
    assert ("is damaged" in caplog.text) == (how in ("json", "npz", "bin"))
    assert same(load(source, expected=first.sha256), first)


@pytest.mark.parametrize("length", [0, 100])
def test_a_copy_cut_short_is_made_anew_even_where_its_checksum_is_expected(tmp_path, length):
    source = make("parquet", tmp_path / "data")
    first = load(source)
    (file,) = cache_directory().glob("album-*.bin")
    file.write_bytes(file.read_bytes()[:length])
    assert same(load(source, expected=first.sha256), first)


def test_a_changed_folder_is_listed_anew(tmp_path):
    source = photographs(tmp_path / "data")
    known = [load(source).sha256]
    image = tmp_path / "data" / "train" / "a" / "a_0.JPEG"
    changes = [
        lambda: image.write_bytes(encoded(pictures(1, side=9)[0], "JPEG")),
        lambda: image.rename(image.with_name("a_9.JPEG")),
        lambda: shutil.copy(image.with_name("a_9.JPEG"), tmp_path / "data" / "val" / "b" / "new.JPEG"),
        lambda: (tmp_path / "data" / "val" / "b" / "new.JPEG").unlink(),
        lambda: shutil.move(tmp_path / "data" / "train" / "b", tmp_path / "data" / "train" / "c"),
    ]
    for change in changes:
        change()
        if (tmp_path / "data" / "train" / "c").exists():
            shutil.move(tmp_path / "data" / "val" / "b", tmp_path / "data" / "val" / "c")
        known.append(load(source).sha256)
    assert known[4] == known[2] and len(set(known)) == len(known) - 1


def test_changed_ground_truth_is_read_anew(tmp_path):
    source = photographs(tmp_path / "data", ("train",))
    (tmp_path / "data" / "val").mkdir()
    (tmp_path / "data" / "val" / "v.JPEG").write_bytes(b"x")
    (tmp_path / "data" / "val.txt").write_text("v.JPEG a")
    first = load(source)
    (tmp_path / "data" / "val.txt").write_text("v.JPEG b")
    second = load(source)
    assert (first.test.labels[0], second.test.labels[0]) == (0, 1) and first.sha256 != second.sha256


@pytest.mark.parametrize("kind", KINDS)
def test_the_checksum_does_not_depend_on_where_the_data_set_lies(tmp_path, kind):
    first = load(make(kind, tmp_path / "here" / "data"))
    second = load(make(kind, tmp_path / "there" / "data"))
    assert first.sha256 == second.sha256 and first.source == second.source
    assert len(list(cache_directory().glob("album-*.json"))) == 2


def test_the_checksum_covers_evenly_spaced_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(album, "SAMPLED", 3)
    source = photographs(tmp_path / "data", classes="a", each=5)
    known = load(source).sha256
    for number in range(5):
        image = tmp_path / "data" / "train" / "a" / f"a_{number}.JPEG"
        content = image.read_bytes()
        image.write_bytes(content[:-1] + b"x")
        assert (load(source).sha256 == known) == (number in (1, 3))
        image.write_bytes(content)


def test_a_tenth_is_held_out(tmp_path):
    assert load(photographs(tmp_path / "data", each=13)).holdout == 3
    assert load(photographs(tmp_path / "few", each=1)).holdout == 0


@pytest.mark.parametrize("name", ["digits", "cifar10", "noise224"])
def test_arrays_are_no_album(name):
    with pytest.raises(DataError, match="no images of any size; expected: parquet:DIR, folder:DIR, webdataset:DIR"):
        load(Source.parse(name))


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    source = photographs(tmp_path / "data")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(album.Pages, "read", refuse)
    with pytest.raises(DataError, match=r"train.a.a_0\.JPEG: cannot be read: Permission denied"):
        load(source)


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path, monkeypatch):
    source = photographs(tmp_path / "data")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "data" / "train"))

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load(source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_that_cannot_be_written(tmp_path, caplog, kind):
    source = make(kind, tmp_path / "data")
    (tmp_path / "file").write_text("no folder")
    if kind == "parquet":
        with pytest.raises(DataError, match=r"File exists|Not a directory"):
            load(source, tmp_path / "file")
        return
    assert len(load(source, tmp_path / "file").train) == 4
    assert "cannot be cached" in caplog.text


def test_names_of_any_bytes(tmp_path):
    source = photographs(tmp_path / "data", classes=("ä b", "\udcff", "-", "a'\"\n"))
    first, second = load(source), load(source)
    assert same(first, second) and first.class_names == tuple(sorted(("ä b", "\udcff", "-", "a'\"\n")))


def test_two_processes_copy_one_data_set(tmp_path):
    source = small(tmp_path / "data")
    code = "import sys; from bench import album, source; print(album.load(source.Source.parse(sys.argv[1])).sha256)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(source)], stdout=subprocess.PIPE, cwd=ROOT) for _ in range(3)
    ]
    said = {process.communicate()[0] for process in started}
    assert said == {f"{load(source).sha256}\n".encode()}
    assert not list(cache_directory().glob("*.tmp")) and not list(cache_directory().glob(".*"))


def test_parquet_names_files_and_rows(tmp_path):
    image = encoded(pictures(1)[0])
    write_parquet(tmp_path / "d" / "train-0.parquet", [image] * 2, [0, 1])
    write_parquet(tmp_path / "d" / "train-1.parquet", [image] * 2, [0, 1])
    write_parquet(tmp_path / "d" / "test.parquet", [image], [0])
    for _ in range(2):
        found = load(Source.parse(f"parquet:{tmp_path / 'd'}"))
        assert found.train.name(3) == f"{tmp_path / 'd' / 'train-1.parquet'}, row 1"
