"""Verdicts in words, as JSON, and as an exit code."""

import dataclasses
import json

import pytest
from synthetic import RECIPE, a_cell, a_net

from bench import statement
from bench.cell import Arch, Cell, Recipe
from bench.claim import Claim
from bench.run import DIVERGED
from bench.verdict import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTABLE, Verdict, judge

PLAIN, RESIDUAL = a_cell(8, "none"), a_cell(8, "A")
CLAIM = Claim("Plain is worse.", {"shortcut": ("none",)}, {"shortcut": ("A",)})


def judged(plain, residual, claim=CLAIM):
    nets = [a_net(cell, dict(enumerate(column))) for cell, column in ((PLAIN, plain), (RESIDUAL, residual))]
    (found,) = judge([claim], nets, {net.cells[0].net: tuple(range(len(net.cells))) for net in nets})
    return found


def test_a_supported_claim_in_words():
    found = judged([0.81, 0.80, 0.82], [0.01, 0.01, 0.01])
    assert statement.evidence(found) == (
        "Training error of plain-8 less that of ResNet-8-A: +80.00 points (+77.52 to +82.48), claimed above 0 points; "
        "n = 3 paired seeds, p < 0.0001."
    )
    assert statement.side(found.left, CLAIM) == "81.00 %" and statement.side(found.right, CLAIM) == "1.00 %"


def test_an_undecided_claim_says_how_many_more_seeds():
    found = judged([0.10, 0.20, 0.15], [0.09, 0.11, 0.12])
    assert f"About {found.more} more seeds would probably decide it." in statement.evidence(found)
    assert "1 more seed would" in statement.evidence(dataclasses.replace(found, more=1))
    assert "Over 1,000 more seeds would" in statement.evidence(dataclasses.replace(found, more=None))


def test_an_untestable_claim_says_why():
    assert statement.evidence(judged([0.1, None, None], [0.1] * 3)) == "Plain-8: 2 of 3 seeds not run."


def test_notes_follow():
    assert statement.evidence(judged([0.9, DIVERGED, 0.95], [0.1, 0.11, 0.12])).endswith(
        "Plain-8: 1 of 3 seeds diverged, taken as 100 %."
    )


def test_values_that_do_not_vary_have_no_interval():
    found = judged([0.5] * 3, [0.25] * 3)
    assert statement.found(found) == "+25.00 points" and statement.plain([found])[0]["interval"] is None


@pytest.mark.parametrize(
    ("relation", "margin", "words"),
    [
        ("above", 10.0, "above 10 points"), ("below", 10.0, "below -10 points"), ("below", 0.0, "below 0"),
        ("not above", 0.5, "at most 0.5 points"), ("not below", 0.5, "at least -0.5 points"),
        ("not below", 0.0, "at least 0"), ("within", 0.5, "within ±0.5 points"),
        ("differs", 0.5, "outside ±0.5 points"), ("differs", 0.0, "other than 0"),
    ],
)  # fmt: skip
def test_where_the_difference_is_claimed_to_be(relation, margin, words):
    assert statement.claimed(Claim("x", {}, {}, relation=relation, margin=margin)) == words


def test_nets_of_one_label_are_told_apart_by_what_they_differ_in():
    other = a_cell(8, "A", recipe=dataclasses.replace(RECIPE, precision="bf16"))
    claim = Claim("x", {"precision": ("bf16",)}, {"precision": ("fp32",)})
    nets = [a_net(cell, {0: 0.1, 1: 0.2}) for cell in (RESIDUAL, other)]
    (found,) = judge([claim], nets, {net.cells[0].net: (0, 1) for net in nets})
    assert statement.subject(found) == (
        "training error of ResNet-8-A (precision bf16) less that of ResNet-8-A (precision fp32)"
    )


def test_against_the_paper():
    net = Cell(Arch(depth=110), Recipe(warmup="paper"), "cifar10")
    claim = Claim("x", {"depth": (110,)}, "Table 6", metric="test_error", relation="within", margin=0.5)
    (found,) = judge([claim], [a_net(net, {0: 0.066, 1: 0.067, 2: 0.0665}, "final_test_error")], {net.net: (0, 1, 2)})
    text = statement.evidence(found)
    assert "that in Table 6 (mean of 5, its best 6.43 %): " in text and "n = 3 seeds, p =" in text
    assert text.endswith("Recipe and data alike. The published figure is taken as exact.")
    assert statement.side(None, claim, statement.published(found)) == "6.61 %"


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.04321, "0.043"), (0.00123, "0.0012"), (1e-9, "< 0.0001"), (1.0, "1.000")]
)
def test_p_values(p, text):
    assert statement.p_value(p) == text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([SUPPORTED], 0),
        ([SUPPORTED, SUPPORTED], 0),
        ([SUPPORTED, CONTRADICTED, UNDECIDED], 1),
        ([SUPPORTED, UNDECIDED], 3),
        ([UNTESTABLE], 3),
    ],
)
def test_exit_codes(words, code):
    assert statement.exit_code([Verdict(CLAIM, word) for word in words]) == code


def test_a_tally():
    verdicts = [Verdict(CLAIM, word) for word in (SUPPORTED, UNTESTABLE, SUPPORTED)]
    assert statement.tally(verdicts) == "3 comparisons: 2 supported, 1 untestable"
    assert statement.tally(verdicts[:1]) == "1 comparison: 1 supported"


def test_json_has_what_is_known_at_full_precision():
    found = judged([0.81, 0.80, 0.82], [0.01, 0.01, 0.02])
    (plain,) = json.loads(json.dumps(statement.plain([found]), allow_nan=False))
    assert plain["verdict"] == SUPPORTED and plain["difference"] == found.effect.mean
    assert plain["interval"] == list(found.interval) and plain["p_exact_unadjusted"] == 0.125
    (plain,) = statement.plain([judged([None] * 3, [0.1] * 3)])
    assert plain["difference"] is plain["p"] is plain["n"] is None and plain["because"]
