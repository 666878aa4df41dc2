"""Made-up images, and parquet data sets of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.dataset import Dataset
from bench.source import Source

Rows = tuple[list[bytes | None], list[int | None]]  # encoded images and their labels


def pictures(count: int, side: int = 4, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images as PIL takes them, uint8 [N, H, W, C], or [N, H, W] for one channel."""
    shape = (count, side, side, channels) if channels > 1 else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """The image file that holds these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(
    path: Path,
    images: list[bytes | None],
    labels: list[int | None],
    column: str = "img",
    label: str = "label",
    label_type: pa.DataType | None = None,
    plain: pa.DataType | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """One file as public hubs publish it. `plain`: a binary type, for images that are not in a struct."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if plain:
        cells = pa.array(images, plain)
    else:
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        cells = pa.array([None if i is None else {"bytes": i, "path": "x.png"} for i in images], kind)
    table = pa.table({column: cells, "other": [0] * len(images), label: pa.array(labels, label_type or pa.int64())})
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}, column: {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def small(root: Path, train: Rows | None = None, test: Rows | None = None) -> Source:
    """A sound parquet data set of 6 training and 3 test images in 3 classes, or with other rows."""
    write_parquet(root / "train.parquet", *(train or ([encoded(p) for p in pictures(6)], [0, 1, 2, 0, 1, 2])))
    write_parquet(root / "test.parquet", *(test or ([encoded(p) for p in pictures(3, seed=1)], [2, 1, 0])))
    return Source.parse(f"parquet:{root}")


def same(a: Dataset, b: Dataset) -> bool:
    """Whether two data sets hold the same arrays, by checksum and by content."""
    return a.sha256 == b.sha256 and all(np.array_equal(x, b.arrays[name]) for name, x in a.arrays.items())


def photographs(
    root: Path, parts: Sequence[str] = ("train", "val"), classes: Sequence[str] = "ab", each: int = 3
) -> Source:
    """A folder of JPEGs of unlike sizes, a folder for each class."""
    seed = 0
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(each):
                seed += 1
                pixels = pictures(1, side=8 + seed, seed=seed)[0][: 8 + number]
                (root / part / name / f"{name}_{number}.JPEG").write_bytes(encoded(pixels, "JPEG"))
    return Source.parse(f"folder:{root}")


def write_shard(path: Path, members: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> None:
    """A tar file with these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
