"""A data set as uint8 arrays: decoded once from its source, then read from a checksummed cache. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import builtin, decode, shards
from bench.decode import Decoded, Files
from bench.errors import DataError
from bench.host import cache_directory
from bench.parts import replacing
from bench.source import NOISE, Source

FORMAT = 1  # of the cache; raise it when decoding changes, and every entry is decoded anew
DIGITS_HOLDOUT = 300
ARRAYS = ("train_labels", "test_labels", "train_images", "test_images")  # 8-byte items first: all are aligned
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


def load(source: Source, cache: Path | None = None) -> Dataset:
    """The data set of `source`: from `cache` (default: `cache_directory()`), else decoded and cached.

    A cache entry that is damaged, or whose source files have changed, is decoded again. Nothing is ever downloaded.

    Raises:
        DataError: when the source is absent or unreadable; names the file and the row, counted from 0.
    """
    try:
        files = decode.files_of(source)
        origin = decode.origin(source, files)
    except OSError as error:
        raise DataError(f"{source}: {error}") from None
    entry = (cache_directory() if cache is None else cache) / source.cache_key
    if cached := _read(entry, source, origin):
        return cached
    train, test, names = _decoded(source, files)
    arrays = dict(zip(ARRAYS, (train.labels, test.labels, train.images, test.images), strict=True))
    dataset = Dataset(source.identity, **arrays, class_names=names, sha256=_checksum(arrays))
    try:
        _write(entry, dataset, origin)
    except OSError as error:
        _log.warning("%s cannot be cached, so it is decoded each time: %s", source, error)
    return dataset


def _decoded(source: Source, files: Files) -> Decoded:
    if source.kind == "digits":
        return builtin.digits()
    if source.kind in NOISE:
        return builtin.noise(source)
    if source.kind in builtin.DOWNLOADED:
        return builtin.cifar(source)
    decoders = {"parquet": decode.parquet, "folder": decode.folder, "webdataset": shards.decoded}
    return decoders[source.kind](source, files)


# The cache of a data set: KEY.npy, every array's bytes in one run, and KEY.json, which says how to read them. The
# checksum is made anew on each reading, so a half-written, damaged or wrongly paired entry is never taken.


def _read(entry: Path, source: Source, origin: str) -> Dataset | None:
    """The cached data set, mapped into memory; None when there is none, it is damaged, or made from other files."""
    try:
        manifest = json.loads(Path(f"{entry}.json").read_bytes())
        if (manifest["format"], manifest["source"], manifest["origin"]) != (FORMAT, source.identity, origin):
            return None
        content, layout = np.asarray(np.load(f"{entry}.npy", mmap_mode="r", allow_pickle=False)), manifest["arrays"]
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
