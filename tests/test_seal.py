"""Seals: no flipped bit and no missing piece of a file is read as anything."""

import contextlib
import hashlib

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import parts, seal
from bench.parts import DamagedError

SCHEMA = pa.schema([("schema_version", pa.int64()), ("name", pa.string()), ("error", pa.float64())])
ROWS = {"schema_version": [1, 1], "name": ["a", None], "error": [1 / 3, 0.25]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("seal") / "part.parquet"
    parts.write(pa.table(ROWS, schema=SCHEMA), path)
    return path, path.read_bytes()


def spoiled(path, content):
    path.with_name("spoiled.parquet").write_bytes(content)
    return path.with_name("spoiled.parquet")


def test_the_checksum_is_sha256_of_all_but_its_own_digits(written):
    content = written[1]
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata.metadata
    algorithm, start, digits = metadata[seal.KEY].split(b":")
    assert (algorithm, int(start)) == (b"sha256", 0) and content.count(digits) == 1
    assert hashlib.sha256(content.replace(digits, b"0" * 64)).hexdigest().encode() == digits


def test_others_read_a_sealed_file(written):
    path, _ = written
    assert pd.read_parquet(path)["error"].tolist() == ROWS["error"]
    assert duckdb.sql(f"select error from '{path}'").fetchall() == [(error,) for error in ROWS["error"]]


def test_every_flipped_bit_is_found(written):
    path, content = written
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            assert seal.check(bytes(flipped)), f"bit {bit} made it an unsealed one"
    with pytest.raises(DamagedError, match=r"spoiled\.parquet: damaged"):
        parts.read([spoiled(path, flipped)], SCHEMA, 1)


def test_every_truncation_is_found(written):
    path, content = written
    for length in range(len(content)):
        with pytest.raises(DamagedError, match=r"spoiled\.parquet: damaged"):
            parts.read([spoiled(path, content[:length])], SCHEMA, 1)
    with pytest.raises(DamagedError):
        parts.check(spoiled(path, content[:-1]))


def test_zeros_that_take_the_seal_and_the_rows_are_found(written):
    path, content = written
    for start in range(content.index(b"error"), content.index(seal.KEY)):
        harmed = content[:start] + bytes(len(content) - 40 - start) + content[-40:]
        with contextlib.suppress(DamagedError):  # where zeros begin late enough, only the seal is gone
            assert len(parts.read([spoiled(path, harmed)], SCHEMA, 1)) == len(pa.table(ROWS, schema=SCHEMA))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_other_bytes_are_no_other_values(written, data):
    """Bursts, zeroed sectors, pieces lost or added; where the seal alone is wiped out, it is a file without one."""
    path, content = written
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    harmed = content[:start] + data.draw(st.binary(max_size=64) | st.just(bytes(end - start))) + content[end:]
    sealed = seal.KEY in harmed and harmed != content
    with pytest.raises(DamagedError) if sealed else contextlib.suppress(DamagedError):
        assert parts.read([spoiled(path, harmed)], SCHEMA, 1).equals(pa.table(ROWS, schema=SCHEMA))


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
@example(0.0)
def test_a_file_from_before_seals_reads_as_ever(tmp_path_factory, place):
    path = tmp_path_factory.mktemp("unsealed") / "part.parquet"
    table = pa.table(ROWS, schema=SCHEMA)
    pq.write_table(table, path)
    assert parts.read([path], SCHEMA, 1).equals(table)
    parts.check(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])
    for read in (lambda: parts.read([path], SCHEMA, 1), lambda: parts.check(path)):
        with pytest.raises(DamagedError, match=r"part\.parquet: damaged"):
            read()


def test_a_part_of_a_file_is_sealed_from_where_it_starts(written):
    content = written[1].replace(seal.blank(0)[seal.KEY][:24], seal.blank(4)[seal.KEY][:24])
    resealed = seal.sealed(content[4:])
    assert seal.start(resealed) == 4
    assert seal.check(resealed)
    with pytest.raises(seal.BrokenSealError):
        seal.check(resealed[1:])
