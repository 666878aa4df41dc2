"""Many small parquet files as one table: a file a run, so that writing one never touches another. Atomic, sealed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import seal
from bench.errors import StoreError, in_a_line

TOGETHER = 500  # files whose buffers are merged at a time: each alone takes 0.2 MB
SMALL = 100  # rows, up to which a dictionary or statistics cost more than they save


class DamagedError(StoreError):
    """A file does not hold what was written there."""

    def __init__(self, path: Path, reason: str, mended: str = "`resbench doctor --fix` sets it aside") -> None:
        super().__init__(f"{path}: damaged ({reason}); {mended}, and all else can be read")
        self.path, self.reason = path, reason


class GoneError(StoreError):
    """A file is no longer there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: no such file")


class MissingError(StoreError):
    """A row is there, and what it names is not."""

    def __init__(self, paths: str) -> None:
        super().__init__(f"{paths}: missing, though a row is there; `resbench run STUDY` runs the cell again")


class NewerError(StoreError):
    """A file was written by a newer resbench."""

    def __init__(self, path: Path, version: int | None = None, newest: int | None = None) -> None:
        """Of this `version`, where up to the `newest` are read; or, without, in another form altogether."""
        of = "in a form that this resbench does not know"
        if version is not None:
            of = f"of schema version {version}, and this resbench reads up to {newest}"
        super().__init__(f"{path}: {of}; upgrade resbench to read it")


def read(paths: Sequence[Path], schema: pa.Schema, newest: int) -> pa.Table:
    """The rows of all files, in their order, with the columns of `schema`; a column that a file lacks reads as null.

    A pyarrow dataset does the same, in twice the time for one-row files, and does not say which file is damaged.

    Raises:
        DamagedError, GoneError: naming the file.
        NewerError: for one of a schema version above `newest`.
        StoreError: for one that is no table of ours.
    """
    merged = []  # where it stays empty, schema.empty_table() would import pandas
    for start in range(0, len(paths), TOGETHER):
        tables = [_file(path, schema, newest) for path in paths[start : start + TOGETHER]]
        merged.append(pa.concat_tables(tables).combine_chunks())
    return pa.concat_tables(merged).combine_chunks() if merged else pa.Table.from_batches([], schema)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What cannot be read within is told of as `path`: damaged, or gone, or not to be read here and now."""
    try:
        yield
    except FileNotFoundError:
        raise GoneError(path) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):  # Arrow's own have none
            raise StoreError(f"{path}: {error.strerror}") from None
        raise DamagedError(path, in_a_line(error)) from None


def _file(path: Path, schema: pa.Schema, newest: int) -> pa.Table:
    with reading(path), _opened(path.read_bytes()) as file:
        return conforming(file.read(schema.names, use_threads=False), schema, newest, path)


def whole(path: Path) -> pa.Table:
    """All rows of one file, with all columns it has.

    Raises:
        DamagedError, GoneError: where it is not whole, or not there.
    """
    with reading(path), _opened(path.read_bytes()) as file:
        return file.read(use_threads=False)


def _opened(content: bytes) -> pq.ParquetFile:
    """A file that holds by its seal; from before there were seals, one with the rows that it tells of.

    Zeros end a list in a footer, and so can take the rows away together with the seal.
    """
    sealed = seal.check(content)
    file = pq.ParquetFile(pa.BufferReader(content))
    if not sealed:
        about = file.metadata
        rows = sum(about.row_group(number).num_rows for number in range(about.num_row_groups))
        if rows != max(about.num_rows, 1):
            raise ValueError("it has no seal, and not the rows that it tells of")
    return file


def conforming(table: pa.Table, schema: pa.Schema, newest: int, path: Path) -> pa.Table:
    """What was read of `path`, in the columns of `schema`.

    Raises:
        NewerError, StoreError: as `read`.
    """
    if "schema_version" in schema.names:
        found = table.schema.field("schema_version").type if "schema_version" in table.schema.names else None
        if found is None or not pa.types.is_integer(found):
            raise StoreError(f"{path}: not a table of resbench (it has no column schema_version); move it away")
        # before the columns are looked at: a newer version's may be of other types
        if (version := pc.max(table["schema_version"]).as_py()) is not None and version > newest:
            raise NewerError(path, version, newest)
    if table.schema.equals(schema):
        return table
    return pa.Table.from_arrays([_column(table, field) for field in schema], schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name in table.schema.names:
        return table[field.name].cast(field.type)
    return pa.nulls(len(table), field.type)


def check(path: Path) -> None:
    """See that a file is whole: by its seal, or, where it is from before there were seals, by reading it.

    Raises:
        DamagedError, GoneError: where it is not.
    """
    with reading(path):
        sealed = seal.check(path.read_bytes())
    if not sealed:
        whole(path)


def write(table: pa.Table, path: Path) -> None:
    """Write one file, sealed; small tables without dictionaries and statistics, most of what reading them costs."""
    large = len(table) > SMALL
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, use_dictionary=large, write_statistics=large) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(seal.blank())
    path.write_bytes(seal.sealed(sink.getvalue().to_pybytes()))


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
