import http.server
import io
import json
import logging
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from bench import dataset
from bench.dataset import Dataset, cache_directory, datasets_directory, download, load, stratified
from bench.errors import DataError, FieldError
from bench.source import SHAPES, Source

REPOSITORY = Path(__file__).resolve().parents[1]
CIFAR10_JPEG = REPOSITORY.parent / "shared" / "data" / "cifar10-jpeg"
INT64 = pa.int64()
DIGITS_SHA256 = "3da718e48cac3aa96eb76be333ec9276f89a374706d8189265d4a0e9f700a394"


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))


def pictures(count, side=4, channels=3, seed=0):
    """Random images as PIL takes them, uint8 [N, H, W, C], or [N, H, W] for one channel."""
    shape = (count, side, side, channels) if channels > 1 else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(path, images, labels, column="img", label="label", label_type=INT64, plain=None, names=None):
    """`images`: encoded bytes, or None. `plain`: a binary type, for a column that is not a struct."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if plain:
        cells = pa.array(images, plain)
    else:
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        cells = pa.array([None if i is None else {"bytes": i, "path": "x.png"} for i in images], kind)
    table = pa.table({column: cells, "other": [0] * len(images), label: pa.array(labels, label_type)})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}, column: {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def small(root, train=None, test=None):
    """A sound parquet data set of 6 training and 3 test images in 3 classes, or with other rows."""
    write_parquet(root / "train.parquet", *(train or ([encoded(p) for p in pictures(6)], [0, 1, 2, 0, 1, 2])))
    write_parquet(root / "test.parquet", *(test or ([encoded(p) for p in pictures(3, seed=1)], [2, 1, 0])))
    return Source.parse(f"parquet:{root}")


def same(a: Dataset, b: Dataset) -> bool:
    return a.sha256 == b.sha256 and all(np.array_equal(x, b.arrays[name]) for name, x in a.arrays.items())


# ---- digits ----


def test_digits_are_scikit_learns_each_once():
    data = load(Source.parse("digits"))
    truth = load_digits()
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert (data.train_images.shape, data.test_images.shape) == ((1497, 1, 8, 8), (300, 1, 8, 8))
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    rows = zip(truth.images, truth.target, strict=True)
    expected = [[*(round(v * 255 / 16) for v in image.ravel()), label] for image, label in rows]
    found = np.column_stack([images.reshape(1797, 64), labels]).tolist()
    assert sorted(found) == sorted(expected)
    assert images.min() == 0 and images.max() == 255


def test_digits_split_is_stratified_and_fixed_for_good():
    data = load(Source.parse("digits"))
    members = np.bincount(load_digits().target)
    assert np.all(np.abs(np.bincount(data.test_labels) - members * 300 / 1797) < 1)
    assert data.sha256 == DIGITS_SHA256
    assert data.holdout == 300
    assert data.shape == SHAPES["digits"]
    assert (data.channels, data.size, data.classes) == (1, (8, 8), 10)
    assert data.class_names == tuple("0123456789")


# ---- the cache ----


def test_the_second_load_reads_the_cache(tmp_path, monkeypatch):
    source = small(tmp_path / "data")
    first = load(source)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setitem(dataset._DECODERS, "parquet", refuse)
    second = load(source)
    assert same(first, second)
    assert second.class_names == first.class_names and second.source == first.source == "parquet:data"
    assert first.test_labels.tolist() == [2, 1, 0]
    with pytest.raises(AssertionError, match="decoded again"):
        load(source, tmp_path / "another")


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
    running = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0] for process in running}
    assert printed == {f"{load(source).sha256} False\n"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RESBENCH_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"RESBENCH_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/resbench"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/resbench"),
    ],
)
def test_cache_directory(monkeypatch, variables, expected):
    for name in ("RESBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_directory()) == expected
    assert str(datasets_directory()) == f"{expected}/datasets"


# ---- parquet ----


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("train.parquet", "validation.parquet"),
        ("train.parquet", "valid-00000-of-00001.parquet"),
        ("train.parquet", "val.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
    ],
)
def test_parquet_files_are_found(tmp_path, train, test):
    write_parquet(tmp_path / "d" / train, [encoded(p) for p in pictures(4)], [0, 1, 1, 0])
    write_parquet(tmp_path / "d" / test, [encoded(p) for p in pictures(2, seed=1)], [1, 0])
    (tmp_path / "d" / "README.md").write_text("read me")
    data = load(Source.parse(f"parquet:{tmp_path / 'd'}"))
    assert np.array_equal(data.train_images, pictures(4).transpose(0, 3, 1, 2))
    assert np.array_equal(data.test_images, pictures(2, seed=1).transpose(0, 3, 1, 2))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1, 1, 0], [1, 0])
    assert (data.source, data.class_names, data.shape) == ("parquet:d", ("0", "1"), (3, 4, 2))


def test_test_files_go_before_validation_files_and_shards_keep_their_order(tmp_path):
    images = pictures(9)
    for shard in range(3):
        rows = slice(3 * shard, 3 * shard + 3)
        write_parquet(tmp_path / f"train-0000{shard}-of-00003.parquet", [encoded(p) for p in images[rows]], [0, 1, 2])
    write_parquet(tmp_path / "validation.parquet", [encoded(images[0])], [0])
    write_parquet(tmp_path / "test.parquet", [encoded(images[1])], [2])
    data = load(Source.parse(f"parquet:{tmp_path}"))
    assert np.array_equal(data.train_images, images.transpose(0, 3, 1, 2))
    assert data.test_labels.tolist() == [2]


@pytest.mark.parametrize("column", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "fine_label", "labels"])
@pytest.mark.parametrize("plain", [None, pa.binary(), pa.large_binary()], ids=str)
def test_parquet_columns(tmp_path, column, label, plain):
    options = {
        "column": column,
        "label": label,
        "plain": plain,
        "label_type": pa.int32(),
        "names": ["cat", "dog", "emu"],
    }
    write_parquet(tmp_path / "train.parquet", [encoded(p) for p in pictures(2)], [1, 0], **options)
    write_parquet(tmp_path / "test.parquet", [encoded(p) for p in pictures(1, seed=1)], [2], **options)
    data = load(Source.parse(f"parquet:{tmp_path}"))
    assert np.array_equal(data.train_images, pictures(2).transpose(0, 3, 1, 2))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([1, 0], [2])
    assert data.class_names == ("cat", "dog", "emu")


def test_grey_images_have_one_channel_when_all_are_grey(tmp_path):
    grey, colour = pictures(2, channels=1), pictures(2, seed=1)
    rows = [encoded(p) for p in grey], [0, 1]
    data = load(small(tmp_path / "grey", rows, rows))
    assert np.array_equal(data.train_images, grey[:, np.newaxis])
    assert data.channels == 1
    mixed = load(small(tmp_path / "mixed", rows, ([encoded(p) for p in colour], [0, 1])))
    assert np.array_equal(mixed.train_images, np.repeat(grey[:, np.newaxis], 3, axis=1))
    assert np.array_equal(mixed.test_images, colour.transpose(0, 3, 1, 2))


def test_a_colour_image_with_equal_channels_is_not_grey(tmp_path):
    rows = [encoded(np.repeat(p[..., np.newaxis], 3, axis=2)) for p in pictures(2, channels=1)], [0, 1]
    assert load(small(tmp_path / "data", rows, rows)).channels == 3


def test_palette_and_transparent_images_become_rgb(tmp_path):
    pixels = pictures(1, channels=4)[0]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    file = io.BytesIO()
    palette.save(file, "PNG")
    rows = [encoded(pixels), file.getvalue()], [0, 1]
    data = load(small(tmp_path / "data", rows, rows))
    assert np.array_equal(data.train_images[0], pixels[..., :3].transpose(2, 0, 1))
    assert data.train_images[1, :, 0, 0].tolist() == [10, 20, 30]


def good(count, labels=None):
    return [encoded(p) for p in pictures(count)], labels or [i % 3 for i in range(count)]


PNG = encoded(pictures(1)[0])
JPEG = encoded(pictures(1, side=64)[0], "JPEG")
DEEP = encoded(np.full((4, 4), 40_000, np.uint16))
BAD_ROWS = {
    "no image": ([*good(2)[0], b"junk", PNG], [0, 1, 2, 0], "row 2: not an image"),
    "null image": ([*good(2)[0], None, PNG], [0, 1, 2, 0], "row 2: not an image"),
    "truncated PNG": ([*good(2)[0], PNG[:-30], PNG], [0, 1, 2, 0], "row 2: not a readable image"),
    "truncated JPEG": ([JPEG, JPEG[: len(JPEG) // 2]], [0, 1], "row 1: not a readable image"),
    "other size": ([*good(3)[0], encoded(pictures(1, side=5)[0])], [0, 1, 2, 0], "row 3: 5 x 5 pixels; allowed: 4 x 4"),
    "not square": ([encoded(np.zeros((4, 6, 3), np.uint8))], [0], "row 0: 6 x 4 pixels; allowed: 4 x 4, square"),
    "16 bits": ([DEEP], [0], "row 0: more than 8 bits"),
    "negative label": (*good(4, [0, 1, -1, 2]), "row 2: label -1; allowed"),
    "missing label": (*good(4, [0, None, 1, 2]), "row 1: label is missing; allowed"),
    "label out of range": (*good(4, [0, 1, 2, 4]), "row 3: label 4; allowed: whole numbers from 0 to 3"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_training_row_is_named(tmp_path, name):
    images, labels, message = BAD_ROWS[name]
    with pytest.raises(DataError) as caught:
        load(small(tmp_path / "data", (images, labels)))
    assert f"train.parquet, {message}" in str(caught.value)
    assert not cache_directory().exists()


@pytest.mark.parametrize("name", ["no image", "other size", "negative label", "missing label"])
def test_a_bad_test_row_is_named(tmp_path, name):
    images, labels, message = BAD_ROWS[name]
    with pytest.raises(DataError) as caught:
        load(small(tmp_path / "data", test=(images, labels)))
    assert f"test.parquet, {message}" in str(caught.value)


def test_a_test_label_beyond_the_training_labels_is_named(tmp_path):
    with pytest.raises(DataError, match=r"test\.parquet, row 1: label 3; allowed: whole numbers from 0 to 2"):
        load(small(tmp_path / "data", test=good(2, [0, 3])))


def test_a_label_beyond_the_class_names_is_named(tmp_path):
    write_parquet(tmp_path / "train.parquet", *good(3, [0, 1, 2]), names=["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", *good(3, [0, 1, 2]), names=["cat", "dog"])
    with pytest.raises(DataError, match=r"train\.parquet, row 2: label 2; allowed: whole numbers from 0 to 1"):
        load(Source.parse(f"parquet:{tmp_path}"))


def test_rows_are_counted_through_batches_and_from_each_files_start(tmp_path):
    count = dataset.BATCH_ROWS + 200
    images, labels = [PNG] * count, [0] * count
    write_parquet(tmp_path / "train-0.parquet", images, labels)
    write_parquet(tmp_path / "train-1.parquet", [*images[:-5], b"", *images[:4]], labels)
    write_parquet(tmp_path / "test.parquet", images, labels)
    with pytest.raises(DataError, match=rf"train-1\.parquet, row {count - 5}:"):
        load(Source.parse(f"parquet:{tmp_path}"))


def test_a_label_that_no_training_image_has_is_named(tmp_path):
    with pytest.raises(DataError, match="labels go up to 3, but no training image has label 1"):
        load(small(tmp_path / "data", good(4, [0, 2, 3, 0])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "picture"}, r"train\.parquet: no column img or image; it has picture, other, label"),
        ({"label": "class"}, r"train\.parquet: no column label or fine_label or labels; it has img, other, class"),
        ({"label_type": pa.float64()}, r"train\.parquet: column label is double; allowed: whole numbers"),
        ({"plain": pa.string()}, r"train\.parquet: column img is string; allowed: binary"),
    ],
)
def test_a_wrong_column_is_named(tmp_path, options, message):
    images = ["x", "y"] if options.get("plain") else [PNG, PNG]
    write_parquet(tmp_path / "train.parquet", images, [0, 1], **options)
    write_parquet(tmp_path / "test.parquet", [PNG], [0])
    with pytest.raises(DataError, match=message):
        load(Source.parse(f"parquet:{tmp_path}"))


def test_missing_files_are_named(tmp_path):
    source = Source.parse(f"parquet:{tmp_path / 'data'}")
    with pytest.raises(DataError, match="there is no such folder"):
        load(source)
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"no train images; expected: train\*\.parquet"):
        load(source)
    write_parquet(tmp_path / "data" / "train.parquet", [PNG], [0])
    with pytest.raises(DataError, match=r"no test images; expected: test\*\.parquet"):
        load(source)
    (tmp_path / "data" / "test.parquet").write_bytes(b"PAR1 not parquet PAR1")
    with pytest.raises(DataError, match=r"test\.parquet: not a readable parquet file"):
        load(source)


def test_no_rows_at_all(tmp_path):
    with pytest.raises(DataError, match="6 training and 0 test images"):
        load(small(tmp_path / "data", test=([], [])))


def test_several_data_sets_in_one_folder_are_not_guessed_between(tmp_path):
    small(tmp_path / "data" / "cropped")
    small(tmp_path / "data" / "full")
    with pytest.raises(DataError, match="several data sets; name one of the folders cropped, full"):
        load(Source.parse(f"parquet:{tmp_path / 'data'}"))


def test_rerecorded_cifar10(tmp_path):
    if not CIFAR10_JPEG.is_dir():
        pytest.skip("shared/data/cifar10-jpeg is not beside the repository")
    (tmp_path / "d").mkdir()
    for part in ("train", "test"):
        with pq.ParquetFile(CIFAR10_JPEG / f"{part}.parquet") as file:
            assert file.metadata.num_rows == {"train": 50_000, "test": 10_000}[part]
            rows = pa.Table.from_batches([next(file.iter_batches(1000))])
            pq.write_table(rows, tmp_path / "d" / f"{part}.parquet")
    data = load(Source.parse(f"parquet:{tmp_path / 'd'}"))
    assert data.shape == SHAPES["cifar10"]
    assert data.holdout == 100
    for part in ("train", "test"):
        table = pd.read_parquet(tmp_path / "d" / f"{part}.parquet")
        images, labels = data.arrays[f"{part}_images"], data.arrays[f"{part}_labels"]
        assert labels.tolist() == table["label"].tolist()
        for row in range(0, len(table), 31):
            truth = Image.open(io.BytesIO(table["img"][row]["bytes"]))
            assert all(
                truth.getpixel((x, y)) == tuple(images[row, :, y, x]) for x in range(32) for y in range(0, 32, 5)
            )


# ---- folders ----


def write_folder(root, parts=("train", "test"), classes=("cat", "dog", "emu")):
    seed = 0
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for suffix in ("png", "bmp", "PNG"):
                Image.fromarray(pictures(1, seed=seed)[0]).save(root / part / name / f"{seed % 7}-{seed}.{suffix}")
                seed += 1
    return Source.parse(f"folder:{root}")


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_folders_are_read_as_torchvision_reads_them(tmp_path, test):
    data = load(write_folder(tmp_path / "pets", ("train", test)))
    for part, name in (("train", "train"), ("test", test)):
        truth = datasets.ImageFolder(tmp_path / "pets" / name)
        assert data.class_names == tuple(truth.classes) == ("cat", "dog", "emu")
        assert data.arrays[f"{part}_labels"].tolist() == truth.targets
        pixels = np.stack([np.asarray(image) for image, _ in truth]).transpose(0, 3, 1, 2)
        assert np.array_equal(data.arrays[f"{part}_images"], pixels)
    assert (data.source, data.shape, len(data.train_labels)) == ("folder:pets", (3, 4, 3), 9)


def test_files_that_are_no_images_and_hidden_ones_are_passed_over(tmp_path):
    source = write_folder(tmp_path / "pets")
    before = load(source)
    (tmp_path / "pets" / "train" / ".hidden").mkdir()
    shutil.copy(
        next((tmp_path / "pets" / "train" / "cat").iterdir()), tmp_path / "pets" / "train" / ".hidden" / "a.png"
    )
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("notes")
    (tmp_path / "pets" / "train" / "cat" / "._a.png").write_text("a file manager's")
    (tmp_path / "pets" / "train" / "list.png").write_text("in no class")
    assert same(load(source, tmp_path / "another"), before)


def test_the_test_set_may_lack_classes_but_not_have_others(tmp_path):
    source = write_folder(tmp_path / "pets")
    shutil.rmtree(tmp_path / "pets" / "test" / "dog")
    data = load(source)
    assert data.test_labels.tolist() == [0, 0, 0, 2, 2, 2]
    shutil.rmtree(tmp_path / "pets" / "train" / "dog")
    assert load(source).test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    shutil.rmtree(tmp_path / "pets" / "train" / "emu")
    with pytest.raises(DataError, match=r"test.emu.+: no training image has class 'emu'; the classes: cat"):
        load(source)


def test_bad_folders_are_named(tmp_path):
    source = write_folder(tmp_path / "pets")
    (tmp_path / "pets" / "test" / "dog" / "a.jpg").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"test.dog.a\.jpg: not an image in a known format"):
        load(source)
    Image.fromarray(pictures(1, side=6)[0]).save(tmp_path / "pets" / "test" / "dog" / "a.jpg")
    with pytest.raises(DataError, match=r"test.dog.a\.jpg: 6 x 6 pixels; allowed: 4 x 4"):
        load(source)
    shutil.rmtree(tmp_path / "pets" / "test")
    with pytest.raises(DataError, match=r"no test images; expected: test/CLASS/\*\.png"):
        load(source)


# ---- CIFAR ----


class OldPickle:
    """Warns when it is unpickled, as CIFAR's files do under NumPy 2.4.0 to 2.4.4."""

    def __reduce__(self):
        return warnings.warn, ("an old pickle", np.exceptions.VisibleDeprecationWarning)


def cifar_files(kind, images=50):
    """The files of a tiny CIFAR as its archive holds them, by name: pickled rows of 3,072, red plane first."""
    rng = np.random.default_rng(3)
    data = getattr(datasets, kind.upper())
    label, classes = ("labels", 10) if kind == "cifar10" else ("fine_labels", 100)
    files = {}
    for name, _ in [*data.train_list, *data.test_list]:
        rows = rng.integers(0, 256, (images, 3072), dtype=np.uint8)
        files[name] = {"data": rows, label: rng.integers(0, classes, images).tolist(), "old": OldPickle()}
    files[data.meta["filename"]] = {data.meta["key"]: [f"class {i}" for i in range(classes)]}
    return files


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, monkeypatch, tmp_path):
    """(source, its files' contents, its archive) of a tiny CIFAR whose checksums torchvision is told to expect."""
    files = cifar_files(request.param)
    packed = {name: pickle.dumps(content, protocol=2) for name, content in files.items()}
    data = getattr(datasets, request.param.upper())

    def summed(listed):
        return [[name, md5(packed[name]).hexdigest()] for name, _ in listed]

    archive = tmp_path / "served" / data.filename
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in packed.items():
            member = tarfile.TarInfo(f"{data.base_folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(data, "train_list", summed(data.train_list))
    monkeypatch.setattr(data, "test_list", summed(data.test_list))
    monkeypatch.setattr(data, "meta", data.meta | {"md5": md5(packed[data.meta["filename"]]).hexdigest()})
    monkeypatch.setattr(data, "tgz_md5", md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(data, "url", f"http://127.0.0.1:{closed_port()}/{data.filename}")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Source.parse(request.param), files, archive


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(monkeypatch, cifar):
    """Serve bytes from the data's address; `cut` ends the connection before so many bytes are sent."""
    servers = []

    def start(content, cut=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(content[: len(content) - cut])

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        data = getattr(datasets, cifar[0].kind.upper())
        monkeypatch.setattr(data, "url", f"http://127.0.0.1:{server.server_port}/{data.filename}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check_cifar(source, files):
    data = load(source)
    kind = getattr(datasets, source.kind.upper())
    for part, listed in (("train", kind.train_list), ("test", kind.test_list)):
        images, labels = data.arrays[f"{part}_images"], data.arrays[f"{part}_labels"]
        rows = np.concatenate([files[name]["data"] for name, _ in listed])
        assert images.shape == (len(rows), 3, 32, 32)
        for n, c, y, x in np.random.default_rng(0).integers(0, (len(rows), 3, 32, 32), (500, 4)):
            assert images[n, c, y, x] == rows[n, 1024 * c + 32 * y + x]
        numbers = [files[name].get("labels") or files[name]["fine_labels"] for name, _ in listed]
        assert labels.tolist() == np.concatenate(numbers).tolist()
    assert data.shape == SHAPES[source.kind]
    assert data.class_names == tuple(f"class {i}" for i in range(data.classes))
    assert data.holdout == len(data.train_labels) // 10


def test_cifar_is_never_downloaded_by_load(cifar, serve):
    source, _, archive = cifar
    serve(archive.read_bytes())
    with pytest.raises(DataError, match=f"{source}: absent from .+; run `resbench data {source}`"):
        load(source)


def test_cifar_is_read_from_torchvisions_layout(cifar):
    source, files, archive = cifar
    with tarfile.open(archive) as tar:
        tar.extractall(datasets_directory(), filter="data")
    check_cifar(source, files)


def test_damaged_cifar_is_not_read(cifar):
    source, _, archive = cifar
    with tarfile.open(archive) as tar:
        tar.extractall(datasets_directory(), filter="data")
    name = getattr(datasets, source.kind.upper()).test_list[0][0]
    path = next(datasets_directory().glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged; run `resbench data"):
        load(source)


def test_a_download_is_verified_unpacked_and_loaded(cifar, serve, capfd):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source, progress=False)
    assert capfd.readouterr() == ("", "")
    assert folder.is_dir() and list(datasets_directory().iterdir()) == [folder]
    check_cifar(source, files)


def test_a_download_shows_its_progress(cifar, serve, capfd):
    source, _, archive = cifar
    serve(archive.read_bytes())
    download(source)
    out, err = capfd.readouterr()
    assert "100" in err and not out


def test_data_that_is_there_is_not_downloaded_again(cifar, serve):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source)
    kind = getattr(datasets, source.kind.upper())
    kind.url = f"http://127.0.0.1:{closed_port()}/"  # put back by monkeypatch
    assert download(source) == folder
    check_cifar(source, files)


def test_damaged_data_is_replaced_by_a_download(cifar, serve):
    source, files, archive = cifar
    serve(archive.read_bytes())
    folder = download(source)
    next(folder.iterdir()).write_bytes(b"damaged")
    download(source)
    check_cifar(source, files)


def test_no_network(cifar):
    source, _, archive = cifar
    with pytest.raises(DataError) as caught:
        download(source)
    message = str(caught.value)
    assert f"cannot be downloaded into {datasets_directory()}" in message
    assert f"without a network, put {archive.name} into {datasets_directory()}" in message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert list(datasets_directory().iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("damage", ["cut short", "other bytes"])
def test_a_failed_download_leaves_nothing_behind(cifar, serve, damage):
    source, files, archive = cifar
    content = archive.read_bytes()
    serve(content, cut=100) if damage == "cut short" else serve(content[:-100] + bytes(100))
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1.+: what arrived is incomplete or of a wrong checksum; try again"
    ):
        download(source)
    assert list(datasets_directory().iterdir()) == []
    serve(content)
    download(source)
    check_cifar(source, files)


def test_an_archive_put_there_by_hand_needs_no_network(cifar):
    source, files, archive = cifar
    datasets_directory().mkdir(parents=True)
    placed = datasets_directory() / archive.name
    placed.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match="without a network"):
        download(source)
    placed.write_bytes(archive.read_bytes())
    download(source)
    assert placed.read_bytes() == archive.read_bytes()
    check_cifar(source, files)


def test_a_damaged_archive_put_there_by_hand_is_left_alone(cifar, serve):
    source, files, archive = cifar
    datasets_directory().mkdir(parents=True)
    placed = datasets_directory() / archive.name
    placed.write_bytes(b"damaged")
    serve(archive.read_bytes())
    download(source)
    assert placed.read_bytes() == b"damaged"
    check_cifar(source, files)


def test_a_place_that_cannot_be_written_is_named(cifar, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be downloaded into .+file"):
        download(cifar[0])


@pytest.mark.parametrize("text", ["digits", "parquet:x"])
def test_only_cifar_is_downloaded(text):
    with pytest.raises(FieldError, match="allowed: cifar10 or cifar100"):
        download(Source.parse(text))


# ---- stratified draws ----

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@settings(deadline=None)
@given(labels=label_lists, fraction=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_stratified_draws_are_exact_and_within_one_of_each_share(labels, fraction, seed):
    count = int(fraction * len(labels))
    drawn = stratified(labels, count, seed)
    assert drawn.dtype == np.int64 and len(drawn) == count
    assert np.all(np.diff(drawn) > 0)  # ascending, so none is drawn twice
    assert count == 0 or (drawn[0] >= 0 and drawn[-1] < len(labels))
    shares = np.bincount(labels, minlength=7) * count / len(labels)
    assert np.all(np.abs(np.bincount(labels[drawn], minlength=7) - shares) < 1)
    assert np.array_equal(drawn, stratified(labels, count, seed))


def test_largest_remainders_are_rounded_up():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    assert np.bincount(labels[stratified(labels, 3, 0)]).tolist() == [1, 1, 1]  # shares 1.5, 0.9, 0.6
    assert np.bincount(labels[stratified(labels, 5, 0)]).tolist() == [3, 1, 1]  # shares 2.5, 1.5, 1: a tie


def test_every_member_is_drawn_as_often_as_the_others():
    labels = np.repeat([0, 1], [20, 20])
    times = np.bincount(np.concatenate([stratified(labels, 10, seed) for seed in range(2000)]), minlength=40)
    assert times.sum() == 20_000
    chi_square = ((times - 500) ** 2 / (500 * 0.75)).sum()  # binomial variance; about 38 degrees of freedom
    assert chi_square < 80
