"""Packs: the rows of many part files in one parquet file, of which a reader verifies and reads what it asks for.

A stem's rows lie together, and stems together in blocks: a row group each. The footer says of each block how many bytes
it has, what their checksum is, and how many rows of which stems; the seal is of the footer alone.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from bench import seal
from bench.parts import DamagedError, NewerError, conforming, reading

BLOCK_ROWS = 2_000  # at least, but for the last block: what is read for one stem, and verified
_KEY = b"resbench.blocks"
_NAME = re.compile(r"packed-(\d{6,})-[0-9a-f]{8}\.parquet")


@dataclass(frozen=True)
class Block:
    """Bytes of a pack, from `start` on, and the rows of each stem in their order."""

    start: int
    length: int
    checksum: str
    rows: dict[str, int]


def number(name: str) -> int | None:
    """Which of a table's packs has this name, later ones with higher numbers; None where it is no pack's."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def name(number: int) -> str:
    """For a new pack."""
    return f"packed-{number:06}-{uuid.uuid4().hex[:8]}.parquet"


class Pack:
    """A pack, open to be read: also when it is removed meanwhile."""

    def __init__(self, path: Path, footer: bytes | None = None) -> None:
        """Open it, and verify its footer; or a copy of that, where its own is damaged.

        Raises:
            DamagedError, GoneError: where it is not whole, or not there.
            NewerError: for one that is whole, and in another form.
        """
        self.path = path
        with reading(path):
            self._descriptor = os.open(path, os.O_RDONLY)
        try:
            with reading(path):
                self._open(self._own_footer() if footer is None else footer)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *_: TracebackType | type[BaseException] | BaseException | None) -> None:
        os.close(self._descriptor)

    def _own_footer(self) -> bytes:
        size = os.fstat(self._descriptor).st_size
        ending = os.pread(self._descriptor, 8, max(0, size - 8))
        start = size - 8 - int.from_bytes(ending[:4], "little")
        footer = os.pread(self._descriptor, size - start, start) if start > 0 else b""
        if not footer or seal.start(footer) != start:
            raise seal.BrokenSealError("its footer is not as it was written")
        return footer

    def _open(self, footer: bytes) -> None:
        if not seal.check(footer):
            raise seal.BrokenSealError("its footer has no seal")
        self.footer, start = footer, seal.start(footer) or 0
        size = start + len(footer)
        # an image of the file with holes: what is read is put in its place when it is verified
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._image = mmap.mmap(-1, size, flags=flags)
        self._image[start:] = footer
        self._file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._image)))
        told = json.loads((self._file.metadata.metadata or {}).get(_KEY, b"null"))
        if told is None:  # and yet sealed: so it was written
            raise NewerError(self.path)
        starts = itertools.accumulate((length for length, _, _ in told), initial=0)
        self.blocks = [Block(at, *block) for at, block in zip(starts, told, strict=False)]

    @property
    def stems(self) -> set[str]:
        """Those with rows here."""
        return set().union(*(block.rows for block in self.blocks))

    def rows(self) -> int:
        """How many there are."""
        return sum(sum(block.rows.values()) for block in self.blocks)

    @property
    def schema(self) -> pa.Schema:
        """Of all its columns."""
        return self._file.schema_arrow.remove_metadata()

    def damaged(self, blocks: Iterable[int] | None = None) -> list[int]:
        """Which of these blocks (None: of all) are not as they were written."""
        return [n for n in (range(len(self.blocks)) if blocks is None else blocks) if not self._verified(n)]

    def holding(self, stems: Collection[str]) -> list[int]:
        """The blocks with rows of any of these stems."""
        return [n for n, block in enumerate(self.blocks) if not block.rows.keys().isdisjoint(stems)]

    def read(self, stems: Collection[str], schema: pa.Schema, newest: int) -> pa.Table:
        """The rows of these stems, each stem's in their order, with the columns of `schema`.

        Raises:
            DamagedError, NewerError, StoreError: as `parts.read`.
        """
        blocks = self.holding(stems)
        if harmed := self.damaged(blocks):
            places = ", ".join(f"{self.blocks[n].start:,}" for n in harmed[:3])
            raise DamagedError(self.path, f"blocks at byte {places} are not as they were written")
        with reading(self.path):
            table = self._file.read_row_groups(blocks, schema.names)
            table = conforming(table, schema, newest, self.path)
        return pa.concat_tables(list(self._of(table, blocks, stems))) if blocks else table

    def _of(self, table: pa.Table, blocks: Iterable[int], stems: Collection[str]) -> Iterator[pa.Table]:
        """Slices of what was read of the blocks, one for neighbours."""
        rows = ((stem, count) for n in blocks for stem, count in self.blocks[n].rows.items())
        at = 0
        for wanted, group in itertools.groupby(rows, lambda each: each[0] in stems):
            length = sum(count for _, count in group)
            if wanted:
                yield table.slice(at, length)
            at += length

    def _verified(self, n: int) -> bool:
        block = self.blocks[n]
        content = os.pread(self._descriptor, block.length, block.start)
        if seal.checksum(content) != block.checksum:
            return False
        self._image[block.start : block.start + block.length] = content
        return True


def write(path: Path, blocks: Iterable[tuple[dict[str, int], pa.Table]], schema: pa.Schema) -> None:
    """Write a pack of blocks: the rows of each stem, and the table they are in, in the same order.

    Raises:
        OSError: when it cannot be written.
    """
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    told, start = [], 0  # the first block has the magic number
    with path.open("w+b") as file:
        with pq.ParquetWriter(file, schema, use_dictionary=strings, write_statistics=False) as writer:
            for rows, table in blocks:
                writer.write_table(table, row_group_size=len(table))
                file.flush()
                end = file.tell()
                told.append([end - start, seal.checksum(os.pread(file.fileno(), end - start, start)), rows])
                start = end
            file.flush()
            start = file.tell()
            writer.add_key_value_metadata({_KEY: json.dumps(told, separators=(",", ":")), **seal.blank(start)})
        file.flush()
        file.seek(start)
        footer = seal.sealed(file.read())
        file.seek(start)
        file.write(footer)


def in_blocks(tables: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[dict[str, int], pa.Table]]:
    """Stems with their rows, put together to blocks; a stem without rows is left out."""
    held: list[pa.Table] = []
    rows: dict[str, int] = {}
    count = 0
    for stem, table in tables:
        if len(table):
            held.append(table)
            rows[stem] = len(table)
            count += len(table)
        if count >= BLOCK_ROWS:
            yield rows, pa.concat_tables(held).combine_chunks()
            held, rows, count = [], {}, 0
    if held:
        yield rows, pa.concat_tables(held).combine_chunks()


def same_bits(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables of one schema hold the same values, floats bit for bit: nan is itself, and -0 is not 0."""
    return left.schema.equals(right.schema) and all(
        _bits(mine).equals(_bits(theirs)) for mine, theirs in zip(left.columns, right.columns, strict=True)
    )


def _bits(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return _as_integers(array)


def _as_integers(array: pa.Array) -> pa.Array:
    if pa.types.is_float64(array.type):
        return array.view(pa.int64())
    if pa.types.is_list(array.type) and pa.types.is_float64(array.type.value_type):
        offsets = pa.Array.from_buffers(pa.int32(), len(array) + 1, [None, array.buffers()[1]], offset=array.offset)
        return pa.ListArray.from_arrays(offsets, array.values.view(pa.int64()), mask=array.is_null())
    return array
