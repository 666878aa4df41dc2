"""Damaged files of a results folder, found by their seals and set aside, so that what they held is run again.

damaged/<number>/<folder>/<name>     a file that was set aside, and those of the same runs with it, as they were
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from bench import packed, parts, salvage, seal
from bench.errors import StoreError
from bench.packed import Pack
from bench.parted import Parted, is_part
from bench.parts import DamagedError, GoneError, sync
from bench.run import FINAL

PARTS = ("curves", "layers", "slices")  # tables with a file a run, which a row names
HISTORY = ("samples", "marks", "calibrations")


class Aside(NamedTuple):
    """Where a file was moved to, and how many cells lose by it and are to run again; None: nobody can tell."""

    path: Path
    cells: int | None

    def __str__(self) -> str:
        if self.cells is None:
            return f"set aside as {self.path}; which cells lose something by it cannot be told"
        return f"set aside as {self.path}, {self.cells or 'no'} cell{'s' if self.cells != 1 else ''} of it to run again"


def named(paths: Collection[Path]) -> str:
    """The first of some files, and how many more there are."""
    return f"{min(paths)}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"


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
        found += [harm for path in _doubtful(root / name, those) if (harm := _damage(Path(path), those))]
    return found


def lacking(tables: Mapping[str, Parted], ids: Iterable[str] | None = None) -> dict[str, Path]:
    """Of these cells (None: of all) those that ended for good and have no curve, with the file where it should be.

    Raises:
        StoreError: when a table is damaged or newer.
    """
    rows = tables["runs"].read(ids, ["cell_id", "run_id", "outcome"])
    return {_cell(stem): tables["curves"].file(stem) for stem in sorted(_final(rows) - tables["curves"].stems())}


def lacks(rows: pa.Table, curves: pa.Table) -> set[str]:
    """The cells whose curves rows of `runs` name and that are not there."""
    have = set(curves["run_id"].unique().to_pylist())
    return {_cell(stem) for stem in _final(rows) if stem.partition("-")[2] not in have}


def _final(rows: pa.Table) -> set[str]:
    """The stems of those that ended for good."""
    rows = rows.select(["cell_id", "run_id", "outcome"]).to_pylist()
    return {f"{row['cell_id']}-{row['run_id']}" for row in rows if row["outcome"] in FINAL}


def set_aside(tables: Mapping[str, Parted], root: Path, path: Path) -> Aside | None:
    """Move a damaged file, and all of the runs that lose something by it, out of the tables.

    Nothing is deleted. Rows go first: from then on their cells are pending. Of a pack, what is whole stays. None where
    nothing damaged is there any more. Others must be kept from writing meanwhile (`bench.leases`).

    Raises:
        StoreError: when a file cannot be moved.
    """
    name = path.parent.name
    try:
        with salvage.packing(root):
            if not _damage(path):
                return None
            aside = _next(root)
            cells = _cells(tables, path) if name in ("runs", *PARTS) else set()
            _set_runs_aside(tables, root, cells or (), aside)
            if packed.number(path.name) is not None and path.exists():
                salvage.rewrite(tables[name], path, (), aside / name / path.name)
            elif path.exists():
                _move(root, path, aside)
    except OSError as error:
        raise StoreError(f"{path}: damaged, and cannot be set aside: {error.strerror or error}") from None
    return Aside(aside / path.relative_to(root), None if cells is None else len(cells))


def withdraw(tables: Mapping[str, Parted], root: Path, ids: Iterable[str]) -> tuple[list[Path], Path]:
    """Move out of the tables those of these cells' runs that lack a curve; the curves' files, and where the rest is.

    Others must be kept from writing meanwhile (`bench.leases`).

    Raises:
        StoreError: when one cannot be moved.
    """
    try:
        with salvage.packing(root):
            gone, aside = lacking(tables, ids), _next(root)
            _set_runs_aside(tables, root, gone, aside)
    except OSError as error:
        raise StoreError(f"{root}: runs without a curve cannot be set aside: {error.strerror or error}") from None
    return list(gone.values()), aside


def _next(root: Path) -> Path:
    """Where what is set aside next goes."""
    number = 1 + max((int(p.name) for p in (root / "damaged").glob("*") if p.name.isdecimal()), default=0)
    return root / "damaged" / str(number)


def _cells(tables: Mapping[str, Parted], path: Path) -> set[str] | None:
    """The cells that lose something by a damaged file; None where that cannot be told."""
    if packed.number(path.name) is None:
        return {_cell(path.stem)}
    table = tables[path.parent.name]
    stems = salvage.lost(table, path)
    if stems is None and table.name == "curves":  # every run that ended well has one
        rows = tables["runs"].read(columns=["cell_id", "run_id", "outcome"])
        own, packs = table.listing()
        left = {Path(name).stem for name in own}
        for name in packs:
            with salvage.opened(table, table.folder / name) as pack:
                left |= pack.stems - salvage.lost_of(pack) if pack else set()
        stems = _final(rows) - left
    return None if stems is None else {_cell(stem) for stem in stems}


def _set_runs_aside(tables: Mapping[str, Parted], root: Path, cells: Collection[str], aside: Path) -> None:
    rows = tables["runs"]
    for cell_id in cells:
        if rows.file(cell_id).exists():
            _move(root, rows.file(cell_id), aside)
    for name in rows.listing()[1]:
        with salvage.opened(rows, rows.folder / name) as pack:
            here = pack is not None and not pack.stems.isdisjoint(cells)
        if here:
            salvage.rewrite(rows, rows.folder / name, cells, aside / "runs" / name)
    for folder, ending in (*((name, ".parquet") for name in PARTS), ("nets", ".pt")):
        for file in sorted((root / folder).glob(f"*-*{ending}")) if cells else ():
            if _cell(file.stem) in cells:
                _move(root, file, aside)


def _move(root: Path, file: Path, aside: Path) -> None:
    target = aside / file.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    sync(target.parent)
    sync(file.parent)


def _damage(path: Path, ids: Collection[str] | None = None) -> DamagedError | None:
    try:
        if packed.number(path.name) is None:
            parts.check(path)
            return None
        with Pack(path) as pack:
            asked = None if ids is None else pack.holding({stem for stem in pack.stems if _cell(stem) in ids})
            if harmed := pack.damaged(asked):
                return DamagedError(path, f"{len(harmed)} of its {len(pack.blocks)} blocks")
    except DamagedError as damaged:
        return damaged
    except GoneError:  # replaced by a later attempt, or packed
        pass
    return None


def _doubtful(folder: Path, ids: Collection[str] | None) -> Iterator[str]:
    """Packs, and what of these cells (None: of all) does not hold by its seal alone."""
    with os.scandir(folder) if folder.is_dir() else contextlib.nullcontext(()) as entries:
        for entry in entries:
            asked = is_part(entry.name) and (ids is None or _cell(entry.name) in ids)
            if packed.number(entry.name) is not None or (asked and not _holds(entry.path)):
                yield entry.path


def _holds(path: str) -> bool:
    """As `parts.check`, for tens of thousands of files a second."""
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123
            return seal.check(file.read())
    except (OSError, ValueError):
        return False


def _cell(stem: str) -> str:
    return stem.partition("-")[0]
