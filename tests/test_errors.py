"""Errors are one tree with exit codes, and their messages stay short whatever the value."""

import inspect

from bench import errors
from bench.errors import FieldError, ResbenchError, shown


def test_every_error_is_a_resbench_error_with_a_documented_exit_code():
    own = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, Exception)]
    assert len(own) >= 6
    for error in own:
        assert issubclass(error, ResbenchError)
        assert error.exit_code in (errors.EXIT_BAD_INPUT, errors.EXIT_STORE)
        assert error.__name__ in errors.__doc__


def test_a_field_error_names_place_key_value_and_what_is_allowed():
    error = FieldError("depth", 57, "56 or 62").at("[matrix]").at("study.toml")
    assert str(error) == "study.toml: [matrix]: depth = 57 is not allowed; allowed: 56 or 62"


def test_long_values_are_cut():
    assert len(shown("x" * 10_000)) == 80
    assert shown(10**5000) == "a number of thousands of digits"
