"""Part files read as one table, against pyarrow's own dataset."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from bench import parts
from bench.errors import StoreError

SCHEMA = pa.schema([("schema_version", pa.int64()), ("name", pa.string()), ("drops", pa.list_(pa.int64()))])


@pytest.fixture
def files(tmp_path):
    """Three files of one, two and 200 rows."""
    paths = []
    for number, rows in enumerate((1, 2, 200)):
        values = [{"schema_version": 1, "name": f"{number}-{row}", "drops": [row, number]} for row in range(rows)]
        paths.append(tmp_path / f"{number}.parquet")
        parts.write(pa.Table.from_pylist(values, schema=SCHEMA), paths[-1])
    return paths


@pytest.mark.parametrize("together", [1, 2, 500])
def test_all_rows_in_order(files, monkeypatch, together):
    monkeypatch.setattr(parts, "TOGETHER", together)
    found = parts.read(files, SCHEMA, 1)
    assert found.equals(ds.dataset(files, schema=SCHEMA).to_table().combine_chunks())
    assert found["name"].num_chunks == 1 and len(found) == 203


def test_columns_come_as_asked_and_those_a_file_lacks_as_null(files, tmp_path):
    older = tmp_path / "older.parquet"
    pq.write_table(pa.table({"name": ["old"], "schema_version": pa.array([1], pa.int32())}), older)
    found = parts.read([older, files[0]], SCHEMA, 1)
    assert found.schema.equals(SCHEMA)
    assert found.to_pylist() == [
        {"schema_version": 1, "name": "old", "drops": None},
        {"schema_version": 1, "name": "0-0", "drops": [0, 0]},
    ]
    some = pa.schema([SCHEMA.field("schema_version"), SCHEMA.field("drops")])
    assert parts.read(files[:1], some, 1).to_pylist() == [{"schema_version": 1, "drops": [0, 0]}]
    assert parts.read([], SCHEMA, 1).equals(SCHEMA.empty_table())


def test_a_damaged_file_is_named(files):
    content = files[1].read_bytes()
    files[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"1\.parquet: damaged .*doctor --fix` sets it aside, and all else can"):
        parts.read(files, SCHEMA, 1)


def test_a_strangers_file_is_named(files, tmp_path):
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"name": ["x"]}), foreign)
    with pytest.raises(StoreError, match=r"foreign\.parquet: not a table of resbench"):
        parts.read([*files, foreign], SCHEMA, 1)
    pq.write_table(pa.table({"name": [[1.5]], "schema_version": [1]}), foreign)
    with pytest.raises(StoreError, match=r"foreign\.parquet: damaged"):
        parts.read([*files, foreign], SCHEMA, 1)
