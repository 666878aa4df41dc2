"""What passed on a GPU, from made-up readings."""

import pytest

from bench.nvml import Reading
from bench.span import Span

QUIET = {
    "software power cap": 100.0,
    "software thermal slowdown": 1.0,
    "hardware thermal slowdown": 2.0,
    "hardware power brake": 3.0,
}


def span(first=None, last=None, polls=()):
    """From one reading to another, which tell of no change but these."""
    same = {"slowdowns": QUIET, "ecc_uncorrected": 4, "energy_joules": 10.0}
    return Span.between(Reading(**same | (first or {})), Reading(**same | (last or {})), polls, 2.0)


def slowed(**seconds):
    after = {reason: value + seconds.get(reason.replace(" ", "_"), 0.0) for reason, value in QUIET.items()}
    return span(last={"slowdowns": after})


def test_counters_are_taken_apart():
    passed = span(last={"energy_joules": 710.0})
    assert (passed.joules, passed.slowdowns, passed.uncorrected) == (700.0, {}, 0)
    assert passed.trouble() is None


def test_a_software_power_cap_is_recorded_and_no_trouble():
    passed = slowed(software_power_cap=1.5)
    assert passed.slowdowns == {"software power cap": 1.5} and passed.trouble() is None


@pytest.mark.parametrize("reason", ["software thermal slowdown", "hardware thermal slowdown", "hardware power brake"])
def test_heat_and_the_power_brake_are(reason):
    assert slowed(**{reason.replace(" ", "_"): 0.25}).trouble() == f"{reason} for 0.25 s"


def test_so_is_heat_as_older_drivers_tell_it():
    passed = span({"slowdowns": {"thermal slowdown": 1.0}}, {"slowdowns": {"thermal slowdown": 1.5}})
    assert passed.trouble() == "thermal slowdown for 0.5 s"


def test_so_are_memory_errors_and_company():
    assert span(last={"ecc_uncorrected": 5}).trouble() == "1 uncorrected memory error"
    assert (
        span(polls=[Reading(other_computing=2), Reading(other_computing=0)]).trouble() == "2 other processes on the GPU"
    )
    both = span({"other_computing": 1}, {"other_computing": 1, "ecc_uncorrected": 6})
    assert both.trouble() == "2 uncorrected memory errors; 1 other process on the GPU"
    assert span({"other_processes": 1}, {"other_processes": 1}).trouble() is None  # a display


def test_what_could_not_be_read_is_none_and_no_trouble():
    nothing = Reading(unread={"energy_joules": "Not Supported"})
    passed = Span.between(nothing, nothing, [nothing], 1.0)
    assert passed.unread == {"energy_joules": "Not Supported"} and passed.trouble() is None
    told = {name: value for name, value in vars(passed).items() if name not in ("seconds", "polls", "unread")}
    assert set(told.values()) == {None}
    assert Span.between(Reading(energy_joules=1.0, slowdowns={}), nothing, [], 1.0).slowdowns is None


def test_a_counter_that_began_anew_tells_nothing():
    passed = span(last={"energy_joules": 1.0, "ecc_uncorrected": 0, "slowdowns": dict.fromkeys(QUIET, 0.0)})
    assert (passed.joules, passed.uncorrected, passed.slowdowns) == (None, None, {})


def test_clocks_are_those_of_the_polls():
    ends = {"sm_clock_mhz": 300, "temperature_celsius": 80}
    polls = [Reading(sm_clock_mhz=clock, temperature_celsius=70) for clock in (1900, 1980, 1980)]
    passed = span(ends, ends, polls)
    assert (passed.sm_clock_mhz_mean, passed.sm_clock_mhz_median) == (pytest.approx(1953.333, abs=0.001), 1980)
    assert (passed.temperature_celsius_max, passed.polls) == (80, 3)
    assert span(ends, ends).sm_clock_mhz_mean == 300
