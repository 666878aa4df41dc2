"""Packs: what is asked for is what was written, to the bit, and no flipped bit is read."""

import math
import random
import struct

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import packed, seal
from bench.parts import DamagedError, GoneError, NewerError

SCHEMA = pa.schema(
    [
        ("schema_version", pa.int64()),
        ("stem", pa.string()),
        ("value", pa.float64()),
        ("drops", pa.list_(pa.int64())),
        ("slow", pa.list_(pa.float64())),
    ]
)
NAN = struct.unpack("<d", bytes.fromhex("0100000000c0f87f"))[0]  # with a payload


def rows(stem, count, version=1):
    values = [1 / 3, -0.0, NAN, math.inf, None, 5e-324]
    return pa.Table.from_pylist(
        [
            {
                "schema_version": version,
                "stem": stem,
                "value": values[n % 6],
                "drops": list(range(n % 3)) or None,
                "slow": [NAN, -0.0][: n % 3],
            }
            for n in range(count)
        ],
        SCHEMA,
    )


def written(path, stems, block_rows=10):
    packed.BLOCK_ROWS, before = block_rows, packed.BLOCK_ROWS
    try:
        packed.write(path, packed.in_blocks((stem, rows(stem, count)) for stem, count in stems.items()), SCHEMA)
    finally:
        packed.BLOCK_ROWS = before
    return path


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return written(tmp_path_factory.mktemp("packs") / packed.name(1), {f"s{n}": 1 + n % 4 for n in range(20)})


def test_names_are_numbered():
    assert packed.number(packed.name(17)) == 17 and packed.number(packed.name(1_234_567)) == 1_234_567
    assert packed.number("0a1b.parquet") is packed.number("packed-1-0.parquet") is None
    assert packed.name(1) != packed.name(1)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("0123456789abcdef-", min_size=1), st.integers(0, 25), max_size=9), st.data())
def test_what_is_asked_for_is_what_was_written(tmp_path_factory, stems, data):
    path = written(tmp_path_factory.mktemp("pack") / "p.parquet", stems, data.draw(st.integers(1, 30)))
    asked = data.draw(st.sets(st.sampled_from([*stems, "absent"])))
    truth = [rows(stem, count) for stem, count in stems.items() if stem in asked]
    with packed.Pack(path) as pack:
        assert pack.stems == {stem for stem, count in stems.items() if count}
        assert pack.rows() == sum(stems.values()) and pack.damaged() == []
        found = pack.read(asked, SCHEMA, 1)
    assert packed.same_bits(found, pa.concat_tables(truth) if truth else SCHEMA.empty_table())
    blocks = [sum(block.rows.values()) for block in pack.blocks]
    assert sum(block.length for block in pack.blocks) < path.stat().st_size and 0 not in blocks


def test_others_read_it(pack):
    assert duckdb.sql(f"select stem, count(*) from '{pack}' group by stem").fetchall().__len__() == 20


def test_columns_come_as_asked_and_what_lacks_as_null(pack):
    schema = pa.schema([SCHEMA.field("schema_version"), pa.field("later", pa.string()), SCHEMA.field("drops")])
    with packed.Pack(pack) as opened:
        found = opened.read({"s1"}, schema, 1)
    assert found.to_pylist() == [
        {"schema_version": 1, "later": None, "drops": None},
        {"schema_version": 1, "later": None, "drops": [0]},
    ]


def test_it_is_read_though_removed_meanwhile(tmp_path):
    path = written(tmp_path / "p.parquet", {"a": 30, "b": 30})
    with packed.Pack(path) as pack:
        path.unlink()
        assert packed.same_bits(pack.read({"b"}, SCHEMA, 1), rows("b", 30))
    with pytest.raises(GoneError):
        packed.Pack(path)


def test_a_newer_version_is_refused(tmp_path):
    packed.write(tmp_path / "p.parquet", packed.in_blocks([("a", rows("a", 3, version=2))]), SCHEMA)
    with (
        packed.Pack(tmp_path / "p.parquet") as pack,
        pytest.raises(NewerError, match=r"p\.parquet: of schema version 2"),
    ):
        pack.read({"a"}, SCHEMA, 1)


def test_one_in_another_form_is_newer_and_not_damaged(pack, tmp_path):
    content = pack.read_bytes().replace(b"resbench.blocks", b"resbench.chunks")
    start = seal.start(content)
    other = tmp_path / pack.name
    other.write_bytes(content[:start] + seal.sealed(content[start:]))
    with pytest.raises(NewerError, match=r"in a form that this resbench does not know; upgrade resbench"):
        packed.Pack(other)


def test_any_flipped_bit_is_found_where_it_is_read(pack, tmp_path):
    """Every bit of a block's bytes belongs to that block alone; every other one to the footer."""
    content = pack.read_bytes()
    spoiled = tmp_path / pack.name
    with packed.Pack(pack) as whole:
        blocks = whole.blocks
    for bit in random.Random(0).sample(range(8 * len(content)), 400):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        spoiled.write_bytes(flipped)
        hit = [n for n, block in enumerate(blocks) if block.start <= bit // 8 < block.start + block.length]
        if not hit:
            with pytest.raises(DamagedError, match=r"footer|seal|checksum"):
                packed.Pack(spoiled)
            continue
        with packed.Pack(spoiled) as harmed:
            assert harmed.damaged() == hit
            for n, block in enumerate(blocks):
                if n == hit[0]:
                    with pytest.raises(DamagedError, match=f"{spoiled.name}: damaged"):
                        harmed.read(block.rows.keys(), SCHEMA, 1)
                else:
                    truth = pa.concat_tables([rows(stem, count) for stem, count in block.rows.items()])
                    assert packed.same_bits(harmed.read(block.rows.keys(), SCHEMA, 1), truth)


def test_a_truncated_one_and_one_without_a_seal_are_damaged(pack, tmp_path):
    content = pack.read_bytes()
    spoiled = tmp_path / "p.parquet"
    for length in random.Random(0).sample(range(len(content)), 200):
        spoiled.write_bytes(content[:length])
        with pytest.raises(DamagedError):
            packed.Pack(spoiled)
    spoiled.write_bytes(content.replace(seal.KEY, b"resbench.saelx"[: len(seal.KEY)]))
    with pytest.raises(DamagedError):
        packed.Pack(spoiled)


def test_bits_are_told_apart():
    def one(value):
        return pa.table({"x": pa.array([value], pa.float64()), "y": pa.array([[value]], pa.list_(pa.float64()))})

    other = struct.unpack("<d", bytes.fromhex("0200000000c0f87f"))[0]
    assert packed.same_bits(one(NAN), one(NAN))
    for left, right in ((NAN, other), (0.0, -0.0), (None, 0.0), (1.0, math.nextafter(1.0, 2.0))):
        assert not packed.same_bits(one(left), one(right))
        assert not packed.same_bits(one(left).select(["y"]), one(right).select(["y"]))
    assert not packed.same_bits(one(1.0), one(1.0).select(["x"]))
    many = pa.concat_tables([one(1.0), one(2.0), one(3.0)])
    assert packed.same_bits(many.slice(1, 1), one(2.0)) and not packed.same_bits(many.slice(0, 1), one(2.0))


def test_a_damaged_footer_has_a_copy(pack, tmp_path):
    with packed.Pack(pack) as whole:
        footer, blocks = whole.footer, whole.blocks
    spoiled = tmp_path / pack.name
    spoiled.write_bytes(pack.read_bytes()[: blocks[3].start + 1])
    with packed.Pack(spoiled, footer) as harmed:
        assert harmed.damaged() == list(range(3, len(blocks)))
        assert packed.same_bits(harmed.read({"s0"}, SCHEMA, 1), rows("s0", 1))
    with pytest.raises(DamagedError):
        packed.Pack(spoiled, footer[1:])
