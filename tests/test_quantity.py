"""Counts and bytes of two sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import MB, outcome

from bench.quantity import LESS, MORE, RESIDENT, SAME, VARIES, Quantity, quantities

counts = st.lists(st.integers(0, 10**12), min_size=1, max_size=5)


def of(name, base, head, margin=0.02):
    """The quantity of that name, of sides that differ in one field of their outcomes."""
    field, values = name, (base, head)
    sides = [[outcome(**{field: value}) for value in side] for side in values]
    words = {"peak_rss_bytes": RESIDENT, "peak_allocated_bytes": "allocated memory"}.get(field, field)
    return {found.name: found for found in quantities(*sides, margin)}[words]


@given(counts, counts)
def test_exactly_more_where_every_sample_of_head_is(base, head):
    change = of("parameters", base, head).change
    assert (change == MORE) == all(h > b for h in head for b in base)
    assert (change == LESS) == all(h < b for h in head for b in base)
    mirrored = of("parameters", head, base).change
    assert mirrored == {MORE: LESS, LESS: MORE}.get(change, change)


@pytest.mark.parametrize(
    ("base", "head", "change"),
    [
        ([100], [100], SAME),
        ([100], [101], MORE),  # a byte is a byte
        ([100], [99], LESS),
        ([100, 102], [101, 103], VARIES),
        ([100, 102], [102], VARIES),
        ([100, 102], [102, 100], SAME),
    ],
)
def test_a_byte_allocated_counts(base, head, change):
    assert of("peak_allocated_bytes", base, head).change == change


def test_resident_memory_is_more_beyond_the_margin_and_a_mib():
    """Of what it grew by: 100 MB beyond the 200 that it began with."""
    for more, change in ((1.9, SAME), (2.1, MORE), (-1.9, SAME), (-2.1, LESS)):
        assert of("peak_rss_bytes", [300 * MB], [round((300 + more) * MB)]).change == change
    assert of("peak_rss_bytes", [300 * MB, 302 * MB], [305 * MB, 303 * MB]).change == SAME  # 1 MB apart
    small = [[outcome(peak_rss_bytes=base, base_rss_bytes=0)] for base in (10 * MB, 11 * MB)]
    assert {q.name: q.change for q in quantities(*small, 0.02)}[RESIDENT] == SAME  # 10 %, less than a MiB


def test_what_one_side_does_not_tell_is_not_compared():
    assert not list(quantities([], [], 0.02))
    nothing = dict.fromkeys(("parameters", "multiply_adds", "peak_rss_bytes"))
    assert not list(quantities([outcome()], [outcome(**nothing)], 0.02))
    told = list(quantities([outcome(), outcome(**nothing)], [outcome()], 0.02))
    assert [q.name for q in told] == ["parameters", "multiply-adds", RESIDENT]


def test_in_words():
    assert Quantity("parameters", (1000, 1000), (1_234_567, 1_234_567)).described == "parameters 1,000 → 1,234,567"
    assert Quantity("reserved memory", (10 * MB, 10 * MB), (15 * MB, 15 * MB)).described == (
        "reserved memory 10.0 → 15.0 MB (+50.0%)"
    )
    assert Quantity("parameters", (1, 1), (1, 1)).described is None
    assert Quantity("parameters", (1, 3), (2, 4)).described is None


def test_in_words_from_nothing():
    """Memory of a side that took none: by how much more has no percentage."""
    assert Quantity(RESIDENT, (0, 0), (5 * MB, 5 * MB)).described == "resident memory 0.0 → 5.0 MB"
