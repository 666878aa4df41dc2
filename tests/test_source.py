"""The grammar of data sets' names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import FieldError
from bench.source import ALLOWED, BUILT_IN, NOISE, SHAPES, Source


def test_a_folder_is_identified_by_its_name_alone():
    here, there = Source.parse("parquet:some/where/cifar10-jpeg/"), Source.parse("parquet:/else/cifar10-jpeg")
    assert here.identity == there.identity == "parquet:cifar10-jpeg"
    assert here.label == "cifar10-jpeg"
    assert str(there) == "parquet:/else/cifar10-jpeg"
    assert Source.parse("folder:cifar10-jpeg").identity != here.identity


def test_dots_are_resolved_before_naming(monkeypatch, tmp_path):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    assert Source.parse("folder:.").identity == "folder:images"


@pytest.mark.parametrize("name", SHAPES)
def test_built_in_names_stand_for_themselves(name):
    assert Source.parse(name).identity == Source.parse(name).label == name


def test_shapes_are_known_of_all_built_in_names_and_all_are_told_of():
    assert set(SHAPES) == set(BUILT_IN) >= set(NOISE)
    assert all(name in ALLOWED for name in BUILT_IN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "digit",
        "digits:x",
        "noise",
        "noise32:x",
        "parquet:",
        "parquet",
        "folder:/",
        "x:y",
        3,
        None,
        True,
        [],
        "parquet:a\0b",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text):
    with pytest.raises(FieldError, match="parquet:DIR"):
        Source.parse(text)


@given(st.text())
def test_an_identity_parses_to_itself_or_the_text_is_refused(text):
    try:
        identity = Source.parse(text).identity
    except FieldError:
        return
    assert Source.parse(identity).identity == identity
