"""What leaves for pull requests, CI and programs: well-formed whatever stands in names and reasons."""

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import bulletin
from bench.bulletin import Line
from bench.ruling import FAILED, IMPROVEMENT, INCONCLUSIVE, MARKS, NOT_MEASURED, REGRESSION, STEADY
from bench.table import table

HOSTILE = "<script>alert(1)</script> | `x` **b** [a](b) ![i](c) # ~~s~~ &amp; \x1b[31m \x00 \ud800 ]]> \n\n# h"
anything = st.text(st.characters(), max_size=40)


def a_line(ruling=STEADY, worse=None, label="train", because=None):
    worse = ruling in (REGRESSION, FAILED) if worse is None else worse
    sentence = f"{ruling}; {because}" if because else ruling
    return Line(label, ruling, worse, sentence, because, 0.01, {"benchmark": "id"})


def a_table(lines):
    return table("comparison", ["benchmark", "verdict"], [[line.label, line.verdict] for line in lines])


@pytest.mark.parametrize(
    ("rulings", "code"),
    [
        ([STEADY, IMPROVEMENT], 0),
        ([STEADY, REGRESSION, INCONCLUSIVE, NOT_MEASURED], 1),
        ([FAILED, NOT_MEASURED], 1),
        ([STEADY, INCONCLUSIVE], 3),
        ([STEADY, NOT_MEASURED], 3),
        ([INCONCLUSIVE], 3),
        ([NOT_MEASURED, NOT_MEASURED], 4),
        ([], 4),
    ],
)
def test_exit_codes(rulings, code):
    lines = [a_line(ruling) for ruling in rulings]
    assert bulletin.exit_code(lines) == code
    assert json.loads(bulletin.as_json({}, lines))["exit_code"] == code


def test_grown_memory_fails_beside_a_steady_time():
    lines = [a_line(worse=True), a_line()]
    assert bulletin.exit_code(lines) == 1
    assert bulletin.tally(lines) == "2 no regression, 1 of them worse otherwise"
    assert len(ElementTree.fromstring(bulletin.junit("t", lines)).findall(".//failure")) == 1


def test_every_ruling_has_a_mark_and_is_counted():
    lines = [a_line(ruling) for ruling in MARKS]
    assert bulletin.tally([*lines, a_line()]) == (
        "1 regression, 1 failed, 1 improvement, 2 no regression, 1 inconclusive, 1 not measured"
    )
    assert [line.verdict[0] for line in lines] == list(MARKS.values())


def test_junit_says_which_failed_and_which_were_skipped():
    suite = ElementTree.fromstring(bulletin.junit("base → head", [a_line(ruling) for ruling in MARKS]))
    counts = {name: suite.get(name) for name in ("name", "tests", "failures", "skipped", "errors")}
    assert counts == {"name": "base → head", "tests": "6", "failures": "2", "skipped": "2", "errors": "0"}
    told = {case.find("*").tag: 0 for case in suite}
    for case in suite:
        told[case.find("*").tag] += 1
        assert float(case.get("time")) == 0.01 and case.get("classname") == "resbench"
    assert told == {"failure": 2, "system-out": 2, "skipped": 2}


@given(anything, anything, anything)
def test_junit_and_json_are_well_formed_whatever_they_hold(title, label, because):
    lines = [a_line(ruling, label=label, because=because) for ruling in (STEADY, FAILED, NOT_MEASURED)]
    suite = ElementTree.fromstring(bulletin.junit(title, lines).encode(errors="replace"))
    assert len(suite) == 3
    found = json.loads(bulletin.as_json({"title": title}, lines))
    assert found["title"] == title and [v["because"] for v in found["verdicts"]] == [because] * 3


def test_what_xml_can_hold_is_kept_and_the_rest_is_marked():
    suite = ElementTree.fromstring(bulletin.junit("a\tb", [a_line(FAILED, label="a\x00b\x1b\ud800\ufffe😀<&>\"'")]))
    assert suite[0].get("name") == "a�b���😀<&>\"'"


def rendered(text):
    """As GitHub does at least: HTML in it would be passed on."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)


def flat(tokens):
    for token in tokens:
        yield token
        yield from flat(token.children or [])


@given(anything, anything, anything, anything)
def test_markdown_has_the_structure_that_it_is_given_whatever_it_holds(title, label, because, note):
    lines = [a_line(label=f"x{label}", because=f"x{because}"), a_line()]
    text = bulletin.markdown(f"x{title}", lines, a_table(lines), [f"x{note}"], again=f"resbench {note}")
    kinds = [token.type for token in flat(rendered(text))]
    expected = {"heading_open": 1, "table_open": 1, "tr_open": 3, "td_open": 4, "list_item_open": 1, "code_inline": 1}
    assert {kind: kinds.count(kind) for kind in expected} == expected
    text_only = "heading table thead tbody tr th td bullet_list list_item paragraph inline text code_inline"
    allowed = text_only.split()
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= set(allowed)


def test_markdown_of_a_hostile_name():
    lines = [a_line(REGRESSION, label=HOSTILE, because=HOSTILE)]
    text = bulletin.markdown(HOSTILE, lines, a_table(lines), [HOSTILE], again=f"resbench compare '{HOSTILE}' ``")
    kinds = {token.type for token in flat(rendered(text))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "strong_open", "s_open"}
    assert text.startswith("### ✘ ")


def test_markdown_in_full():
    lines = [
        a_line(REGRESSION, label="train, noise_32"),
        a_line(INCONCLUSIVE, because="a slowdown of 5 % is not excluded"),
    ]
    text = bulletin.markdown("a → b", lines, a_table(lines), ["On a machine."], again="resbench compare a b")
    assert text == (
        "### ✘ a → b: 1 regression, 1 inconclusive\n\n"
        "| benchmark | verdict |\n| --- | --- |\n| train, noise\\_32 | ✘ regression |\n| train | ? inconclusive |\n\n"
        "- train: a slowdown of 5 % is not excluded\n\n"
        "On a machine.\n\n"
        "Again: `resbench compare a b`\n"
    )
    steady = bulletin.markdown("a → b", [a_line()], a_table([a_line()]), [])
    assert steady.startswith("### ✔ ") and "Again" not in steady
    assert bulletin.markdown("a → b", [a_line(INCONCLUSIVE)], a_table([a_line()]), []).startswith("### ? ")
