"""The columns in which a frozen record is kept as a row of a parquet table."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import datetime
from typing import Any

import pyarrow as pa

TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    tuple: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
    datetime: pa.timestamp("us", tz="UTC"),
}


def fields_of(record: type) -> list[pa.Field]:
    """A column for each field of a dataclass, under its name; what may be None is null."""

    def column(name: str, hint: Any) -> pa.Field:
        optional = isinstance(hint, types.UnionType)
        plain = next(t for t in typing.get_args(hint) if t is not type(None)) if optional else hint
        return pa.field(name, TYPES[plain])

    hints = typing.get_type_hints(record)
    return [column(field.name, hints[field.name]) for field in dataclasses.fields(record)]
