"""The copy of part files: never another answer than the files', whatever happens to either."""

import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import index as module
from bench import parts
from bench.errors import StoreError
from bench.index import Index

SCHEMA = pa.schema([("schema_version", pa.int64()), ("cell_id", pa.string()), ("value", pa.float64())])


def write(folder, name, value):
    folder.mkdir(exist_ok=True)
    parts.write(pa.table([[1], [name], [value]], schema=SCHEMA), folder / f"{name}.parquet")


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 3)
    for number in range(5):
        write(tmp_path / "runs", f"c{number}", number / 3)
    return Index(tmp_path / "runs", tmp_path / ".index" / "runs.arrow", SCHEMA, ("cell_id",), 1)


def names(index):
    return {path.name for path in index.folder.glob("*.parquet")}


def test_it_answers_as_the_files_do(index, monkeypatch):
    truth = parts.read(sorted(index.folder.glob("*.parquet")), SCHEMA, 1)
    assert index.read(names(index), SCHEMA.names).equals(truth)
    assert index.path.exists()
    monkeypatch.setattr(
        parts, "read", lambda paths, schema, _: schema.empty_table() if not paths else pytest.fail("read")
    )
    assert index.read(names(index), SCHEMA.names).equals(truth)
    some = {f"c{number}.parquet" for number in range(1, 5)}
    assert index.read(some, ["value"])["value"].to_pylist() == truth["value"].to_pylist()[1:]


def test_files_that_come_change_and_go(index):
    index.read(names(index), SCHEMA.names)
    write(index.folder, "c1", 9.5)
    write(index.folder, "c9", 0.25)
    (index.folder / "c3.parquet").unlink()
    found = index.read(names(index), SCHEMA.names)
    assert dict(zip(found["cell_id"].to_pylist(), found["value"].to_pylist(), strict=True)) == {
        "c0": 0.0,
        "c1": 9.5,
        "c2": 2 / 3,
        "c4": 4 / 3,
        "c9": 0.25,
    }


def test_a_file_that_is_gone_is_named_and_not_left_out(index):
    asked = names(index)
    index.read(asked, SCHEMA.names)
    (index.folder / "c3.parquet").unlink()
    with pytest.raises(parts.GoneError, match=r"c3\.parquet"):
        index.read(asked, SCHEMA.names)


def test_what_others_ask_for_stays_in_it(index, monkeypatch):
    """Two studies in one folder, each larger than the limit, do not push each other out."""
    for number in range(5, 9):
        write(index.folder, f"c{number}", number / 3)
    first, second = ({f"c{number}.parquet" for number in numbers} for numbers in (range(5), range(5, 9)))
    for some in (first, second):
        index.read(some, SCHEMA.names)
    monkeypatch.setattr(
        parts, "read", lambda paths, schema, _: schema.empty_table() if not paths else pytest.fail("read")
    )
    for some in (first, second):
        assert index.read(some, ["cell_id"])["cell_id"].to_pylist() == sorted(n.removesuffix(".parquet") for n in some)


@pytest.mark.parametrize("bit", range(0, 20_000, 997))
def test_a_copy_with_a_flipped_bit_is_made_anew(index, bit):
    truth = index.read(names(index), SCHEMA.names)
    content = bytearray(index.path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    index.path.write_bytes(content)
    assert index.read(names(index), SCHEMA.names).equals(truth)
    assert index.path.read_bytes() != content


@pytest.mark.parametrize("harm", [b"", b"no arrow file", None])
def test_a_damaged_or_older_copy_is_made_anew(index, harm):
    truth = index.read(names(index), SCHEMA.names)
    if harm is None:
        Index(index.folder, index.path, pa.schema([SCHEMA.field(0), SCHEMA.field(1)]), ("cell_id",), 1).refresh(
            names(index)
        )
    else:
        index.path.write_bytes(harm)
    assert index.read(names(index), SCHEMA.names).equals(truth)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(index, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pa, "OSFile", refuse)
    assert len(index.read(names(index), SCHEMA.names)) == 5
    assert not index.path.exists()


def test_a_damaged_file_is_named(index):
    (index.folder / "c2.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"c2\.parquet: damaged"):
        index.read(names(index), SCHEMA.names)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["write", "remove"]), st.integers(0, 7), st.floats(0, 1)), max_size=12))
def test_any_history_gives_what_the_files_hold(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("history")
    index = Index(folder / "runs", folder / "runs.arrow", SCHEMA, ("cell_id",), 1)
    held: dict[str, float] = {}
    clock = 0
    many, module.MANY = module.MANY, 2
    try:
        for what, number, value in steps:
            path = folder / "runs" / f"c{number}.parquet"
            if what == "write":
                write(folder / "runs", f"c{number}", value)
                clock += 1
                os.utime(path, ns=(clock, clock))  # as time goes by between writes
                held[f"c{number}"] = value
            else:
                path.unlink(missing_ok=True)
                held.pop(f"c{number}", None)
            found = index.read({f"{name}.parquet" for name in held}, ["cell_id", "value"]).to_pydict()
            assert dict(zip(found["cell_id"], found["value"], strict=True)) == held
    finally:
        module.MANY = many
