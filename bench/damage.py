"""Damaged files of a results folder, found by their seals and set aside, so that what they held is run again.

damaged/<number>/<folder>/<name>     a file that was set aside, and those of the same run with it, as they were
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from bench import parts, seal
from bench.errors import StoreError
from bench.parted import is_part
from bench.parts import DamagedError, sync

PARTS = ("curves", "layers", "slices")  # tables with a file a run, which a row names
HISTORY = ("samples", "marks", "calibrations")
_OF_A_RUN = (("runs", ".parquet"), *((name, ".parquet") for name in PARTS), ("nets", ".pt"))


def find(root: Path, ids: Collection[str] | None = None) -> list[DamagedError]:
    """What is damaged of rows, of machines, and of the parts of these cells (None: of all, and the history).

    Every row is looked at, for whoever runs or plans one study reads them all.

    Raises:
        StoreError: for a file that cannot be read for another reason.
    """
    names = ("runs", "hosts", *PARTS, *(HISTORY if ids is None else ()))
    found = []
    for name in names:
        those = None if name not in PARTS else ids
        found += [damaged for path in _doubtful(root / name, those) if (damaged := _damage(Path(path)))]
    return found


def set_aside(root: Path, path: Path) -> Path | None:
    """Move a damaged file, with all else of its run, out of the tables; where it is then. Nothing is deleted.

    The cell's row goes first: from then on it is pending. None where nothing damaged is there any more. Others must be
    kept from writing meanwhile (`bench.leases`).

    Raises:
        StoreError: when a file cannot be moved.
    """
    if not _damage(path):
        return None
    number = 1 + max((int(p.name) for p in (root / "damaged").glob("*") if p.name.isdecimal()), default=0)
    aside = root / "damaged" / str(number)
    try:
        of_a_run = path.parent.name in ("runs", *PARTS)
        for file in list(_of_run(root, _cell(path))) if of_a_run else [path]:
            target = aside / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
            sync(target.parent)
            sync(file.parent)
    except OSError as error:
        raise StoreError(f"{path}: damaged, and cannot be set aside: {error.strerror or error}") from None
    return aside / path.relative_to(root)


def _damage(path: Path) -> DamagedError | None:
    try:
        parts.check(path)
    except DamagedError as damaged:
        return damaged
    except parts.GoneError:  # replaced by a later attempt
        pass
    return None


def _of_run(root: Path, cell_id: str) -> Iterator[Path]:
    for name, ending in _OF_A_RUN:
        yield from (root / name).glob(f"{cell_id}{ending}" if name == "runs" else f"{cell_id}-*{ending}")


def _doubtful(folder: Path, ids: Collection[str] | None) -> Iterator[str]:
    """Of these cells (None: of all), what does not hold by its seal alone."""
    with os.scandir(folder) if folder.is_dir() else contextlib.nullcontext(()) as entries:
        for entry in entries:
            asked = is_part(entry.name) and (ids is None or entry.name.partition("-")[0] in ids)
            if asked and not _holds(entry.path):
                yield entry.path


def _holds(path: str) -> bool:
    """As `parts.check`, for tens of thousands of files a second."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123
            return seal.check(file.read())
    except (OSError, ValueError):
        return False


def _cell(path: Path) -> str:
    return path.stem.partition("-")[0]
