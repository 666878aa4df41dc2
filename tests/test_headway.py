"""How far a count has come, in words, on a terminal and in a log."""

import io

from rich.console import Console

from bench import headway
from bench.headway import pacing, words


def test_words():
    assert words(0, 5000, 0.0, "images") == "0 of 5,000 images"
    assert words(1200, 5000, 3.0, "images") == "1,200 of 5,000 images, 400 a second, 10 s left"
    assert words(5000, 5000, 10.0, "files") == "5,000 of 5,000 files, 500 a second"


def said(terminal):
    file = io.StringIO()
    with pacing(Console(file=file, force_terminal=terminal, width=100)) as told:
        for done in range(4):
            told(done, 3)
    return file.getvalue()


def test_a_terminal_shows_it_to_the_end():
    assert "3 of 3 images" in said(True)


def test_a_log_gets_a_line_a_minute(monkeypatch):
    assert said(False) == ""
    monkeypatch.setattr(headway, "SILENCE_SECONDS", -1.0)
    lines = said(False).splitlines()
    assert len(lines) == 4 and lines[-1].startswith("3 of 3 images")
