"""The encoded images of parquet files, copied once into one file, so that each can be read by itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bench import decode
from bench.decode import Files
from bench.errors import DataError
from bench.pages import Pages
from bench.parts import replacing
from bench.source import Source

MOST = 1 << 31  # a label, before it is known how many classes there are


def pages(source: Source, files: Files, target: Path) -> tuple[Pages, Pages, tuple[str, ...]]:
    """Copy the images of `parquet:DIR` into `target`, whole or not at all; both parts, and the classes' names.

    Raises:
        DataError: when a file, a column or a label does not fit (names the file and the row, counted from 0), or the
            disk has no room.
    """
    _make_room(source, files, target)
    names = decode.class_names(files.train[0])
    try:
        with replacing(target) as temporary, temporary.open("wb") as file:
            train, test = (_copied(part, target, file, len(names or range(MOST))) for part in files)
            if not (len(train) and len(test)):
                counts = f"{len(train)} training and {len(test)} test images"
                raise DataError(f"{source}: {counts}; allowed: at least one of each")
            classes = names or _numbered(source, train, test)
            file.flush()
    except OSError as error:
        raise DataError(f"{source}: its images cannot be copied into {target.parent}: {error}") from None
    return train, test, classes


def _numbered(source: Source, train: Pages, test: Pages) -> tuple[str, ...]:
    _check(train, len(train))  # K classes need K images
    classes = decode.numbered(source, train.labels)
    _check(test, len(classes))
    return classes


def _make_room(source: Source, files: Files, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # of a process that was killed
        left.unlink(missing_ok=True)
    needed, free = sum(map(_size, [*files.train, *files.test])), shutil.disk_usage(target.parent).free
    if needed > free:
        raise DataError(
            f"{source}: its images take about {needed / 1e9:.1f} GB, and {target.parent} has {free / 1e9:.1f} GB free; "
            "set RESBENCH_CACHE to a folder with more"
        )


def _size(file: Path) -> int:
    """Bytes of the images in a parquet file, as its own footer tells."""
    with decode.opened(file) as table:
        column = decode.columns_of(file, table.schema_arrow)[0]
        groups = [table.metadata.row_group(n) for n in range(table.metadata.num_row_groups)]
        chunks = [group.column(c) for group in groups for c in range(group.num_columns)]
        return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)


def _copied(files: list[Path], target: Path, file: BinaryIO, classes: int) -> Pages:
    lengths, labels, rows, start = [], [], [], file.tell()
    for origin in files:
        rows.append((str(origin), len(lengths)))
        for row, (data, label) in enumerate(decode.encoded_rows(origin)):
            decode.check_label(f"{origin}, row {row}", label, classes)
            file.write(data)
            lengths.append(len(data))
            labels.append(label)
    length = np.array(lengths, np.int64)
    offset = start + np.cumsum(length) - length
    number = np.zeros(len(length), np.int32)
    here = np.array([os.fsencode(target.name)])
    return Pages(target.parent, here, number, offset, length, np.array(labels, np.int64), tuple(rows))


def _check(part: Pages, classes: int) -> None:
    for number in np.flatnonzero(part.labels >= classes)[:1]:
        decode.check_label(part.name(number), int(part.labels[number]), classes)
