"""What follows from the windows of a sample."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sample import CPU, DEVICE, WALL, Outcome

SECONDS = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9)


@given(SECONDS, st.data(), st.integers(1, 10**6), st.integers(1, 10**4), st.sampled_from([DEVICE, CPU, WALL]))
def test_seconds_are_of_a_call_by_its_clock(wall, data, calls, images, clock):
    cpu = data.draw(st.lists(st.floats(1e-6, 1e3), min_size=len(wall), max_size=len(wall)))
    outcome = Outcome(clock=clock, images=images, calls=calls, window_seconds=tuple(wall), cpu_seconds=tuple(cpu))
    ordered = sorted(cpu if clock == CPU else wall)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    assert outcome.seconds == pytest.approx(middle / calls)
    assert outcome.images_per_second == pytest.approx(images * calls / middle)


def test_one_slow_window_changes_nothing():
    quiet, disturbed = (Outcome(calls=10, window_seconds=(1.0, 1.1, last)) for last in (1.2, 99.0))
    assert quiet.seconds == disturbed.seconds == statistics.median([1.0, 1.1, 1.2]) / 10


def test_what_failed_has_neither_seconds_nor_speed():
    for outcome in (Outcome(failed="why", cause="error"), Outcome(), Outcome(calls=3, images=2)):
        assert outcome.seconds is outcome.images_per_second is outcome.grown_bytes is None
    assert Outcome(calls=1, window_seconds=(1.0,)).images_per_second is None  # what is imported has no images


def test_memory_is_what_was_added():
    assert Outcome(peak_rss_bytes=7, base_rss_bytes=5).grown_bytes == 2
    assert Outcome(peak_rss_bytes=7).grown_bytes is Outcome(base_rss_bytes=7).grown_bytes is None
