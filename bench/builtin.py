"""Data sets with names of their own: digits, which comes with scikit-learn; CIFAR, downloaded when asked for; noise."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import shutil
import socket
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from bench.decode import Decoded, Part
from bench.errors import DataError, FieldError, in_a_line
from bench.host import cache_directory
from bench.source import SHAPES, Source
from bench.split import stratified

DIGITS_TEST = 300
NOISE_BYTES, LEAST_NOISE = 40_000_000, 300  # of pixels, or thereabouts, and images: to train, a batch of 256
DOWNLOADED = ("cifar10", "cifar100")
ARRAY = {("numpy", "ndarray"), ("numpy", "dtype")}  # what an array is made of in a pickle
ARRAY |= {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
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
    kind = _kind(source)
    train, test = (_part([_batch(source, *listed) for listed in files]) for files in (kind.train_list, kind.test_list))
    names = _batch(source, kind.meta["filename"], kind.meta["md5"])[kind.meta["key"]]
    return train, test, tuple(names)


def _kind(source: Source) -> Any:
    """torchvision's class of that data set, which knows its files, their checksums, and where they come from."""
    from torchvision import datasets

    return getattr(datasets, source.kind.upper())


def _part(batches: Sequence[dict[str, Any]]) -> Part:
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [batch["labels"] if "labels" in batch else batch["fine_labels"] for batch in batches]
    return Part(images, np.concatenate(labels).astype(np.int64))


def _batch(source: Source, name: str, checksum: str) -> dict[str, Any]:
    """What a file of that checksum holds."""
    path = datasets_directory() / _kind(source).base_folder / name
    advice = f"run `resbench data {source}`"
    try:
        content = path.read_bytes()
    except OSError:
        raise DataError(f"{source}: absent from {datasets_directory()} or damaged; {advice}") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != checksum:
        raise DataError(f"{path}: absent or damaged; {advice}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 to 2.4.4 deprecate how CIFAR was pickled
            return _Arrays(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a pickle that isn't what it should be raises nearly anything
        raise DataError(f"{path}: not a batch of {source} ({in_a_line(error)}); {advice}") from None


class _Arrays(pickle.Unpickler):
    """Reads pickles of arrays, texts and numbers. What else a pickle may name it would also run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # of bytes, as Python 3 writes them for Python 2
            return lambda text, _: text.encode("latin1")
        if (module, name) not in ARRAY:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and no array needs that")
        return super().find_class(module, name)


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
    from torchvision.datasets.utils import check_integrity, download_url

    data, place = _kind(source), datasets_directory()
    folder, archive = place / data.base_folder, place / data.filename
    with contextlib.suppress(DataError):
        cifar(source)
        return folder
    output = contextlib.nullcontext() if progress else contextlib.redirect_stderr(io.StringIO())
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=place) as temporary, output:
            arrived = archive
            if not check_integrity(archive, data.tgz_md5):
                arrived = Path(temporary, archive.name)
                download_url(data.url, temporary, archive.name, data.tgz_md5)
            with tarfile.open(arrived, "r:gz") as tar:
                tar.extractall(temporary, filter="data")
            if not (unpacked := Path(temporary, folder.name)).is_dir():
                raise RuntimeError(f"it holds no {folder.name}")
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.replace(folder)
    except (RuntimeError, EOFError, zlib.error, tarfile.TarError, HTTPException) as error:
        raise DataError(f"{data.url}: what arrived is incomplete or of a wrong checksum; try again ({error})") from None
    except OSError as error:
        by_hand = f"without a network, put {archive.name} into {place} and run the command again"
        raise DataError(f"{data.url} cannot be downloaded into {place}: {error}; {by_hand}") from None
    finally:
        socket.setdefaulttimeout(timeout)
    return folder
