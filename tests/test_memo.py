"""What is remembered, and what is not lost by it."""

import pytest

from bench import host, memo

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_what_is_remembered_is_added_to_what_was():
    assert memo.recall("things.json") == {}
    memo.remember("things.json", {"a": [1, 2]})
    memo.remember("things.json", {"b": 3})
    assert memo.recall("things.json") == {"a": [1, 2], "b": 3}
    assert memo.recall("others.json") == {}


@pytest.mark.parametrize("text", ["", "[1]", "not JSON", "{"])
def test_a_damaged_file_is_as_good_as_none(text):
    memo.remember("things.json", {"a": 1})
    (host.cache_directory() / "things.json").write_text(text)
    assert memo.recall("things.json") == {}
    memo.remember("things.json", {"b": 2})
    assert memo.recall("things.json") == {"b": 2}


def test_a_cache_that_cannot_be_written_stops_nobody(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "file"))
    memo.remember("things.json", {"a": 1})
    assert memo.recall("things.json") == {}
