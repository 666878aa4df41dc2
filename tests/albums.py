"""Made-up photographs of many sizes, in files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import _utils

from bench.album import Album, Pages

_utils.MP_STATUS_CHECK_INTERVAL = 0.2  # seconds to wait for loaders whose iterator Python's cyclic collector takes

SIZES = ((50, 40), (40, 52), (44, 44), (61, 40), (40, 80))  # width, height


def photograph(number: int, size: tuple[int, int] | None = None, brightness: int = 128) -> Image.Image:
    """A smooth picture in colour, another for each number."""
    width, height = size or SIZES[number % len(SIZES)]
    chance = np.random.default_rng(number)
    coarse = chance.integers(max(0, brightness - 100), min(256, brightness + 100), (5, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    """Its file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def pages(root: Path, files: Sequence[bytes], labels: Sequence[int]) -> Pages:
    """A part of an album: these files, written into `root`."""
    root.mkdir(parents=True, exist_ok=True)
    names = [f"{number:05}.JPEG" for number in range(len(files))]
    for name, data in zip(names, files, strict=True):
        (root / name).write_bytes(data)
    return Pages(
        root=root,
        files=np.array([name.encode() for name in names]),
        file=np.arange(len(files), dtype=np.int32),
        offset=np.zeros(len(files), np.int64),
        length=np.full(len(files), -1, np.int64),
        labels=np.array(labels, np.int64),
    )


def an_album(root: Path, train: int = 20, test: int = 6, classes: int = 2) -> Album:
    """Photographs of classes that differ in brightness."""

    def part(name: str, numbers: range) -> Pages:
        labels = [number % classes for number in numbers]
        shades = [60 + 140 * label // max(1, classes - 1) for label in labels]
        files = [jpeg(photograph(number, brightness=shade)) for number, shade in zip(numbers, shades, strict=True)]
        return pages(root / name, files, labels)

    parts = part("train", range(train)), part("val", range(1000, 1000 + test))
    return Album("folder:made", *parts, tuple("abcdefgh"[:classes]), sha256="5" * 64)


def folder(root: Path, train: int = 20, test: int = 6) -> Path:
    """The same photographs as a folder for each of two classes, dark and bright."""
    for part, numbers in (("train", range(train)), ("val", range(1000, 1000 + test))):
        for number in numbers:
            place = root / part / ("dark", "bright")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.JPEG").write_bytes(jpeg(photograph(number, brightness=(60, 200)[number % 2])))
    return root
