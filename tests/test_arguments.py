"""Values of a command line: what is taken, and what is told what is allowed."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import arguments
from bench.arguments import above_zero, command, count, memory, odd, percent, sides

refused = pytest.raises(argparse.ArgumentTypeError)


@given(st.integers(0, 10**9), st.integers(0, 100), st.integers(0, 100))
def test_counts(value, least, more):
    if least <= value <= least + more:
        assert count(least, least + more)(str(value)) == value
    else:
        with refused as error:
            count(least, least + more)(str(value))
        assert f"from {least} to {least + more}" in str(error.value)


@given(st.text(max_size=12))
def test_any_text_is_taken_or_refused_and_no_more(text):
    for kind in (count(1), odd, percent, memory, arguments.seconds):
        try:
            assert kind(text) >= 0
        except argparse.ArgumentTypeError as error:
            assert repr(text) in str(error) or repr(text.removesuffix("%").strip()) in str(error) or kind is memory


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_sides(least, most):
    if 8 <= least <= most <= 4096:
        assert sides(f"{least}..{most}") == (least, most) and sides(str(most)) == (most, most)
    else:
        with refused as error:
            sides(f"{least}..{most}")
        assert "as 96..320, both from 8 to 4096" in str(error.value)


@given(st.text(max_size=12))
def test_any_text_is_sides_or_refused(text):
    try:
        least, most = sides(text)
    except argparse.ArgumentTypeError as error:
        assert repr(text) in str(error)
        return
    assert 8 <= least <= most <= 4096


@pytest.mark.parametrize("text", ["-1", "1.0", "", "x", "1e3", "9" * 10, " 1"])
def test_what_is_no_count(text):
    with refused:
        count(0)(text)


def test_percentages():
    assert [percent(text) for text in ("2", "2%", "2 %", "0.5")] == pytest.approx([0.02, 0.02, 0.02, 0.005])
    for text in ("0", "-1", "100", "nan", "inf", "two", "", "%", "2%%"):
        with refused:
            percent(text)


def test_memory():
    sizes = {"1000": 1000, "4GiB": 4 * 2**30, "4 gib": 4 * 2**30, "500MB": 500 * 10**6, "1.5KiB": 1536, "2KB": 2000}
    assert {text: memory(text) for text in sizes} == sizes
    for text in ("", "GiB", "4TiB", "-1MB", "nan", "4iB", "4 G iB", "x"):
        with refused:
            memory(text)


def test_odd_numbers_and_open_ends():
    assert odd("21") == 21
    for text in ("1", "20", "x"):
        with refused:
            odd(text)
    assert above_zero("seconds", 10)("9.5") == 9.5
    with pytest.raises(argparse.ArgumentTypeError, match="a number of seconds above 0 and below 10"):
        above_zero("seconds", 10)("10")


def test_a_command_calls_its_function():
    parser = argparse.ArgumentParser()
    made = command(parser.add_subparsers(), "measure", print, "measure it", "examples:\n  x\n")
    assert parser.parse_args(["measure"]).command is print
    assert "Measure it." in made.format_help() and "examples:\n  x" in made.format_help()
