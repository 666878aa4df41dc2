"""On a terminal, texts are shown and not obeyed."""

import io
import re

from hostile import NASTY
from rich.table import Table
from rich.text import Text

from bench import terminal, texts


def shown(*things, **options):
    file = io.StringIO()
    console = terminal.console(file=file, width=5000, **options)
    for thing in things:
        console.print(thing)
    return file.getvalue()


def test_texts_are_shown_whole_and_without_codes():
    table = Table("[bold]head[/bold]")
    table.add_row(NASTY)
    text = texts.printable(" ".join(NASTY.split()))
    for found in (shown(NASTY.replace("\u2028 \x85", "")), shown(Text(NASTY)), shown(table)):
        assert "\x1b" not in found and "\u202e" not in found
        assert "[red]markup[/red] :smile:" in found
    assert text.split("\x1b")[0] in " ".join(shown(Text(text)).split())
    assert "[bold]head[/bold]" in shown(table)


def test_styles_of_our_own_are_still_drawn():
    found = shown(Text(NASTY, style="red"), force_terminal=True, color_system="standard")
    assert set(re.findall("\x1b(.{3})", found)) == {"[31", "[0m"}  # the style's, and its end


def test_what_is_said_is_printable(capsys):
    terminal.say("a\x1b[31m", "b")
    terminal.say("c\r", error=True)
    assert capsys.readouterr() == ("a�[31m\nb\n", "c�\n")
