"""Fields of frozen records: what a value may be, checked when the record is made, and hashed into its id."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.errors import FieldError


@dataclass(frozen=True)
class Kind:
    """What one field may hold.

    `canonical` returns the value in the one form that is stored and hashed, or raises ValueError; `allowed` says in
    words what it accepts; `type` is bool, int, float, str or tuple (of ints).
    """

    type: type
    allowed: str
    canonical: Callable[[Any], Any]


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def whole(low: int, high: int) -> Kind:
    """A whole number from `low` to `high`; `8.0` and `true` are not whole numbers."""

    def canonical(value: Any) -> int:
        _require(type(value) is int and low <= value <= high)
        return value

    return Kind(int, f"a whole number from {low:,} to {high:,}", canonical)


def real(low: float, high: float) -> Kind:
    """A finite number from `low` to `high`; whole numbers are taken as floats, so `1` and `1.0` are one value."""

    def canonical(value: Any) -> float:
        _require(type(value) in (int, float) and low <= value <= high and math.isfinite(value))
        return float(value) + 0.0  # -0.0 becomes 0.0

    return Kind(float, f"a number from {low:g} to {high:g}", canonical)


def choice(*names: str) -> Kind:
    """One of `names`."""

    def canonical(value: Any) -> str:
        _require(type(value) is str and value in names)
        return value

    return Kind(str, ", ".join(names), canonical)


def switch() -> Kind:
    """true or false."""

    def canonical(value: Any) -> bool:
        _require(type(value) is bool)
        return value

    return Kind(bool, "true or false", canonical)


def ascending(low: int, high: int, most: int) -> Kind:
    """A strictly ascending list of at most `most` whole numbers from `low` to `high`; stored as a tuple."""

    def canonical(value: Any) -> tuple[int, ...]:
        _require(type(value) in (list, tuple) and len(value) <= most)
        _require(all(type(item) is int and low <= item <= high for item in value))
        _require(all(a < b for a, b in itertools.pairwise(value)))
        return tuple(value)

    return Kind(tuple, f"an ascending list of at most {most} whole numbers from {low:,} to {high:,}", canonical)


NO_DEFAULT = dataclasses.MISSING
_ABSENT = object()


def of(kind: Kind, default: Any = NO_DEFAULT, *, historical: Any = _ABSENT) -> Any:
    """Declare a field. `historical` is the value that all cells had before the field existed.

    A field given a `historical` value is left out of the identity while it has that value, so ids recorded before it
    was added stay valid.
    """
    return dataclasses.field(default=default, metadata={"kind": kind, "historical": historical})


def check(record: Any) -> None:
    """Put each declared field of a frozen dataclass into canonical form.

    Raises:
        FieldError: for the first field whose value is not allowed.
    """
    for name, kind in kinds(type(record)).items():
        object.__setattr__(record, name, canonical(name, kind, getattr(record, name)))


def canonical(key: str, kind: Kind, value: Any) -> Any:
    """`value` as `kind` stores it.

    Raises:
        FieldError: when it is not allowed.
    """
    try:
        return kind.canonical(value)
    except (ValueError, TypeError, OverflowError):
        raise FieldError(key, value, kind.allowed) from None


@cache
def kinds(record_type: type) -> dict[str, Kind]:
    """The declared fields of a dataclass, in order."""
    return {f.name: f.metadata["kind"] for f in dataclasses.fields(record_type) if "kind" in f.metadata}


def identity(record: Any) -> dict[str, Any]:
    """The fields that identify a record: every one, but those still at their historical value."""
    fields = (f for f in dataclasses.fields(record) if "kind" in f.metadata)
    pairs = ((f.name, getattr(record, f.name), f.metadata["historical"]) for f in fields)
    return {name: value for name, value, historical in pairs if historical is _ABSENT or value != historical}


def historical(record_type: type) -> dict[str, Any]:
    """The historical values of those fields that have one."""
    metadata = {f.name: f.metadata for f in dataclasses.fields(record_type) if "kind" in f.metadata}
    return {name: data["historical"] for name, data in metadata.items() if data["historical"] is not _ABSENT}
