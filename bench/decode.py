"""Images from files: parquet as public hubs publish it, and a folder a class; decoded into uint8 arrays."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from bench.errors import DataError, in_a_line
from bench.source import Source

BATCH_ROWS = 512  # of a parquet file, in memory at once
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")


class UnlikeSizesError(DataError):
    """Images are not square and of one size; what may still be an album."""


class Part(NamedTuple):
    """One part of a data set: images uint8 [N, C, H, W], of one size and square; labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray


class Files(NamedTuple):
    """The source files of each part; none for built-in data."""

    train: list[Path]
    test: list[Path]


Decoded = tuple[Part, Part, tuple[str, ...]]  # training, test; the names of the classes
Row = tuple[str, Any, int | None]  # where it is, for errors; what PIL can open; its label


def files_of(source: Source) -> Files:
    """The files a source is decoded from.

    Raises:
        DataError: when its folder, or the images of a part, are not there.
        OSError: when its folder cannot be read.
    """
    if not source.directory:
        return Files([], [])
    root = Path(source.directory)
    if not root.is_dir():
        raise DataError(f"{source}: there is no such folder")
    files, pattern = FINDERS[source.kind](root)
    for part, name in ((files.train, "train"), (files.test, "test")):
        if not part:
            raise DataError(f"{source}: no {name} images; expected: {pattern.format(name)}")
    return files


def _parquet_files(root: Path) -> tuple[Files, str]:
    """train*.parquet or train*/*.parquet, in `root` or one folder below it; the same with test, else with val."""

    def find(place: Path, part: str) -> list[Path]:
        return sorted([*place.glob(f"{part}*.parquet"), *place.glob(f"{part}*/*.parquet")])

    places = [root] if find(root, "train") else [p for p in sorted(root.iterdir()) if p.is_dir() and find(p, "train")]
    if len(places) > 1:
        raise DataError(f"{root}: several data sets; name one of the folders {', '.join(p.name for p in places)}")
    files = [find(place, part) for place in places for part in ("train", "test", "val")] or [[], [], []]
    return Files(files[0], files[1] or files[2]), "{}*.parquet"


def _folder_files(root: Path) -> tuple[Files, str]:
    """The images in train/CLASS/ and in test/CLASS/ (else val, valid or validation), by class and name."""

    def find(part: str) -> list[Path]:
        files = [path.relative_to(root) for path in (root / part).glob("*/**/*") if path.is_file()]
        images = [f for f in files if f.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in f.parts)]
        return [root / image for image in sorted(images, key=lambda image: image.parts)]

    tests = (find(part) for part in ("test", "val", "valid", "validation"))
    return Files(find("train"), next(filter(None, tests), [])), "{}/CLASS/*.png, or another image format"


def _shard_files(root: Path) -> tuple[Files, str]:
    """train*.tar or NAME-train*.tar; the same with test, else with val."""
    train, test, val = (sorted([*root.glob(f"{p}*.tar"), *root.glob(f"*-{p}*.tar")]) for p in ("train", "test", "val"))
    return Files(train, test or val), "{}*.tar, uncompressed"


FINDERS = {"parquet": _parquet_files, "folder": _folder_files, "webdataset": _shard_files}


def origin(source: Source, files: Files) -> str:
    """A hash of the source files' names, sizes and times; built-in data never changes."""
    stats = [(path.relative_to(source.directory), path.stat()) for part in files for path in part]
    listing = [(str(name), stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def folder(source: Source, files: Files) -> Decoded:
    """Decode a folder for each part, in it a folder for each class.

    Raises:
        DataError: when an image or a class does not fit; names the file.
    """

    def name(path: Path) -> str:
        return path.relative_to(source.directory).parts[1]

    names = tuple(sorted({name(path) for path in files.train}))
    if unknown := [path for path in files.test if name(path) not in names]:
        known = ", ".join(names)
        raise DataError(f"{unknown[0]}: no training image has class {name(unknown[0])!r}; the classes: {known}")
    rows = (((str(path), path, names.index(name(path))) for path in part) for part in files)
    return stacked(source, rows, [len(part) for part in files], names)


def parquet(source: Source, files: Files) -> Decoded:
    """Decode image-classification parquet as public hubs publish it: encoded images and whole-number labels.

    Raises:
        DataError: when a file, a column, an image or a label does not fit; names the file and the row, counted from 0.
    """
    counts = []
    for part in files:
        counts.append(0)
        for file in part:
            with opened(file) as table:
                counts[-1] += table.metadata.num_rows
    return stacked(source, map(_parquet_rows, files), counts, class_names(files.train[0]))


@contextlib.contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file to read.

    Raises:
        DataError: naming it, when it cannot be, or not to its end.
    """
    try:
        with pq.ParquetFile(file) as table:
            yield table
    except DataError:
        raise
    except Exception as error:  # Arrow's, and what Python makes of a name that is no text
        raise DataError(f"{file}: not a readable parquet file: {in_a_line(error)}") from None


def _parquet_rows(files: list[Path]) -> Iterator[Row]:
    for file in files:
        for row, (data, label) in enumerate(encoded_rows(file)):
            yield f"{file}, row {row}", io.BytesIO(data), label


def encoded_rows(file: Path) -> Iterator[tuple[bytes, int | None]]:
    """The images of a parquet file as they are encoded, and their labels."""
    with opened(file) as table:
        image, label = columns_of(file, table.schema_arrow)
        column, _, inner = image.partition(".")
        for batch in table.iter_batches(BATCH_ROWS, columns=[image, label]):
            images = pc.struct_field(batch[column], inner) if inner else batch[column]
            for data, number in zip(images.to_pylist(), batch[label].to_pylist(), strict=True):
                yield data or b"", number


def columns_of(file: Path, schema: pa.Schema) -> tuple[str, str]:
    """The columns to read: images (plain bytes, or the `bytes` of a struct) and labels."""

    def first(*names: str) -> pa.Field:
        for name in names:
            if name in schema.names:
                return schema.field(name)
        raise DataError(f"{file}: no column {' or '.join(names)}; it has {', '.join(schema.names)}")

    image, label = first("img", "image"), first("label", "fine_label", "labels")
    inner = {f.name: f.type for f in image.type} if pa.types.is_struct(image.type) else {}
    content = inner.get("bytes", image.type)
    if not (pa.types.is_binary(content) or pa.types.is_large_binary(content)):
        raise DataError(f"{file}: column {image.name} is {image.type}; allowed: binary, or a struct with `bytes`")
    if not pa.types.is_integer(label.type):
        raise DataError(f"{file}: column {label.name} is {label.type}; allowed: whole numbers")
    return f"{image.name}.bytes" if inner else image.name, label.name


def class_names(file: Path) -> tuple[str, ...] | None:
    """The names that the hub's own metadata gives the labels, if any."""
    with opened(file) as table:
        schema = table.schema_arrow
        label = columns_of(file, schema)[1]
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def stacked(source: Source, rows: Iterable[Iterable[Row]], counts: list[int], names: tuple[str, ...] | None) -> Decoded:
    """Decode the rows of both parts: grey when every image is, else RGB with grey images' channels equal."""
    train_rows, test_rows = rows
    train_count, test_count = counts
    if not (train_count and test_count):
        raise DataError(f"{source}: {train_count} training and {test_count} test images; allowed: at least one of each")
    train, grey = _stack(train_rows, train_count, len(names) if names else train_count)  # K classes need K images
    names = names or numbered(source, train.labels)
    test, test_grey = _stack(test_rows, test_count, len(names), train.images.shape[-1])
    if grey and test_grey:
        train, test = (Part(np.ascontiguousarray(part.images[:, :1]), part.labels) for part in (train, test))
    return train, test, names


def numbered(source: Source, labels: np.ndarray) -> tuple[str, ...]:
    """The labels themselves as names of the classes, where nothing names them.

    Raises:
        DataError: when one below the largest is missing.
    """
    used = np.unique(labels)
    if (missing := np.flatnonzero(used != np.arange(len(used)))).size:
        raise DataError(f"{source}: labels go up to {used[-1]}, but no training image has label {missing[0]}")
    return tuple(map(str, used))


def _stack(rows: Iterable[Row], count: int, classes: int, side: int | None = None) -> tuple[Part, bool]:
    """The images, in three channels, and labels of `count` rows; and whether all images are grey."""
    images, labels, grey = np.empty(0, np.uint8), np.empty(count, np.int64), True
    for index, (where, file, label) in enumerate(rows):
        check_label(where, label, classes)
        pixels = read_image(where, file)
        height, width = pixels.shape[1:]
        side = side or height
        if (height, width) != (side, side):
            raise UnlikeSizesError(
                f"{where}: {width} x {height} pixels; allowed: {side} x {side}, square and as the first"
            )
        if not index:
            images = np.empty((count, 3, side, side), np.uint8)
        images[index], labels[index] = pixels, label
        grey = grey and len(pixels) == 1
    return Part(images, labels), grey


def check_label(where: str, label: int | None, classes: int) -> None:
    """Refuse a label that is none."""
    if label is None or not 0 <= label < classes:
        given = "is missing" if label is None else label
        raise DataError(f"{where}: label {given}; allowed: whole numbers from 0 to {classes - 1}")


def read_image(where: str, file: Any) -> np.ndarray:
    """One image, as `image_of` reads it.

    Raises:
        DataError: where it is none; says where.
    """
    try:
        return image_of(file)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def image_of(file: Any) -> np.ndarray:
    """One image, by PIL, which refuses what is very large: uint8 [1 or 3, H, W]; transparency is dropped.

    Raises:
        ValueError: where it is none; says why.
    """
    try:
        with Image.open(file) as image:
            mode, grey = image.mode, image.mode in ("1", "L")
            if mode[0] not in "IF":
                found = np.asarray(image.convert("L" if grey else "RGB"))
    except UnidentifiedImageError:
        raise ValueError("not an image in a known format") from None
    except Exception as error:  # PIL's decoders raise nearly anything on damaged bytes
        raise ValueError(f"not a readable image: {in_a_line(error)}") from None
    if mode[0] in "IF":
        raise ValueError(f"more than 8 bits a channel ({mode}); allowed: 8-bit images")
    return found[np.newaxis] if grey else found.transpose(2, 0, 1)
