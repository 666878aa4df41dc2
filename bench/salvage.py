"""Packs written, and written anew without what is lost or unwanted; one process of a results folder at a time does it.

.footers/<pack>     a copy of each pack's footer, for what a damaged one holds is told by it
.packing/           packs under way, of which nothing is read
.packing.lock       who writes packs now
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from bench import packed, parts
from bench.errors import StoreError
from bench.packed import Pack
from bench.parted import Parted
from bench.parts import DamagedError, GoneError


@contextlib.contextmanager
def packing(root: Path) -> Iterator[None]:
    """Be the one that writes packs, within; what a killed one left half-written is cleared.

    Raises:
        StoreError: when another is, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".packing.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(f"{root}: another resbench compacts or repairs it; wait for it") from None
    except OSError as error:
        raise StoreError(f"{root}: {error.strerror or error}") from None
    try:
        shutil.rmtree(root / ".packing", ignore_errors=True)
        for copy in (root / ".footers").glob("*.parquet"):
            if not any(root.glob(f"*/{copy.name}")):
                copy.unlink(missing_ok=True)
        yield
    finally:
        shutil.rmtree(root / ".packing", ignore_errors=True)
        lock.release()


def under_way(table: Parted, name: str) -> Path:
    """Where a pack of this name is written, until it is whole."""
    path = table.root / ".packing" / name
    path.parent.mkdir(exist_ok=True)
    return path


def publish(table: Parted, path: Path) -> None:
    """Make a whole pack part of its table."""
    with Pack(path) as pack:
        copy = table.root / ".footers" / path.name
        with parts.replacing(copy) as temporary:
            temporary.write_bytes(pack.footer)
    parts.sync(path)
    path.rename(table.folder / path.name)
    parts.sync(table.folder)


def forget_footer(table: Parted, path: Path) -> None:
    """The copy, when the pack is no more."""
    (table.root / ".footers" / path.name).unlink(missing_ok=True)


def lost(table: Parted, path: Path) -> set[str] | None:
    """The stems of a pack whose rows cannot be read any more; None where it cannot be told."""
    with opened(table, path) as pack:
        return lost_of(pack) if pack else None


def rewrite(table: Parted, path: Path, without: Collection[str], original: Path) -> None:
    """Write a pack anew without these stems and what cannot be read of it; the file that was, is `original` then."""
    with opened(table, path) as pack:
        if pack and (stems := pack.stems - lost_of(pack) - set(without)):
            anew = under_way(table, packed.name(packed.number(path.name) or 0))
            packed.write(anew, blocks(pack, stems, pack.schema, table.newest), pack.schema)
            publish(table, anew)
    original.parent.mkdir(parents=True, exist_ok=True)
    path.rename(original)
    forget_footer(table, path)
    parts.sync(original.parent)
    parts.sync(table.folder)


def lost_of(pack: Pack) -> set[str]:
    """The stems in damaged blocks."""
    return set().union(*(pack.blocks[n].rows for n in pack.damaged()))


def blocks(
    pack: Pack, stems: Collection[str], schema: pa.Schema, newest: int
) -> Iterable[tuple[dict[str, int], pa.Table]]:
    """What a pack holds of these stems, block by block."""
    for block in pack.blocks:
        if here := {stem: count for stem, count in block.rows.items() if stem in stems}:
            yield here, pack.read(here.keys(), schema, newest).combine_chunks()


@contextlib.contextmanager
def opened(table: Parted, path: Path) -> Iterator[Pack | None]:
    """A pack, by the copy of its footer where its own is damaged; None where that is no help."""
    with contextlib.ExitStack() as stack:
        try:
            pack = stack.enter_context(Pack(path))
        except DamagedError:
            try:
                footer = (table.root / ".footers" / path.name).read_bytes()
                pack = stack.enter_context(Pack(path, footer))
            except (OSError, DamagedError, GoneError):
                pack = None
        yield pack
