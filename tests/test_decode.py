"""Parquet and folders of images, against PIL, torchvision and what was written; each bad file by its name."""

import io
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from images import encoded, pictures, same, small, write_parquet
from PIL import Image
from torchvision import datasets

from bench import decode
from bench.dataset import load
from bench.decode import BATCH_ROWS
from bench.errors import DataError
from bench.host import cache_directory
from bench.source import SHAPES, Source

CIFAR10_JPEG = ROOT.parent / "shared" / "data" / "cifar10-jpeg"

pytestmark = pytest.mark.usefixtures("fresh_cache")


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
    count = BATCH_ROWS + 200
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


def test_a_column_whose_name_is_no_text_is_told(tmp_path):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"img": pa.array([b"x"]), "label": pa.array([0]), "names": pa.array([0])}), path)
    path.write_bytes(path.read_bytes().replace(b"names", b"\x8fames"))
    with pytest.raises(DataError, match=r"train\.parquet: not a readable parquet file") as told:
        list(decode.encoded_rows(path))
    assert "\n" not in str(told.value)
