"""Fields accept what they say and nothing else."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import field
from bench.errors import FieldError
from bench.field import ascending, choice, of, real, switch, whole

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=4),
    st.dates(),
)


@given(ANYTHING)
def test_whole_takes_integers_in_range_alone(value):
    right = type(value) is int and 1 <= value <= 9
    assert _accepts(whole(1, 9), value) == right


@given(ANYTHING)
def test_real_takes_finite_numbers_in_range_alone(value):
    right = type(value) in (int, float) and math.isfinite(value) and -1 <= value <= 1
    assert _accepts(real(-1, 1), value) == right


@given(ANYTHING)
def test_choice_and_switch_take_their_own_alone(value):
    assert _accepts(choice("a", "b"), value) == (value in ("a", "b") and type(value) is str)
    assert _accepts(switch(), value) == (type(value) is bool)


@given(ANYTHING)
def test_ascending_takes_strictly_ascending_lists_alone(value):
    right = (
        isinstance(value, list)
        and all(type(item) is int and 1 <= item <= 100 for item in value)
        and sorted(set(value)) == value
        and len(value) <= 3
    )
    assert _accepts(ascending(1, 100, most=3), value) == right


def _accepts(kind: field.Kind, value: object) -> bool:
    try:
        field.canonical("key", kind, value)
    except FieldError as error:
        assert error.allowed == kind.allowed
        return False
    return True


def test_equal_numbers_have_one_form():
    assert str(field.canonical("lr", real(-1, 1), 1)) == "1.0"
    assert str(field.canonical("lr", real(-1, 1), -0.0)) == "0.0"


def test_huge_numbers_are_refused_not_overflowing():
    for kind in (whole(1, 9), real(0, 1)):
        with pytest.raises(FieldError):
            field.canonical("key", kind, 10**5000)


def test_a_field_at_its_historical_value_is_no_part_of_the_identity():
    @dataclass(frozen=True)
    class Before:
        old: int = of(whole(0, 9), 1)

    @dataclass(frozen=True)
    class After:
        old: int = of(whole(0, 9), 1)
        new: int = of(whole(0, 9), 5, historical=0)

    assert field.identity(After(new=0)) == field.identity(Before())
    assert field.identity(After()) == {"old": 1, "new": 5}  # a default is not left out
