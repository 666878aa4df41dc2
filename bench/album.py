"""A data set of encoded images of any size, read by number while training. Imports no torch.

What is where is found once and cached: a million files take seconds to list, and less to take from the cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from bench import decode, folders, pack, shards
from bench.errors import DataError
from bench.folders import Listing
from bench.host import cache_directory
from bench.pages import Pages
from bench.parts import replacing
from bench.source import FROM_DIRECTORY, Source

FORMAT = 1  # of the cache; raise it when what is found changes
SAMPLED = 1000  # images of each part, evenly spaced, whose contents the checksum covers
PARTS = ("train", "test")
ARRAYS = ("files", "file", "offset", "length", "labels")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Album:
    """Encoded images for training and testing, of `classes` classes; decoded they have three channels.

    `source` is a `Source.identity`. `sha256` is over the classes' names, every image's label, name (below its part's
    folder, or in its tar file; parquet has none) and byte length, and the contents of `SAMPLED` evenly spaced images of
    each part: of all, where there are no more.
    """

    source: str
    train: Pages
    test: Pages
    class_names: tuple[str, ...]
    sha256: str
    channels: int = 3

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def holdout(self) -> int:
        """How many validation images `split = "holdout"` takes from the training set: a tenth, as section 4.2 does."""
        return (len(self.train) + 5) // 10


class _Found(NamedTuple):
    """What an album is made of; the names count in its checksum alone."""

    parts: tuple[Pages, Pages]
    classes: tuple[str, ...]
    names: Sequence[Sequence[bytes]]


def load(source: Source, cache: Path | None = None, expected: str | None = None) -> Album:
    """The album of `source`: its index from `cache` (default: `cache_directory()`), else made and cached.

    A cached index is valid as long as the files' names, sizes and times are what they were. With `expected`, a
    `sha256`, the cached index of that checksum is taken without looking at the files; else what is there is loaded,
    whatever its checksum. Images of `parquet:DIR` are copied into the cache, others stay where they are.

    Raises:
        DataError: when the source is absent, unreadable or does not fit; names the file, and the row counted from 0.
    """
    if source.kind not in FROM_DIRECTORY:
        raise DataError(f"{source}: no images of any size; expected: {', '.join(f'{k}:DIR' for k in FROM_DIRECTORY)}")
    entry = (cache_directory() if cache is None else cache) / f"album-{source.cache_key}"
    if expected and (album := _read(entry, source, expected=expected)):
        return album
    try:
        if source.kind == "parquet":
            entry.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{entry}.lock"):  # what is copied is large: nobody else does the same meanwhile
                return _load(entry, source)
        return _load(entry, source)
    except OSError as error:
        raise DataError(f"{source}: {error}") from None


def _load(entry: Path, source: Source) -> Album:
    listed = folders.listed(source) if source.kind == "folder" else decode.files_of(source)
    origin = _origin(*listed[:2]) if source.kind == "folder" else decode.origin(source, listed)
    if album := _read(entry, source, origin=origin):
        return album
    found = _found(source, listed, entry)
    album = Album(source.identity, *found.parts, found.classes, _checksum(found.classes, found.parts, found.names))
    try:
        _write(entry, album, origin)
    except OSError as error:
        _log.warning("the index of %s cannot be cached, so it is made each time: %s", source, error)
    return album


def _found(source: Source, listed: Any, entry: Path) -> _Found:
    if source.kind == "folder":
        train, test, classes = listed
        names = [[os.fsencode(name) for name in part.names] for part in (train, test)]
        root = Path(source.directory)
        return _Found((folders.pages(root, train), folders.pages(root, test)), classes, names)
    if source.kind == "webdataset":
        train, test, classes, names = shards.pages(source, listed)
        return _Found((train, test), classes, names)
    train, test, classes = pack.pages(source, listed, Path(f"{entry}.bin"))
    return _Found((train, test), classes, ((), ()))


def _origin(*parts: Listing) -> str:
    """A hash of a folder's listing: names, sizes, times and what the ground truth says."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update("\0".join([part.folder, *part.names]).encode("utf-8", "surrogateescape"))
        for array in (part.sizes, part.times, part.labels):
            digest.update(array.data)
    return digest.hexdigest()


def _checksum(classes: Sequence[str], parts: Sequence[Pages], names: Sequence[Sequence[bytes]]) -> str:
    digest = hashlib.sha256(json.dumps([*classes, len(parts[0]), len(parts[1])]).encode())
    for part, part_names in zip(parts, names, strict=True):
        digest.update(part.labels.data)
        digest.update(part.length.data)
        digest.update(b"\0".join(part_names))
        digest.update(_contents(part))
    return digest.hexdigest()


def _contents(part: Pages) -> bytes:
    digest = hashlib.sha256()
    for number in np.unique(np.linspace(0, len(part) - 1, SAMPLED).astype(int)):
        try:
            digest.update(part.read(int(number)))
        except OSError as error:
            raise DataError(f"{part.name(int(number))}: cannot be read: {error.strerror or error}") from None
    return digest.digest()


# The cache of an album: KEY.npz, its arrays, and KEY.json, which says what they are of; for parquet KEY.bin, its
# images, of which those that the checksum covers are read again whenever the files are looked at.


def _read(entry: Path, source: Source, origin: str | None = None, expected: str | None = None) -> Album | None:
    """The cached album; None when there is none, it is damaged, or of other files or another checksum."""
    try:
        manifest = json.loads(Path(f"{entry}.json").read_bytes())
        if (manifest["format"], manifest["source"]) != (FORMAT, source.identity):
            return None
        if (origin and manifest["origin"] != origin) or (expected and manifest["sha256"] != expected):
            return None
        with Path(f"{entry}.npz").open("rb") as file:
            index = hashlib.file_digest(file, "sha256").hexdigest()
        if index != manifest["index"] or manifest.pop("seal") != _seal(manifest):
            raise ValueError("wrong checksum")
        train, test = (_part(entry, source, part, manifest) for part in PARTS)
        album = Album(source.identity, train, test, tuple(manifest["classes"]), manifest["sha256"])
        if source.kind == "parquet" and not _is_whole(album, looked_at=origin is not None):
            raise ValueError("the copied images are not what they were")
        return album
    except FileNotFoundError:
        return None
    except Exception as error:  # json and NumPy raise nearly anything on damaged bytes
        _log.info("%s is damaged, making the index of %s again: %s", entry, source, error)
        return None


def _is_whole(album: Album, looked_at: bool) -> bool:
    """Whether the copied images are all there and, with `looked_at`, their checksum is right."""
    parts = album.train, album.test
    if album.train.path(0).stat().st_size != sum(int(part.length.sum()) for part in parts):
        return False
    return not looked_at or _checksum(album.class_names, parts, ((), ())) == album.sha256


def _part(entry: Path, source: Source, part: str, manifest: dict[str, Any]) -> Pages:
    with np.load(f"{entry}.npz", allow_pickle=False) as arrays:
        columns = [arrays[f"{part}_{name}"] for name in ARRAYS]
    root = entry.parent if source.kind == "parquet" else Path(source.directory)
    return Pages(root, *columns, rows=tuple(map(tuple, manifest["rows"][part])))


def _write(entry: Path, album: Album, origin: str) -> None:
    parts = dict(zip(PARTS, (album.train, album.test), strict=True))
    with replacing(Path(f"{entry}.npz")) as temporary, temporary.open("w+b") as file:
        np.savez(file, **{f"{part}_{name}": getattr(pages, name) for part, pages in parts.items() for name in ARRAYS})
        file.seek(0)
        index = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = {"format": FORMAT, "source": album.source, "origin": origin, "sha256": album.sha256, "index": index}
    manifest |= {"classes": album.class_names, "rows": {part: pages.rows for part, pages in parts.items()}}
    with replacing(Path(f"{entry}.json")) as temporary:
        temporary.write_text(json.dumps(manifest | {"seal": _seal(manifest)}))


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
