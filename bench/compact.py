"""`resbench compact`: rows of many part files written into few packs, without changing one value.

Only what never runs again is packed. A pack is read back and compared with what it was made of before any of that is
removed, and what has a file of its own counts by that alone: a kill at any moment loses and doubles nothing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bench import damage, packed, parts, salvage
from bench.errors import InputError, StoreError
from bench.leases import Leases
from bench.packed import Pack
from bench.parted import Parted
from bench.run import FINAL
from bench.store import Store

PACK_ROWS = 1_000_000  # in a pack at most, but for its last block; one of half as many is not written again
TIER = 2  # a pack of up to so many times as many stems as are written beside it is written again
_AT_ONCE = 200  # files removed while others wait


@dataclass(frozen=True)
class Outcome:
    """What became of a table: how many files were packed, how many were left though their cells have ended (of unknown
    columns, or used just now), and how many packs there are."""

    table: str
    packed: int
    left: int
    packs: int


def compact(store: Store) -> Iterator[Outcome]:
    """Pack the tables of a results folder, one by one, while others read and write there.

    Raises:
        InputError: where there is no such folder.
        StoreError: when another compacts it, a file is damaged or newer, or the folder cannot be written.
    """
    if not store.root.is_dir():
        raise InputError(f"--results {store.root}: {'is no' if store.root.exists() else 'no such'} folder")
    with salvage.packing(store.root), store.writing() as leases:
        for name in (*damage.PARTS, "runs"):
            try:
                with _Packing(store, store.table(name), leases) as packing:
                    yield packing.run()
            except (OSError, pa.ArrowException) as error:
                reason = getattr(error, "strerror", None) or error
                raise StoreError(f"{store.root / name}: cannot be compacted: {reason}") from None


class _Packing(contextlib.ExitStack):
    """One table, packed: `sources` has, of each stem, the file or the older pack that it is taken from."""

    def __init__(self, store: Store, table: Parted, leases: Leases) -> None:
        super().__init__()
        self._table, self._leases = table, leases
        rows = store.runs(columns=["cell_id", "run_id", "outcome"]).to_pylist()
        kept = {"-".join(row[column] for column in table.key) for row in rows if row["outcome"] in FINAL}
        own, packs = table.listing()
        stems = {Path(name).stem for name in own}
        busy = set().union(*leases.others().values())
        ended = sorted(stems & kept)
        self._stamps = {stem: _stamp(table.file(stem)) for stem in ended if stem.partition("-")[0] not in busy}
        self._left = len(ended) - len(self._stamps)
        self._last = max((packed.number(name) or 0 for name in packs), default=0)
        self._older = self._merged(packs, stems, kept)

    def _merged(self, packs: list[str], own: set[str], kept: set[str]) -> dict[Pack, set[str]]:
        """The older packs that are written again, and what counts of each."""
        live: dict[Pack, set[str]] = {}
        seen = set(own)
        for name in packs:
            pack = self.enter_context(Pack(self._table.folder / name))
            live[pack] = (pack.stems - seen) & kept
            seen |= pack.stems
        total, merged = len(self._stamps), {}
        for pack, stems in sorted(live.items(), key=lambda each: len(each[1])):
            small = len(stems) <= TIER * total and pack.rows() < PACK_ROWS / 2
            if (small or len(stems) < len(pack.stems) / 2) and set(pack.schema.names) <= set(self._table.schema.names):
                merged[pack] = stems
                total += len(stems)
        return merged

    def run(self) -> Outcome:
        """Write the packs, verify them, put them in place, and remove what they were made of."""
        done = 0
        if self._stamps or self._older:
            written = list(self._write())
            stems = [stem for _, stems in written for stem in stems]
            wanted = set().union(*self._older.values())
            if len(set(stems)) < len(stems) or not wanted <= set(stems):
                raise StoreError(f"{self._table.folder}: new packs lack something, so nothing is removed")
            for path, _ in written:
                salvage.publish(self._table, path)
            done = self._remove(set(stems))
        return Outcome(self._table.name, done, self._left + len(self._stamps) - done, len(self._table.listing()[1]))

    def _write(self) -> Iterator[tuple[Path, set[str]]]:
        """Packs under way, and their stems; each read back and compared with what it was made of."""
        blocks = packed.in_blocks(itertools.chain(self._of_files(), self._of_packs()))
        for number in itertools.count(self._last + 1):
            truth = list(_up_to(PACK_ROWS, blocks))
            if not truth:
                return
            path = salvage.under_way(self._table, packed.name(number))
            packed.write(path, truth, self._table.schema)
            parts.sync(path)
            with Pack(path) as pack:
                for rows, table in truth:
                    if not packed.same_bits(pack.read(rows.keys(), self._table.schema, self._table.newest), table):
                        raise StoreError(f"{path}: not what was written there, so nothing is removed; run again")
                yield path, pack.stems

    def _of_files(self) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each stem's file; not of one with columns that this resbench does not know."""
        for stem in self._stamps:
            path = self._table.file(stem)
            rows = parts.whole(path)
            if set(rows.schema.names) <= set(self._table.schema.names):
                yield stem, parts.conforming(rows, self._table.schema, self._table.newest, path)

    def _of_packs(self) -> Iterator[tuple[str, pa.Table]]:
        for pack, stems in self._older.items():
            for rows, table in salvage.blocks(pack, stems, self._table.schema, self._table.newest):
                starts = itertools.accumulate(rows.values(), initial=0)
                for (stem, count), start in zip(rows.items(), starts, strict=False):
                    yield stem, table.slice(start, count)

    def _remove(self, stems: set[str]) -> int:
        """Remove what is in the packs now; but no file that was replaced meanwhile, or whose cell is used just now."""
        removed = 0
        files = [stem for stem in self._stamps if stem in stems]
        for start in range(0, len(files), _AT_ONCE):
            with self._leases.held():
                busy = set().union(*self._leases.others().values())
                for stem in files[start : start + _AT_ONCE]:
                    path = self._table.file(stem)
                    if stem.partition("-")[0] not in busy and _stamp(path) == self._stamps[stem]:
                        path.unlink()
                        removed += 1
        for pack in self._older:
            pack.path.unlink()
            salvage.forget_footer(self._table, pack.path)
        self._table.forget_copy()
        return removed


def _up_to(most: int, blocks: Iterable[tuple[dict[str, int], pa.Table]]) -> Iterator[tuple[dict[str, int], pa.Table]]:
    """The next blocks, until they have so many rows."""
    held = 0
    for block in blocks:
        yield block
        held += len(block[1])
        if held >= most:
            return


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
