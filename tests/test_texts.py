"""Texts stay texts, by those who read them: a Markdown parser, Unicode's own categories, Python's csv."""

import re
import unicodedata

import pytest
from hostile import BLOCKS, FORMULAS, NASTY, TEXTS
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import texts

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
pytestmark = pytest.mark.filterwarnings("error")
marks = st.text("`*_[]()<>&!#|~\\-+=1. \n")
some = st.one_of(st.text(max_size=60), st.sampled_from([*TEXTS, *BLOCKS, *FORMULAS]), marks)
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def said(tokens):
    """The text of tokens, which are nothing else."""
    assert {token.type for token in tokens} <= {"text", "softbreak"}
    return "".join(token.content for token in tokens)


@given(some)
def test_nothing_is_left_that_a_terminal_obeys(text):
    found = texts.printable(text)
    assert {unicodedata.category(c) for c in found}.isdisjoint({"Cs", "Zl", "Zp"})
    assert not {c for c in found if unicodedata.category(c) == "Cc"} - {"\n", "\t"}
    assert TURNS.isdisjoint(unicodedata.bidirectional(c) for c in found)
    assert len(found) == len(text) and texts.printable(found) == found
    found.encode()


def test_plain_words_stay_as_they_are():
    for text in ("ResNet-56-A lr=0.05", "深い網 é ✔ 😀", "86.8 ± 5.1"):
        assert texts.printable(text) == texts.one_line(text) == texts.cell(text) == text


@given(some)
def test_a_paragraph_is_its_text(text):
    if not texts.one_line(text):
        return
    tokens = GITHUB.parse(f"before\n\n{texts.paragraph(text)}\n\nafter")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"] * 3
    assert said(tokens[4].children) == texts.one_line(text)


@given(some)
def test_a_cell_of_a_table_is_its_text(text):
    tokens = GITHUB.parse(f"| a | b |\n| --- | --- |\n| {texts.escaped(text)} | end |\n")
    cells = [tokens[n + 1] for n, token in enumerate(tokens) if token.type == "td_open"]
    assert [said(cell.children) for cell in cells] == [texts.one_line(text), "end"]


@pytest.mark.parametrize("text", ["http://evil.example", "HTTPS://evil.example", "www.evil.example", "ftp://x"])
def test_github_makes_no_link_of_it(text):
    """GFM 6.9: an autolink begins with www. or a scheme and ://."""
    assert not re.search(r"www\.|\w://", texts.escaped(text), re.IGNORECASE)


@given(some)
def test_code_is_code(text):
    if not texts.one_line(text):
        return
    (span,) = GITHUB.parse(f"{texts.code(text)}")[1].children
    assert (span.type, span.content) == ("code_inline", texts.one_line(text))


@given(st.lists(some, min_size=1, max_size=3))
def test_a_block_is_a_block(lines):
    (fence,) = GITHUB.parse(texts.block(lines))
    assert fence.type == "fence"
    assert fence.content.count("\n") == len(lines)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_spreadsheet_takes_a_text_for_a_formula(text):
    assert texts.cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["+3.1 %", "-0.5", "+48.00 points", "-1,200 images/s", "a=b", "–", "- "[:0]])
def test_numbers_with_their_units_stay_numbers(text):
    assert texts.cell(text) == text


def test_latex_has_no_command_but_ours():
    found = texts.latex(f"[2] {NASTY}\n\n")
    assert "\n" not in found and found.startswith("{[}2] ")
    for ours in (
        *(rf"\{c}" for c in "&%$#_{}"),
        r"\textasciitilde{}",
        r"\textasciicircum{}",
        r"\textbackslash{}",
        r"\textless{}",
        r"\textgreater{}",
        "{[}",
    ):
        found = found.replace(ours, "")
    assert not set(found) & set("\\&%$#_{}~^[")
