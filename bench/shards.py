"""A data set in tar files, as WebDataset writes them: what begins alike belongs together, `0001.jpg` and `0001.cls`.

Nothing is unpacked: images are read where they lie, and members' names name no file of this machine.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import decode
from bench.decode import Decoded, Files
from bench.errors import DataError, in_a_line, shown
from bench.pages import Pages
from bench.source import Source

IMAGES = ("jpg", "jpeg", "png", "webp")
LABELS = ("cls", "json")
LONGEST_LABEL = 1 << 20  # bytes of a JSON file


class Sample(NamedTuple):
    """One image: its name in the tar file, where its content lies, and its label."""

    name: str
    offset: int
    length: int
    label: int


def pages(source: Source, files: Files) -> tuple[Pages, Pages, tuple[str, ...], list[list[bytes]]]:
    """Both parts, the classes' names (their numbers), and the members' names.

    Raises:
        DataError: when a tar file is damaged or compressed, or an image has no label; names the file and the member.
    """
    parts = [[(number, sample) for number, file in enumerate(part) for sample in samples(file)] for part in files]
    counts = [len(part) for part in parts]
    if not all(counts):
        raise DataError(f"{source}: {counts[0]} training and {counts[1]} test images; allowed: at least one of each")
    train, test = (_pages(Path(source.directory), paths, part) for paths, part in zip(files, parts, strict=True))
    classes = decode.numbered(source, train.labels)
    for number in np.flatnonzero(test.labels >= len(classes))[:1]:
        decode.check_label(test.name(number), int(test.labels[number]), len(classes))
    return train, test, classes, [[os.fsencode(sample.name) for _, sample in part] for part in parts]


def decoded(source: Source, files: Files) -> Decoded:
    """Both parts as arrays, where all images have one size (`decode`)."""
    train, test, classes, _ = pages(source, files)

    def rows(part: Pages) -> Iterator[decode.Row]:
        return ((part.name(n), io.BytesIO(part.read(n)), int(part.labels[n])) for n in range(len(part)))

    return decode.stacked(source, [rows(train), rows(test)], [len(train), len(test)], classes)


def samples(file: Path) -> Iterator[Sample]:
    """The images of one tar file, in its order."""
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    size = file.stat().st_size
    try:
        with tarfile.open(file, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # they'd be kept: a kilobyte a member
                if tar.offset <= member.offset:  # a length below 0 leads back, on and on
                    raise DataError(f"{file}: damaged at byte {member.offset}")
                if member.isreg():
                    _take(file, tar, member, size, images, labels)
            tar.fileobj.seek(tar.offset)  # tarfile takes a damaged or missing header for the end
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{file}: damaged or cut short at byte {tar.offset}")
    except DataError:
        raise
    except Exception as error:  # tarfile raises nearly anything on damaged bytes
        raise DataError(f"{file}: not a readable, uncompressed tar file: {in_a_line(error)}") from None
    for key, (name, offset, length) in images.items():
        if key not in labels:
            raise DataError(f"{file}, member {name}: no label; expected: {key}.cls, or {key}.json with `label`")
        yield Sample(name, offset, length, labels[key])


def _take(file: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, size: int, images: dict, labels: dict) -> None:
    """One member: an image, a label, or neither."""
    where = f"{file}, member {member.name}"
    folder, slash, base = member.name.rpartition("/")
    stem, _, suffix = base.partition(".")
    key, suffix = folder + slash + stem, suffix.lower()
    if not stem or suffix not in (*IMAGES, *LABELS):
        return
    if member.issparse():
        raise DataError(f"{where}: a sparse file; write it as a plain one")
    if member.offset_data + member.size > size:
        raise DataError(f"{where}: ends at byte {member.offset_data + member.size} of {size}: the file was cut short")
    if suffix in IMAGES:
        if key in images:
            raise DataError(f"{where}: a second image of that name, after {images[key][0]}")
        images[key] = member.name, member.offset_data, member.size
    elif suffix == "cls" or key not in labels:
        labels[key] = _label(where, suffix, _content(tar, member))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """A small file's, read without the object that `extractfile` makes."""
    tar.fileobj.seek(member.offset_data)
    return tar.fileobj.read(min(member.size, LONGEST_LABEL))


def _label(where: str, suffix: str, content: bytes) -> int:
    if suffix == "cls":
        text = content.strip()
        value = int(text) if text.isdigit() and len(text) <= 9 else text.decode("utf-8", "replace")
    else:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise DataError(f"{where}: not readable as JSON") from None
        value = value.get("label") if isinstance(value, dict) else None
    if type(value) is not int or not 0 <= value < 10**9:
        raise DataError(f"{where}: label {shown(value)}; allowed: whole numbers from 0 on")
    return value


def _pages(root: Path, files: list[Path], part: list[tuple[int, Sample]]) -> Pages:
    return Pages(
        root,
        np.array([os.fsencode(file.relative_to(root)) for file in files]),
        np.array([number for number, _ in part], np.int32),
        *(np.array([sample[field] for _, sample in part], np.int64) for field in (1, 2, 3)),
    )
