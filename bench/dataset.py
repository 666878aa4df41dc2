"""Data sets as uint8 arrays: decoded once from their source, then read from a checksummed cache. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from bench.errors import DataError, FieldError
from bench.source import Source
from bench.store import replacing

FORMAT = 1  # of the cache; raise it when decoding changes, and every entry is decoded anew
ARRAYS = ("train_labels", "test_labels", "train_images", "test_images")  # 8-byte items first: all are aligned
DIGITS_TEST, DIGITS_HOLDOUT = 300, 300
DOWNLOADED = ("cifar10", "cifar100")
NETWORK_TIMEOUT = 30  # seconds without a byte
BATCH_ROWS = 512  # of a parquet file, in memory at once
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Square images of one size with their labels; the arrays are read-only.

    Images are uint8 [N, C, H, W], the order in which nets take them, so that they go to a device as they are; labels
    are int64 [N], from 0 to `classes` - 1. `source` is a `Source.identity`. `sha256` is over the arrays' types, shapes
    and contents, whatever they were read from.
    """

    source: str
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    sha256: str

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.setflags(write=False)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The four arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.train_images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train_images.shape[2:]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, pixels a side, classes: what a net needs to know, as in `bench.source.SHAPES`."""
        return self.channels, self.size[0], self.classes

    @property
    def holdout(self) -> int:
        """How many validation images `split = "holdout"` takes from the training set: a tenth, as section 4.2 does."""
        return DIGITS_HOLDOUT if self.source == "digits" else (len(self.train_labels) + 5) // 10


def cache_directory() -> Path:
    """Where decoded data sets are kept: $RESBENCH_CACHE, else $XDG_CACHE_HOME/resbench, else ~/.cache/resbench."""
    if chosen := os.environ.get("RESBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resbench"


def datasets_directory() -> Path:
    """Where downloaded data sets are kept, in torchvision's layout."""
    return cache_directory() / "datasets"


def load(source: Source, cache: Path | None = None) -> Dataset:
    """The data set of `source`: from `cache` (default: `cache_directory()`), else decoded and cached.

    A cache entry that is damaged, or whose source files have changed, is decoded again. Nothing is ever downloaded.

    Raises:
        DataError: when the source is absent or unreadable; names the file and the row, counted from 0.
    """
    try:
        files = _files(source)
        origin = _origin(source, files)
    except OSError as error:
        raise DataError(f"{source}: {error}") from None
    entry = (cache_directory() if cache is None else cache) / _key(source)
    if cached := _read(entry, source, origin):
        return cached
    train, test, names = _DECODERS[source.kind](source, files)
    arrays = dict(zip(ARRAYS, (train.labels, test.labels, train.images, test.images), strict=True))
    dataset = Dataset(source.identity, **arrays, class_names=names, sha256=_checksum(arrays))
    try:
        _write(entry, dataset, origin)
    except OSError as error:
        _log.warning("%s cannot be cached, so it is decoded each time: %s", source, error)
    return dataset


def download(source: Source, progress: bool = True) -> Path:
    """Download CIFAR-10 or CIFAR-100 through torchvision, which verifies its checksum; returns its folder.

    Does nothing when it is already there. An archive put into `datasets_directory()` by hand is used instead of the
    network. The folder appears whole or not at all. `progress` shows torchvision's bar on standard error.

    Raises:
        FieldError: for a source that is not downloaded.
        DataError: without a network, or when what arrives is not what the checksum says.
    """
    if source.kind not in DOWNLOADED:
        raise FieldError("data", str(source), f"{' or '.join(DOWNLOADED)}; other data is not downloaded")
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    data = getattr(datasets, source.kind.upper())
    place = datasets_directory()
    folder, archive = place / data.base_folder, place / data.filename
    with contextlib.suppress(DataError):
        _torchvision(source, train=True)
        return folder
    output = contextlib.nullcontext() if progress else contextlib.redirect_stderr(io.StringIO())
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=place) as temporary, output:
            if check_integrity(archive, data.tgz_md5):
                Path(temporary, archive.name).symlink_to(archive.resolve())
            _quietly(data, temporary, download=True)
            shutil.rmtree(folder, ignore_errors=True)
            Path(temporary, folder.name).replace(folder)
    except (RuntimeError, EOFError, TarError, HTTPException) as error:
        raise DataError(f"{data.url}: what arrived is incomplete or of a wrong checksum; try again ({error})") from None
    except OSError as error:
        by_hand = f"without a network, put {archive.name} into {place} and run the command again"
        raise DataError(f"{data.url} cannot be downloaded into {place}: {error}; {by_hand}") from None
    finally:
        socket.setdefaulttimeout(timeout)
    return folder


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` indices so that each class has its share of them, within one; int64 [count], ascending.

    Shares are apportioned by largest remainder (ties go to the lower label), so they add up exactly. The draw uses
    PCG64's raw stream, which NumPy keeps the same for good, as it does not `Generator.permutation`.
    """
    classes, members = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(members * count, max(1, len(labels)))
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    drawn = [order[labels[order] == number][:share] for number, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))


# The cache of a data set: KEY.npy, every array's bytes in one run, and KEY.json, which says how to read them. The
# checksum is made anew on each reading, so a half-written, damaged or wrongly paired entry is never taken.


def _read(entry: Path, source: Source, origin: str) -> Dataset | None:
    """The cached data set, mapped into memory; None when there is none, it is damaged, or made from other files."""
    try:
        manifest = json.loads(Path(f"{entry}.json").read_bytes())
        if (manifest["format"], manifest["source"], manifest["origin"]) != (FORMAT, source.identity, origin):
            return None
        content, layout = np.asarray(np.load(f"{entry}.npy", mmap_mode="r")), manifest["arrays"]
        ends = np.cumsum([np.dtype(dtype).itemsize * math.prod(shape) for dtype, *shape in layout.values()])
        pieces = zip(layout.items(), np.split(content, ends[:-1]), strict=True)
        arrays = {name: piece.view(dtype).reshape(shape) for (name, (dtype, *shape)), piece in pieces}
        if _checksum(arrays) != manifest["sha256"]:
            raise ValueError("wrong checksum")
        return Dataset(source.identity, **arrays, class_names=tuple(manifest["classes"]), sha256=manifest["sha256"])
    except FileNotFoundError:
        return None
    except Exception as error:  # json and NumPy raise nearly anything on damaged bytes
        _log.info("%s is damaged, decoding %s again: %s", entry, source, error)
        return None


def _write(entry: Path, dataset: Dataset, origin: str) -> None:
    manifest = {"format": FORMAT, "source": dataset.source, "origin": origin, "sha256": dataset.sha256}
    manifest |= {"arrays": _layout(dataset.arrays), "classes": dataset.class_names}
    with replacing(Path(f"{entry}.npy")) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([array.reshape(-1).view(np.uint8) for array in dataset.arrays.values()]))
    with replacing(Path(f"{entry}.json")) as temporary:
        temporary.write_text(json.dumps(manifest))


def _layout(arrays: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    return {name: [array.dtype.name, *array.shape] for name, array in arrays.items()}


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(_layout(arrays)).encode())
    for array in arrays.values():
        digest.update(array.data)
    return digest.hexdigest()


def _key(source: Source) -> str:
    if not source.directory:
        return source.kind
    place = hashlib.sha256(os.fsencode(Path(source.directory).resolve())).hexdigest()
    return f"{source.kind}-{source.label}-{place[:12]}"


def _origin(source: Source, files: Files) -> str:
    """A hash of the source files' names, sizes and times; built-in data never changes."""
    stats = [(path.relative_to(source.directory), path.stat()) for part in files for path in part]
    listing = [(str(name), stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


# Sources: each is decoded into the images and labels of its training set, of its test set, and its classes' names.


class Part(NamedTuple):
    """The images and labels of one part, as in Dataset."""

    images: np.ndarray
    labels: np.ndarray


class Files(NamedTuple):
    """The source files of each part; none for built-in data."""

    train: list[Path]
    test: list[Path]


Decoded = tuple[Part, Part, tuple[str, ...]]
Row = tuple[str, Any, int | None]  # where it is, for errors; what PIL can open; its label


def _digits(_source: Source, _files: Files) -> Decoded:
    """scikit-learn's 1,797 scans of 8 x 8 pixels, 0 to 16 scaled to 0 to 255: 1,497 for training, 300 for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    test[stratified(labels, DIGITS_TEST, seed=0)] = True
    return Part(images[~test], labels[~test]), Part(images[test], labels[test]), tuple("0123456789")


def _cifar(source: Source, _files: Files) -> Decoded:
    data = [_torchvision(source, train=train) for train in (True, False)]
    train, test = (Part(d.data.transpose(0, 3, 1, 2).copy(order="C"), np.array(d.targets, np.int64)) for d in data)
    return train, test, tuple(data[0].classes)


def _torchvision(source: Source, train: bool) -> Any:
    """torchvision's CIFAR10 or CIFAR100, which checks its files' checksums."""
    from torchvision import datasets

    try:
        return _quietly(getattr(datasets, source.kind.upper()), datasets_directory(), train=train)
    except RuntimeError:
        raise DataError(
            f"{source}: absent from {datasets_directory()} or damaged; run `resbench data {source}`"
        ) from None


def _quietly(data: Any, *arguments: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2.4.0 to 2.4.4 deprecate how CIFAR was pickled
        return data(*arguments, **options)


def _files(source: Source) -> Files:
    if not source.directory:
        return Files([], [])
    root = Path(source.directory)
    if not root.is_dir():
        raise DataError(f"{source}: there is no such folder")
    files, pattern = _parquet_files(root) if source.kind == "parquet" else _folder_files(root)
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


def _folder(source: Source, files: Files) -> Decoded:
    """A folder for each part, in it a folder for each class."""

    def name(path: Path) -> str:
        return path.relative_to(source.directory).parts[1]

    names = tuple(sorted({name(path) for path in files.train}))
    if unknown := [path for path in files.test if name(path) not in names]:
        known = ", ".join(names)
        raise DataError(f"{unknown[0]}: no training image has class {name(unknown[0])!r}; the classes: {known}")
    rows = (((str(path), path, names.index(name(path))) for path in part) for part in files)
    return _decode(source, rows, [len(part) for part in files], names)


def _parquet(source: Source, files: Files) -> Decoded:
    """Image-classification parquet as public hubs publish it: encoded images and whole-number labels."""
    counts = []
    for part in files:
        counts.append(0)
        for file in part:
            with _opened(file) as table:
                counts[-1] += table.metadata.num_rows
    return _decode(source, map(_parquet_rows, files), counts, _class_names(files.train[0]))


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable parquet file: {error}") from None


def _parquet_rows(files: list[Path]) -> Iterator[Row]:
    for file in files:
        with _opened(file) as table:
            image, label = _columns(file, table.schema_arrow)
            column, _, inner = image.partition(".")
            row = 0
            for batch in table.iter_batches(BATCH_ROWS, columns=[image, label]):
                images = pc.struct_field(batch[column], inner) if inner else batch[column]
                for data, number in zip(images.to_pylist(), batch[label].to_pylist(), strict=True):
                    yield f"{file}, row {row}", io.BytesIO(data or b""), number
                    row += 1


def _columns(file: Path, schema: pa.Schema) -> tuple[str, str]:
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


def _class_names(file: Path) -> tuple[str, ...] | None:
    """The names that the hub's own metadata gives the labels, if any."""
    with _opened(file) as table:
        schema = table.schema_arrow
        label = _columns(file, schema)[1]
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _decode(source: Source, rows: Iterable[Iterable[Row]], counts: list[int], names: tuple[str, ...] | None) -> Decoded:
    """Decode the rows of both parts: grey when every image is, else RGB with grey images' channels equal."""
    train_rows, test_rows = rows
    train_count, test_count = counts
    if not (train_count and test_count):
        raise DataError(f"{source}: {train_count} training and {test_count} test images; allowed: at least one of each")
    train, grey = _stack(train_rows, train_count, len(names) if names else train_count)  # K classes need K images
    if not names:
        used = np.unique(train.labels)
        if (missing := np.flatnonzero(used != np.arange(len(used)))).size:
            raise DataError(f"{source}: labels go up to {used[-1]}, but no training image has label {missing[0]}")
        names = tuple(map(str, used))
    test, test_grey = _stack(test_rows, test_count, len(names), train.images.shape[-1])
    if grey and test_grey:
        train, test = (Part(np.ascontiguousarray(part.images[:, :1]), part.labels) for part in (train, test))
    return train, test, names


def _stack(rows: Iterable[Row], count: int, classes: int, side: int | None = None) -> tuple[Part, bool]:
    """The images, in three channels, and labels of `count` rows; and whether all images are grey."""
    images, labels, grey = np.empty(0, np.uint8), np.empty(count, np.int64), True
    for index, (where, file, label) in enumerate(rows):
        if label is None or not 0 <= label < classes:
            given = "is missing" if label is None else label
            raise DataError(f"{where}: label {given}; allowed: whole numbers from 0 to {classes - 1}")
        pixels = _pixels(where, file)
        height, width = pixels.shape[1:]
        side = side or height
        if (height, width) != (side, side):
            raise DataError(f"{where}: {width} x {height} pixels; allowed: {side} x {side}, square and as the first")
        if not index:
            images = np.empty((count, 3, side, side), np.uint8)
        images[index], labels[index] = pixels, label
        grey = grey and len(pixels) == 1
    return Part(images, labels), grey


def _pixels(where: str, file: Any) -> np.ndarray:
    """One image, uint8 [1 or 3, H, W]; transparency is dropped."""
    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise DataError(f"{where}: more than 8 bits a channel ({image.mode}); allowed: 8-bit images")
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))[np.newaxis]
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{where}: not an image in a known format") from None
    except Exception as error:  # PIL's decoders raise nearly anything on damaged bytes
        raise DataError(f"{where}: not a readable image: {error}") from None


_DECODERS = {"digits": _digits, "cifar10": _cifar, "cifar100": _cifar, "parquet": _parquet, "folder": _folder}
