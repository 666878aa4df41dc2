"""Claims: how they are read, what is wrong with ill-formed ones, and the nets they compare."""

import dataclasses
import math

import pytest
from synthetic import RECIPE, a_cell

from bench.cell import Arch, Cell, Recipe
from bench.claim import COLUMNS, METRICS, RELATIONS, Claim, comparisons, read
from bench.errors import FieldError, InputError
from bench.run import Run

PLAIN, RESIDUAL = {"shortcut": "none"}, {"shortcut": "A"}


def a_table(**more):
    return {"says": "It is so.", "left": PLAIN, "right": RESIDUAL} | more


def test_the_defaults():
    found = read(a_table(), "x")
    assert (found.metric, found.at, found.relation, found.margin, found.confidence) == (
        "train_error", "final", "above", 0.0, 0.95,
    )  # fmt: skip
    assert (found.left, found.right, found.is_error) == ({"shortcut": ("none",)}, {"shortcut": ("A",)}, True)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"sayz": "x"}, "unknown key 'sayz'; did you mean 'says'"),
        ({"says": ""}, "says = '' .*the claim in words"),
        ({"says": 3}, "says = 3"),
        ({"left": None}, "left: must name at least one field"),
        ({"left": {}}, "left: must name at least one field"),
        ({"left": {"dept": 8}}, "left: unknown key 'dept'; did you mean 'depth'"),
        ({"left": {"depth": []}}, "left: depth = .*at least one value"),
        ({"left": {"shortcut": "none", "seed": 0}}, "left: seed cannot be chosen"),
        ({"right": {"shortcut": "D"}}, "right: shortcut = 'D'"),
        ({"right": {"paper": "Table 7"}}, "right: paper = 'Table 7' .*Table 6, Table 2"),
        ({"right": {"paper": "reproductions"}}, "right: paper = 'reproductions'"),
        ({"right": {"paper": ["Table 6"]}}, "right: paper = "),
        ({"right": {"paper": "Table 6", "depth": 20}}, "right: paper stands alone"),
        ({"metric": "loss"}, "metric = 'loss' .*train_error, validation_error"),
        ({"relation": "more"}, "relation = 'more' .*above, below, not above"),
        ({"relation": "within"}, "margin = 0.0 .*above 0 where the relation is within"),
        ({"margin": -1}, "margin = -1"),
        ({"margin": math.nan}, "margin = nan"),
        ({"margin": True}, "margin = True"),
        ({"confidence": 1.0}, "confidence = 1.0"),
        ({"confidence": 0.4}, "confidence = 0.4"),
        ({"at": "best"}, "at = 'best' .*final, best-on-validation"),
        ({"at": "best-on-validation", "metric": "peak_memory"}, "at = 'best-on-validation' .*final, where the metric"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(more, named):
    with pytest.raises(InputError, match=named) as raised:
        read(a_table(**more), "file: number 2")
    assert str(raised.value).startswith("file: number 2: ") and "\n" not in str(raised.value)


def test_a_claim_made_by_hand_is_checked_too():
    with pytest.raises(FieldError, match="relation"):
        Claim("x", {"depth": (8,)}, {"depth": (20,)}, relation="beside")


def test_every_metric_has_a_column_that_runs_have():
    columns = {field.name for field in dataclasses.fields(Run)} | {"peak_memory_bytes"}
    assert set(COLUMNS.values()) <= columns
    assert {metric for metric, _ in COLUMNS} == set(METRICS)


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_region_is_where_the_difference_is_claimed_to_be(relation):
    low, high = Claim("x", {}, {}, relation=relation, margin=2.0).region
    inside = {
        "above": lambda x: x > 2, "below": lambda x: x < -2,
        "not above": lambda x: x <= 2, "not below": lambda x: x >= -2,
        "within": lambda x: abs(x) <= 2, "differs": lambda x: abs(x) > 2,
    }[relation]  # fmt: skip
    for theta in (-9.0, -2.1, -1.9, 0.0, 1.9, 2.1, 9.0):
        assert (low < theta < high) == (inside(theta) != (relation == "differs"))


def nets(*pairs):
    return [a_cell(depth, shortcut) for depth, shortcut in pairs]


def made(left, right, cells, **more):
    found = comparisons(read(a_table(left=left, right=right, **more), "x"), cells, "here")
    return [(c.left.arch.label, c.right.arch.label) for c in found]


def test_a_net_against_a_net():
    cells = nets((8, "none"), (20, "none"), (8, "A"))
    assert made({"depth": 20}, {"depth": 8, "shortcut": "none"}, cells) == [("plain-20", "plain-8")]


def test_several_nets_are_compared_with_those_alike_in_all_that_is_not_named():
    cells = nets((8, "none"), (20, "none"), (8, "A"), (20, "A"), (8, "B"))
    assert made(PLAIN, RESIDUAL, cells) == [("plain-8", "ResNet-8-A"), ("plain-20", "ResNet-20-A")]
    one = made({"shortcut": ["A", "B"], "depth": 8}, {"depth": 8, "shortcut": "none"}, cells)
    assert one == [("ResNet-8-A", "plain-8"), ("ResNet-8-B", "plain-8")]


def test_nets_trained_in_two_ways_are_matched_way_by_way():
    other = dataclasses.replace(RECIPE, precision="bf16")
    cells = [a_cell(8, s, recipe=r) for s in ("none", "A") for r in (RECIPE, other)]
    found = comparisons(read(a_table(), "x"), cells)
    assert [c.left.recipe for c in found] == [c.right.recipe for c in found] == [RECIPE, other]


@pytest.mark.parametrize(
    ("left", "right", "named"),
    [
        ({"depth": 56}, RESIDUAL, "here: left selects no cell of the study: depth=56"),
        (PLAIN, {"shortcut": ["C"], "depth": 8}, "here: right selects no cell of the study: shortcut=C, depth=8"),
        ({"depth": 8, "shortcut": "A"}, {"depth": 8, "shortcut": "A"}, "the same net .ResNet-8-A."),
        ({"shortcut": "none"}, {"shortcut": "none", "depth": 20}, "the same net .plain-20."),
        ({"shortcut": "none"}, {"shortcut": "B"}, "plain-20 on the left has no net on the right"),
        ({"shortcut": "B"}, {"shortcut": "A", "depth": [8, 20]}, "ResNet-8-B on the left has several nets"),
    ],
)
def test_sides_that_cannot_be_compared(left, right, named):
    cells = nets((8, "none"), (20, "none"), (8, "A"), (20, "A"), (8, "B"))
    with pytest.raises(InputError, match=named):
        made(left, right, cells)


def test_against_the_paper():
    cell = Cell(Arch(depth=56), Recipe(), "cifar10")
    claim = read(a_table(left={"depth": 56}, right={"paper": "Table 6"}, metric="test_error"), "x")
    (comparison,) = comparisons(claim, [cell])
    assert (comparison.right.value, comparison.sides) == (6.97, (cell,))
    for net, metric, table in ((a_cell(56, "A"), "test_error", "Table 6"), (cell, "train_error", "Table 6"),
                               (cell, "test_error", "Table 2")):  # fmt: skip
        claim = read(a_table(left={"depth": 56}, right={"paper": table}, metric=metric), "x")
        with pytest.raises(InputError, match=f"here: {table} has no {METRICS[metric].words} of ResNet-56-A on"):
            comparisons(claim, [net], "here")


def test_what_both_sides_name_alike_pairs_their_nets():
    nets = [a_cell(depth, shortcut) for depth in (8, 20) for shortcut in ("A", "B")]
    alike = {"shortcut": ("A", "B")}
    claim = Claim("Deeper is no worse.", alike | {"depth": (20,)}, alike | {"depth": (8,)}, relation="not above")
    found = [(pair.left.arch.label, pair.right.arch.label) for pair in comparisons(claim, nets)]
    assert found == [("ResNet-20-A", "ResNet-8-A"), ("ResNet-20-B", "ResNet-8-B")]
