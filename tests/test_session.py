"""Files that are asked for."""

from argparse import Namespace

import pytest
from test_bulletin import a_line, a_table

from bench import session
from bench.errors import InputError


def test_files_are_checked_without_a_trace(tmp_path):
    path = tmp_path / "new" / "a.md"
    session.check_writable(None, path)
    assert path.parent.is_dir() and list(path.parent.iterdir()) == []
    path.write_text("before")
    session.check_writable(path)
    assert path.read_text() == "before"
    for wrong, why in ((path / "x", "cannot be written"), (tmp_path, "it is a folder")):
        with pytest.raises(InputError, match=why) as error:
            session.check_writable(None, wrong)
        assert str(wrong) in str(error.value)
        with pytest.raises(InputError, match="cannot be written"):
            session.write(wrong, "text")


def test_texts_are_utf_8_whatever_they_hold(tmp_path):
    session.write(tmp_path / "a", "✔ \udc80")
    assert (tmp_path / "a").read_bytes() == "✔ ?".encode()


def test_what_is_published_is_printed_and_written(tmp_path, capsys):
    lines = [a_line(because="so it is")]
    options = Namespace(markdown=tmp_path / "m", junit=None, json=tmp_path / "j")
    session.publish(options, "a → b", lines, a_table(lines), {"study": "s"}, ["A note."], "resbench again")
    text = capsys.readouterr().out
    assert text.splitlines()[-4:] == ["train: so it is", "a → b: 1 no regression", "A note.", "Again: resbench again"]
    assert "Again: `resbench again`" in (tmp_path / "m").read_text() and '"study": "s"' in (tmp_path / "j").read_text()
