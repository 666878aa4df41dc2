"""Plateaus by hand, and by a scan of the whole history."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import Recipe
from bench.plateau import Plateau


def counted(errors, patience, gain):
    """The number of plateaus after each evaluation."""
    recipe, found, plateau = Recipe(plateau=patience, plateau_gain=gain, drops=()), [], Plateau()
    for error in errors:
        plateau = plateau.after(error, recipe)
        found.append(plateau.count)
    return found


@pytest.mark.parametrize(
    ("errors", "patience", "gain", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], 2, 0.01, [0, 0, 0, 0]),
        ([0.9, 0.9, 0.9, 0.9, 0.9], 2, 0.01, [0, 0, 1, 1, 2]),
        ([0.5, 0.495, 0.49, 0.485], 2, 0.01, [0, 0, 0, 0]),  # 0.49 is a gain on 0.5, which counted
        ([0.5, 0.495, 0.491, 0.4], 2, 0.01, [0, 0, 1, 1]),
        ([0.5, 0.6, 0.4, 0.5, 0.5], 2, 0.0, [0, 0, 0, 0, 1]),
        ([0.5, 0.5], 1, 0.0, [0, 1]),  # as low is no gain
        ([math.nan, 0.5], 1, 0.0, [1, 1]),
    ],
)
def test_by_hand(errors, patience, gain, expected):
    assert counted(errors, patience, gain) == expected


@given(st.lists(st.integers(0, 20)), st.integers(1, 4), st.integers(0, 5))
def test_every_plateau_is_a_run_without_a_gain(errors, patience, gain):
    """In whole numbers, so that differences are exact: each step up of the count ends `patience` evaluations, none of
    which was a gain on the lowest before that counted."""
    found = counted([error / 64 for error in errors], patience, gain / 64)
    best, since = math.inf, 0
    for error, count, before in zip(errors, found, [0, *found], strict=False):
        if error < best and error <= best - gain:
            best, since = error, 0
            assert count == before
        else:
            since += 1
            assert (count > before) == (since % patience == 0)
            assert count - before in (0, 1)
