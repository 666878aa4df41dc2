"""A data set as a tree of image files: train/CLASS/* and val/CLASS/*, or a flat val/* with its ground-truth file.

Fit for millions of files: names are listed by `os.scandir`, each file is asked for its size and time once, and no
object is made for it beyond its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import groundtruth
from bench.decode import SUFFIXES
from bench.errors import DataError
from bench.pages import Pages
from bench.source import Source

TESTS = ("test", "val", "valid", "validation")


class Listing(NamedTuple):
    """One part: the images' names below its folder, sorted by class and name; bytes and time (ns) of each; labels."""

    folder: str  # below the root
    names: list[str]
    sizes: np.ndarray
    times: np.ndarray
    labels: np.ndarray


class _Found(NamedTuple):
    name: str
    size: int
    time: int


def listed(source: Source, empty: bool = False) -> tuple[Listing, Listing, tuple[str, ...]]:
    """Both parts of `folder:DIR`, and the names of the classes, which are the folders' of the training part, sorted.

    `empty`: whether a class may have no training image; else it is told, as it tends to be what was not unpacked.

    Raises:
        DataError: when a part is missing, or classes or the ground truth do not fit.
        OSError: when a folder cannot be read.
    """
    root = Path(source.directory)
    if not root.is_dir():
        raise DataError(f"{source}: there is no such folder")
    train = _by_class(root / "train")
    if not any(train.values()):
        raise DataError(f"{source}: no train images; expected: train/CLASS/*.JPEG, or another image format")
    if not empty and (without := [name for name in sorted(train) if not train[name]]):
        raise DataError(f"{root / 'train' / without[0]}: no image in it; fill the class's folder, or remove it")
    classes = tuple(sorted(train))
    return _part("train", train, classes), _tests(source, root, classes), classes


def pages(root: Path, part: Listing) -> Pages:
    """The images of one part, each a file."""
    count, files = len(part.names), np.array([os.fsencode(f"{part.folder}/{name}") for name in part.names])
    start = np.zeros(count, np.int64)
    return Pages(root, files, np.arange(count, dtype=np.int32), start, part.sizes, part.labels)


def _tests(source: Source, root: Path, classes: tuple[str, ...]) -> Listing:
    """The first folder of `TESTS` with a folder a class, else the first with images and their ground truth."""
    for part in TESTS:
        found = {name: images for name, images in _by_class(root / part).items() if images}
        if unknown := sorted(found.keys() - set(classes)):
            known = ", ".join(classes) if len(classes) <= 20 else f"{len(classes):,} from {classes[0]} to {classes[-1]}"
            where = root / part / found[unknown[0]][0].name
            raise DataError(f"{where}: no training image has class {unknown[0]!r}; the classes: {known}")
        if found:
            return _part(part, found, classes)
    for part in ("val", "valid", "validation", "test"):  # ImageNet's flat test folder has no published labels
        if images := _images(root / part):
            labels = groundtruth.labels(root, root / part, [image.name for image in images], classes)
            return _arrays(part, images, np.array(labels, np.int64))
    raise DataError(f"{source}: no test images; expected: {' or '.join(TESTS)}, in it {groundtruth.EXPECTED}")


def _by_class(folder: Path) -> dict[str, list[_Found]]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return {name: list(_walk(f"{folder}/{name}", f"{name}/")) for name in names}


def _images(folder: Path) -> list[_Found]:
    return list(_walk(str(folder), "", below=False)) if folder.is_dir() else []


def _walk(folder: str, prefix: str, below: bool = True) -> Iterator[_Found]:
    """The images in a folder and, with `below`, in the folders in it, by name; what is hidden is passed over."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=attrgetter("name"))
    for entry in ordered:
        name = entry.name
        if name.startswith("."):
            continue
        if name[name.rfind(".") :].lower() in SUFFIXES and entry.is_file():
            stat = entry.stat()
            yield _Found(prefix + name, stat.st_size, stat.st_mtime_ns)
        elif below and entry.is_dir(follow_symlinks=False):
            yield from _walk(f"{folder}/{name}", f"{prefix}{name}/")


def _part(folder: str, found: dict[str, list[_Found]], classes: tuple[str, ...]) -> Listing:
    images = [image for name in classes for image in found.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(found.get(name, ())) for name in classes])
    return _arrays(folder, images, labels)


def _arrays(folder: str, images: list[_Found], labels: np.ndarray) -> Listing:
    names = [image.name for image in images]
    sizes, times = (np.array([image[i] for image in images], np.int64) for i in (1, 2))
    return Listing(folder, names, sizes, times, labels.astype(np.int64))
