"""Data sets in their cache: read, damaged, changed and shared; the checksum over their content."""

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from images import encoded, pictures, same, small
from PIL import Image

from bench import dataset, decode
from bench.dataset import Dataset, load
from bench.errors import DataError
from bench.host import cache_directory
from bench.source import Source

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_the_second_load_reads_the_cache(tmp_path, monkeypatch):
    source = small(tmp_path / "data")
    first = load(source)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(decode, "parquet", refuse)
    second = load(source)
    assert same(first, second)
    assert second.class_names == first.class_names and second.source == first.source == "parquet:data"
    assert first.test_labels.tolist() == [2, 1, 0]
    with pytest.raises(AssertionError, match="decoded again"):
        load(source, tmp_path / "another")


def test_a_cache_of_another_format_is_decoded_anew(tmp_path, monkeypatch):
    source = small(tmp_path / "data")
    first = load(source)
    monkeypatch.setattr(decode, "parquet", lambda *_: pytest.fail("decoded again"))
    assert same(load(source), first)
    monkeypatch.setattr(dataset, "FORMAT", dataset.FORMAT + 1)
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        load(source)


@pytest.mark.parametrize("text", ["first load", "second load"])
def test_arrays_are_read_only(tmp_path, text):
    source = small(tmp_path / "data")
    data = [load(source), load(source)][text == "second load"]
    for array in data.arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_checksum_covers_pixels_labels_and_the_border_between_the_parts(tmp_path):
    images, labels = [encoded(p) for p in pictures(6)], [0, 1, 2, 0, 1, 2]
    tests = [encoded(p) for p in pictures(3, seed=1)], [2, 1, 0]
    other = pictures(6)
    other[5, 3, 3, 2] ^= 1
    variants = {
        "same": (images, labels, tests),
        "pixel": ([encoded(p) for p in other], labels, tests),
        "label": (images, [0, 1, 2, 0, 1, 1], tests),
        "border": (images[:-1], labels[:-1], ([images[-1], *tests[0]], [labels[-1], *tests[1]])),
    }
    sums = {n: load(small(tmp_path / n, (i, k), t)).sha256 for n, (i, k, t) in variants.items()}
    assert len(set(sums.values())) == 4
    assert load(small(tmp_path / "again")).sha256 == sums["same"]


def test_the_checksum_does_not_depend_on_the_files_format(tmp_path):
    source = small(tmp_path / "data")
    for part, count, seed in (("train", 6, 0), ("test", 3, 1)):
        for row, pixels in enumerate(pictures(count, seed=seed)):
            label = row % 3 if part == "train" else 2 - row
            place = tmp_path / "folder" / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{row}.bmp")
    folder = load(Source.parse(f"folder:{tmp_path / 'folder'}"))
    data = load(source)
    order = np.argsort(data.train_labels, kind="stable")
    assert np.array_equal(folder.train_images, data.train_images[order])
    assert np.array_equal(folder.test_images, data.test_images[::-1])
    reordered = small(
        tmp_path / "reordered",
        ([encoded(pictures(6)[i]) for i in order], data.train_labels[order].tolist()),
        ([encoded(p) for p in pictures(3, seed=1)[::-1]], [0, 1, 2]),
    )
    assert load(reordered).sha256 == folder.sha256


@settings(deadline=None)
@given(st.data())
def test_a_damaged_cache_is_decoded_again(shared_cache, data):
    source, cache, truth = shared_cache
    path = data.draw(st.sampled_from(sorted(cache.iterdir())))
    good = path.read_bytes()
    bad = bytearray(good)
    if data.draw(st.booleans()):
        bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        bad = bad[: data.draw(st.integers(0, len(good) - 1))]
    path.write_bytes(bad)
    assert same(load(source, cache), truth)
    path.write_bytes(good)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    source = small(root / "data")
    truth = load(source, root / "cache")
    assert len(list((root / "cache").iterdir())) == 2
    return source, root / "cache", truth


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_damaged_cache_is_mended(tmp_path, suffix):
    source = small(tmp_path / "data")
    load(source, tmp_path / "cache")
    path = next((tmp_path / "cache").glob(f"*{suffix}"))
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    load(source, tmp_path / "cache")
    assert path.read_bytes() == good


def test_a_manifest_and_contents_of_two_writers_are_not_taken_together(tmp_path):
    here, there = tmp_path / "cache", tmp_path / "other"
    source = small(tmp_path / "data")
    truth = load(source, here)
    changed = small(tmp_path / "changed" / "data", ([encoded(p) for p in pictures(6, seed=9)], [0, 1, 2, 0, 1, 2]))
    load(changed, there)
    shutil.copy(next(there.glob("*.npy")), next(here.glob("*.npy")))
    assert same(load(source, here), truth)


def test_changed_source_files_are_decoded_anew(tmp_path):
    source = small(tmp_path / "data")
    before = load(source)
    small(tmp_path / "data", test=([encoded(p) for p in pictures(3, seed=7)], [2, 1, 0]))
    after = load(source)
    assert after.sha256 != before.sha256
    assert np.array_equal(after.test_images, pictures(3, seed=7).transpose(0, 3, 1, 2))
    assert np.array_equal(after.train_images, before.train_images)


def test_a_source_file_touched_but_not_resized_is_decoded_anew(tmp_path):
    source = small(tmp_path / "data")
    load(source)
    file = tmp_path / "data" / "train.parquet"
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    with pytest.raises(DataError, match=r"train\.parquet"):
        load(source)


def test_two_folders_of_one_name_do_not_share_a_cache_entry(tmp_path):
    one = load(small(tmp_path / "a" / "data"))
    two = load(small(tmp_path / "b" / "data", test=([encoded(p) for p in pictures(3, seed=5)], [0, 0, 0])))
    assert one.source == two.source
    assert not same(one, two)
    assert len(list(cache_directory().iterdir())) == 4


def test_a_folder_named_in_two_ways_is_one_entry(tmp_path, monkeypatch):
    small(tmp_path / "data")
    load(Source.parse(f"parquet:{tmp_path}/data"))
    monkeypatch.chdir(tmp_path)
    load(Source.parse("parquet:./data"))
    assert len(list(cache_directory().iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, caplog):
    source = small(tmp_path / "data")
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        data = load(source, tmp_path / "file" / "cache")
    assert len(data.train_labels) == 6
    assert ["cannot be cached" in record.getMessage() for record in caplog.records] == [True]


def test_concurrent_loads_in_threads_agree(tmp_path):
    source = small(tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load(source), range(16)))
    assert all(same(loaded[0], other) for other in [*loaded, load(source)])
    assert sorted(path.suffix for path in cache_directory().iterdir()) == [".json", ".npy"]


def test_concurrent_loads_in_processes_agree_and_import_no_torch(tmp_path):
    source = small(tmp_path / "data")
    load_and_print = "print(dataset.load(Source.parse(sys.argv[1])).sha256, 'torch' in sys.modules)"
    code = f"import sys; from bench import dataset; from bench.source import Source; {load_and_print}"
    command = [sys.executable, "-c", code, str(source)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0] for process in running}
    assert printed == {f"{load(source).sha256} False\n"}


@pytest.mark.parametrize(
    ("source", "images", "holdout"),
    [
        ("cifar10", 50_000, 5_000),  # section 4.2
        ("parquet:x", 14, 1),
        ("parquet:x", 15, 2),
        ("parquet:x", 4, 0),
        ("digits", 1497, 300),
    ],
)
def test_a_tenth_is_held_out(source, images, holdout):
    def part(count):
        return np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64)

    assert Dataset(source, *part(images), *part(1), ("a",), "").holdout == holdout
