"""Answers survive the way, and what is damaged or of something else is told."""

import gzip
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import a_host

from bench import run
from bench.answer import Answer, Place
from bench.errors import DataError

PLACE = Place(a_host(), run.provenance(), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), 1.5)
ANSWER = Answer("0123456789abcdef", "ab" * 32, value={"curve": [{"test_error": 0.1}]}, place=PLACE)


@given(st.floats(allow_nan=False), st.text())
def test_an_answer_comes_back_to_the_bit(number, text):
    answer = replace(ANSWER, value={"curve": [{"loss": number}], "said": text})
    assert Answer.unpacked(answer.packed(), answer.cell_id, answer.data_sha256) == answer
    died = replace(ANSWER, value=None, death={"cause": "error", "reason": text, "log": ""}, place=None)
    assert Answer.unpacked(died.packed(), died.cell_id, died.data_sha256) == died


def test_a_loss_that_is_no_number_comes_back_as_one():
    answer = replace(ANSWER, value={"curve": [{"loss": math.nan}]})
    assert math.isnan(Answer.unpacked(answer.packed(), answer.cell_id, answer.data_sha256).value["curve"][0]["loss"])


@given(st.data())
def test_a_damaged_answer_is_told_or_reads_the_same_never_a_traceback(data):
    content = bytearray(ANSWER.packed())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(10, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        answer = Answer.unpacked(bytes(content), ANSWER.cell_id, ANSWER.data_sha256)
    except DataError as error:
        assert "damaged" in str(error)
    else:
        assert answer == ANSWER  # a bit that pads the compressed stream to a byte means nothing


@pytest.mark.parametrize("plain", [[], None, {}, {"format": 1}, {"format": 1, "cell_id": "x", "place": {}}])
def test_json_that_is_no_answer_is_damaged(plain):
    with pytest.raises(DataError, match="damaged"):
        Answer.unpacked(gzip.compress(json.dumps(plain).encode()), "x", None)


def test_an_answer_of_something_else_is_told_as_that():
    content = ANSWER.packed()
    with pytest.raises(DataError, match="of cell 0123456789abcdef"):
        Answer.unpacked(content, "f" * 16, ANSWER.data_sha256)
    with pytest.raises(DataError, match=r"of other data \(checksum abababababab, here cdcdcdcdcdcd\)"):
        Answer.unpacked(content, ANSWER.cell_id, "cd" * 32)
    plain = json.loads(gzip.decompress(content)) | {"format": 2}
    with pytest.raises(DataError, match="another version"):
        Answer.unpacked(gzip.compress(json.dumps(plain).encode()), ANSWER.cell_id, ANSWER.data_sha256)
