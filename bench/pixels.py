"""What the pixels of a training set are on average: the mean that is subtracted, and how its colours vary.

Measured once on a sample, on threads, and kept in the cache with a checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import host, views
from bench.album import Album, Pages
from bench.cell import Recipe
from bench.errors import DataError
from bench.parts import replacing
from bench.split import split

SAMPLE = 10_000  # training images
ROUND = 500  # of them between two messages
# of RGB on a scale from 0 to 1, over ImageNet; printed with fb.resnet.torch's colour augmentation
PUBLISHED_VARIANCES = (0.2175, 0.0188, 0.0045)
PUBLISHED_DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Over the test views of a sample of training images, pixels from 0 to 1.

    `mean` is float32 [3, crop, crop]; `covariance` float64 [3, 3], of the colours of single pixels.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances float64 [3], largest first, and directions [3, 3], one a column."""
        variances, directions = np.linalg.eigh(self.covariance)
        return variances[::-1].clip(0), directions[:, ::-1]


def colour_shifts(pixels: Pixels, recipe: Recipe) -> np.ndarray | None:
    """What a colour moves by for each standard normal draw: float64 [3 of RGB, 3 of draws]; None for no shifts.

    Krizhevsky et al. (2012), section 4.1: directions times variances times draws of standard deviation 0.1.
    """
    if recipe.colour == "none":
        return None
    if recipe.colour == "own":
        variances, directions = pixels.principal
    else:
        variances, directions = np.array(PUBLISHED_VARIANCES), np.array(PUBLISHED_DIRECTIONS)
    return 0.1 * directions * variances


def statistics(
    album: Album, recipe: Recipe, told: Callable[[str], Any] = lambda _: None, cache: Path | None = None
) -> Pixels:
    """The pixels of what a recipe trains on, from the cache or measured; `told` hears how far that is.

    The sample is 10,000 images evenly spaced over the training part, all of them where there are fewer; those that
    cannot be decoded are left out.

    Raises:
        DataError: where no image of it can be decoded.
    """
    entry = (host.cache_directory() if cache is None else cache) / f"pixels-{_key(album, recipe)}.npz"
    if (known := _read(entry, recipe.crop_size)) is not None:
        return known
    chosen = split(album.train.labels, recipe, album.holdout).train
    sample = chosen[np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).round().astype(np.int64)]
    pixels = measure(album.train, sample, recipe.crop_size, told)
    try:
        _write(entry, pixels)
    except OSError as error:
        _log.warning("%s: the mean cannot be cached, so it is measured each time: %s", album.source, error)
    return pixels


def measure(pages: Pages, numbers: np.ndarray, crop: int, told: Callable[[str], Any] = lambda _: None) -> Pixels:
    """The pixels of the images with these numbers.

    Raises:
        DataError: where none can be decoded.
    """
    # sums of whole numbers, so that they do not depend on the order
    total, products, count = np.zeros((3, crop, crop), np.int64), np.zeros((3, 3), np.int64), 0
    with ThreadPoolExecutor(host.cores()) as threads:
        for start in range(0, len(numbers), ROUND):
            for view in threads.map(lambda number: _view(pages, number, crop), numbers[start : start + ROUND].tolist()):
                if view is not None:
                    flat = view.reshape(3, -1)
                    total += view
                    products += flat @ flat.T
                    count += 1
            told(f"the mean of {min(start + ROUND, len(numbers)):,} of {len(numbers):,} images")
    if not count:
        raise DataError(f"{pages.name(int(numbers[0]))}: cannot be decoded, nor any other image looked at")
    mean = total / count / 255
    colour = mean.mean((1, 2))
    covariance = products / (count * crop * crop) / 255**2 - np.outer(colour, colour)
    return Pixels(mean.astype(np.float32), covariance)


def _view(pages: Pages, number: int, crop: int) -> np.ndarray | None:
    try:
        return views.single(views.decode(pages.read(number)), crop).numpy().astype(np.int64)
    except (RuntimeError, OSError) as error:
        _log.warning("%s is left out of the mean: %s", pages.name(number), error)
        return None


def _key(album: Album, recipe: Recipe) -> str:
    said = [album.sha256, recipe.crop_size, recipe.split, recipe.split_seed, SAMPLE]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


# The cache: an archive of arrays whose last is the checksum of the others; what does not fit is measured again.


def _digest(arrays: Iterator[np.ndarray]) -> np.ndarray:
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


def _read(entry: Path, crop: int) -> Pixels | None:
    try:
        with np.load(io.BytesIO(entry.read_bytes()), allow_pickle=False) as stored:
            pixels = Pixels(stored["mean"], stored["covariance"])
            fits = pixels.mean.shape == (3, crop, crop) and pixels.covariance.shape == (3, 3)
            if not fits or (stored["sha256"] != _digest(iter(vars(pixels).values()))).any():
                raise ValueError("wrong checksum")
            return pixels
    except FileNotFoundError:
        return None
    except Exception as error:  # NumPy raises nearly anything on damaged bytes
        _log.info("%s is damaged, measuring again: %s", entry, error)
        return None


def _write(entry: Path, pixels: Pixels) -> None:
    content = io.BytesIO()
    np.savez(content, mean=pixels.mean, covariance=pixels.covariance, sha256=_digest(iter(vars(pixels).values())))
    with replacing(entry) as temporary:
        temporary.write_bytes(content.getvalue())
