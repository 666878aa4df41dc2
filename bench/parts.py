"""Many small parquet files as one table: a file a run, so that writing one never touches another. Atomic writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import StoreError

TOGETHER = 500  # files whose buffers are merged at a time: each alone takes 0.2 MB
SMALL = 100  # rows, up to which a dictionary or statistics cost more than they save


def read(paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
    """The rows of all files, in their order, with the columns of `schema`; a column that a file lacks reads as null.

    A pyarrow dataset does the same, in twice the time for one-row files, and does not say which file is damaged.

    Raises:
        StoreError: naming the file that is damaged or no table of ours.
    """
    merged = []  # where it stays empty, schema.empty_table() would import pandas
    for start in range(0, len(paths), TOGETHER):
        tables = [_file(path, schema) for path in paths[start : start + TOGETHER]]
        merged.append(pa.concat_tables(tables).combine_chunks())
    return pa.concat_tables(merged).combine_chunks() if merged else pa.Table.from_batches([], schema)


def _file(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(schema.names, use_threads=False)
        if "schema_version" in schema.names and "schema_version" not in table.schema.names:
            raise StoreError(f"{path}: not a table of resbench (it has no column schema_version); move it away")
        if table.schema.equals(schema):
            return table
        columns = [_column(table, field) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path}: damaged ({reason}); move it away: only what it held is missing then; a cell is run again"
        ) from None


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name in table.schema.names:
        return table[field.name].cast(field.type)
    return pa.nulls(len(table), field.type)


def write(table: pa.Table, path: Path) -> None:
    """Write one file; small tables without dictionaries and statistics, which are most of what reading them costs."""
    large = len(table) > SMALL
    pq.write_table(table, path, use_dictionary=large, write_statistics=large)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write; at the end it is synced and takes the place of `path` at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
