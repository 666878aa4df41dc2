"""Tables: the same values in three notations."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.stats import Estimate
from bench.table import Column, Table, percent, shown, table

MADE = table(
    "made",
    ["net", "n", percent("error, %"), Column("difference", 1, 100.0, signed=True), Column("speed", 0), "note"],
    [
        ["plain-8", 3, Estimate(0.02478418, 0.0083872, 3), 0.5, 1234.5678, "a_b"],
        ["plain-20", 1, Estimate(0.5, None, 1), -0.25, None, "50 % & more"],
    ],
)


def test_markdown():
    assert MADE.markdown().splitlines() == [
        "| net | n | error, % | difference | speed | note |",
        "| --- | --: | --: | --: | --: | --- |",
        "| plain-8 | 3 | 2.5 ± 0.8 | +50.0 | 1,235 | a\\_b |",
        "| plain-20 | 1 | 50.0 | -25.0 | – | 50 % \\& more |",
    ]


def test_csv_has_full_precision_and_intervals_apart():
    first, second = csv.DictReader(io.StringIO(MADE.csv()))
    assert float(first["error, %"]) == pytest.approx(2.478418, rel=1e-12)
    assert float(first["error, % ±"]) == pytest.approx(0.83872, rel=1e-12)
    assert (first["error, % n"], first["speed"], first["difference"]) == ("3", "1234.5678", "50.0")
    assert (second["error, % ±"], second["speed"], second["note"]) == ("", "", "50 % & more")


def test_latex_compiles_by_eye():
    text = MADE.latex()
    assert r"\begin{tabular}{lrrrrl}" in text and r"\toprule" in text and r"\bottomrule" in text
    assert r"plain-8 & 3 & 2.5 $\pm$ 0.8 & +50.0 & 1,235 & a\_b \\" in text
    assert r"50 \% \& more" in text and r"error, \%" in text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_stays_text_in_markdown(text):
    made = Table("t", (Column("a"), Column("b")), ((text, "end"),))
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(made.markdown())
    assert page.count("<td") == 2 and page.count("<tr>") == 2
    assert "<em>" not in page and "<strong>" not in page and "<a " not in page and "<img" not in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("x", "x"), (1234, "1,234"), (0.5, "50.0"), (Estimate(0.5, 0.25, 4), "50.0 ± 25.0")],
)
def test_values_as_a_reader_sees_them(value, text):
    assert shown(value, percent("error")) == text
