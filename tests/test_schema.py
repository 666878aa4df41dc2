"""Columns for records' fields."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pytest

from bench.schema import fields_of


@dataclass(frozen=True)
class Record:
    count: int
    share: float | None
    name: str | None
    sound: bool
    drops: tuple
    seconds: tuple[float, ...]
    at: datetime | None = None


def test_each_field_has_a_column_of_its_type_in_order():
    assert fields_of(Record) == [
        pa.field("count", pa.int64()),
        pa.field("share", pa.float64()),
        pa.field("name", pa.string()),
        pa.field("sound", pa.bool_()),
        pa.field("drops", pa.list_(pa.int64())),
        pa.field("seconds", pa.list_(pa.float64())),
        pa.field("at", pa.timestamp("us", tz="UTC")),
    ]


def test_a_type_without_a_column_is_no_silent_one():
    @dataclass
    class Odd:
        what: complex

    with pytest.raises(KeyError):
        fields_of(Odd)
