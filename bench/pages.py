"""Encoded images of any size, read one by one: files of a folder, members of tar files, pieces of one long file."""

from __future__ import annotations

import bisect
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.texts import printable

REST = -1  # a length: to the file's end


@dataclass(frozen=True, eq=False)
class Pages:
    """One part of a data set: N encoded images, and where each of them lies.

    `files` are names relative to `root`, bytes of a fixed width; image n is `length[n]` bytes (or `REST`) from byte
    `offset[n]` on in `files[file[n]]`: int32, int64 and int64 [N]. `labels` are int64 [N]. Where the images were copied
    together, `rows` names the parquet files that they come from, each with the number of its first image.
    """

    root: Path
    files: np.ndarray = field(repr=False)
    file: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    length: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    rows: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("files", "file", "offset", "length", "labels"):
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def every(self, step: int, first: int = 0) -> Pages:
        """Each `step`-th image from `first` on, of images that are files of their own."""
        one = slice(first, None, step)
        files, labels = self.files[self.file[one]], self.labels[one]
        return Pages(
            self.root, files, np.arange(len(files), dtype=np.int32), self.offset[one], self.length[one], labels
        )

    def path(self, number: int) -> Path:
        """The file that holds an image."""
        return self.root / os.fsdecode(bytes(self.files[self.file[number]]))

    def read(self, number: int) -> bytes:
        """An encoded image.

        Raises:
            OSError: where the file is gone, unreadable, or shorter than when it was listed; `name` tells which it is.
        """
        offset, length = int(self.offset[number]), int(self.length[number])
        with self.path(number).open("rb", buffering=0) as file:
            if offset:
                file.seek(offset)
            data = _read(file, length)
        if length not in (REST, len(data)):
            raise OSError(f"{len(data):,} bytes of the {length:,} it had when it was listed")
        return data

    def name(self, number: int) -> str:
        """Where an image lies, for messages: its path, and the member of a tar file or the row, counted from 0."""
        if self.rows:
            origin, first = self.rows[bisect.bisect_right(self.rows, number, key=lambda row: row[1]) - 1]
            return f"{origin}, row {number - first}"
        path = self.path(number)
        where = f", {_member(path, int(self.offset[number]))}" if self.offset[number] else ""
        return printable(f"{path}{where}")


def _read(file: object, length: int) -> bytes:
    """That many bytes, or what there is: one call gives 2 GiB at most, and may give less than is asked for."""
    pieces, left = [], length
    while left and (piece := file.read(left)):  # type: ignore[attr-defined]
        pieces.append(piece)
        left -= len(piece) if length != REST else 0
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _member(path: Path, offset: int) -> str:
    """The member of a tar file whose content begins there: its header's name, of long ones the beginning."""
    try:
        with path.open("rb") as file:
            file.seek(offset - tarfile.BLOCKSIZE)
            header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except (OSError, tarfile.HeaderError):
        return f"at byte {offset}"
    return f"member {header.name}" + "…" * (len(os.fsencode(header.name)) == tarfile.LENGTH_NAME)
