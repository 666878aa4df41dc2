"""Texts of others (names, paths, errors, a study's own words), made so that they stay texts wherever they are shown."""

from __future__ import annotations

import re

# Controls but for tab and newline, marks that turn the direction of writing, halves of characters, no characters
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|#&!~]|:(?=//)|(?<=www)\.", re.IGNORECASE)  # and what GitHub makes links of
_BLOCK = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)])")  # at its beginning: a list, a rule, a heading's underline
_FORMULA = re.compile(r"[=+\-@\t]")  # a spreadsheet takes a text that begins so for one
_NUMBER = re.compile(r"[+-]?\d[\d.,]*%?( [\w%/±.,]+)*")  # and its unit
_LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"±": r"$\pm$", "–": "--", "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "✔": "", "✘": ""},
}


def printable(text: str) -> str:
    """What a terminal, a file in UTF-8 and XML 1.0 can hold, and none of them obeys; may have lines."""
    return _UNPRINTABLE.sub("�", text)


def one_line(text: str) -> str:
    """All on one line, printable."""
    return printable(" ".join(text.split()))


def escaped(text: str) -> str:
    """On one line, so that it stays text within a line of Markdown."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def paragraph(text: str) -> str:
    """On one line, as a paragraph of Markdown."""
    return _BLOCK.sub(r"\1\\\2", escaped(text), count=1)


def code(text: str) -> str:
    """A code span of Markdown, fenced by more backticks than are in it."""
    found = one_line(text)
    fence = "`" * (_longest(found) + 1)
    pad = " " if found[:1] == "`" or found[-1:] == "`" else ""
    return f"{fence}{pad}{found}{pad}{fence}"


def block(lines: list[str]) -> str:
    """Lines as a block of code, in Markdown."""
    found = [" ".join(printable(text).splitlines()) for text in lines]
    fence = "`" * max(3, 1 + max(map(_longest, found)))
    return "\n".join([fence, *found, fence])


def latex(text: str) -> str:
    """On one line, to stand within a line of LaTeX."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def cell(text: str) -> str:
    """A cell of CSV that no spreadsheet takes for a formula: one that would be begins with an apostrophe."""
    found = printable(text)
    return f"'{found}" if _FORMULA.match(found) and not _NUMBER.fullmatch(found) else found


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
