"""Data sets with names of their own: digits, which comes with scikit-learn; CIFAR, downloaded when asked for; noise."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import tempfile
import warnings
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import Any

import numpy as np

from bench.decode import Decoded, Part
from bench.errors import DataError, FieldError
from bench.host import cache_directory
from bench.source import SHAPES, Source
from bench.split import stratified

DIGITS_TEST = 300
NOISE_BYTES, LEAST_NOISE = 40_000_000, 300  # of pixels, or thereabouts, and images: to train, a batch of 256
DOWNLOADED = ("cifar10", "cifar100")
NETWORK_TIMEOUT = 30  # seconds without a byte


def datasets_directory() -> Path:
    """Where downloaded data sets are kept, in torchvision's layout."""
    return cache_directory() / "datasets"


def digits() -> Decoded:
    """scikit-learn's 1,797 scans of 8 x 8 pixels, 0 to 16 scaled to 0 to 255: 1,497 for training, 300 for testing."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = np.rint(scans.images * 255 / 16).astype(np.uint8)[:, np.newaxis]
    labels = scans.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    test[stratified(labels, DIGITS_TEST, seed=0)] = True
    return Part(images[~test], labels[~test]), Part(images[test], labels[test]), tuple("0123456789")


def noise(source: Source) -> Decoded:
    """Pixels and labels drawn evenly, the same each time: noise32 of CIFAR's shape, noise224 of ImageNet's."""
    channels, side, classes = SHAPES[source.kind]
    chance = np.random.default_rng(0)
    count = max(LEAST_NOISE, NOISE_BYTES // (channels * side * side) // 100 * 100)
    images = chance.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    labels = chance.integers(0, classes, count)
    tested = count // 10
    train, test = Part(images[tested:], labels[tested:]), Part(images[:tested], labels[:tested])
    return train, test, tuple(map(str, range(classes)))


def cifar(source: Source) -> Decoded:
    """CIFAR-10 or CIFAR-100, downloaded before: 50,000 images for training, 10,000 for testing (section 4.2).

    Raises:
        DataError: when it is absent or damaged.
    """
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
