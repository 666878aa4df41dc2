"""Cells: validation, ids that stay, and the learning rate at exact steps."""

import dataclasses
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import field
from bench.cell import FIELDS, HISTORICAL, IMAGENET_DEPTHS, Arch, Cell, Recipe, nearest_depths
from bench.errors import FieldError

# Recorded results are found by these ids. A change here makes every result that users have unreachable: add fields with
# `historical=` instead.
GOLDEN = {
    "2f352a88803af505": Cell(Arch(), Recipe(), "digits", 0),
    "4f76e02ad1f27cba": Cell(Arch(depth=110, shortcut="none"), Recipe(warmup="paper"), "cifar10", 4),
    "b3789c91e8fb9f53": Cell(Arch("imagenet", 50, "B", 0.5, "v1.5"), Recipe(precision="bf16"), "folder:some/mini", 1),
}


@pytest.mark.parametrize("expected", GOLDEN)
def test_golden_ids(expected):
    assert GOLDEN[expected].id == expected


def test_every_field_is_part_of_the_id():
    base = Cell(Arch("imagenet", 50, "B"), Recipe(), "digits", 0)
    other = {
        "family": None,  # a change of family changes the legal depths: see below
        "depth": 101, "shortcut": "C", "width": 2.0, "stride": "v1.5", "iterations": 63_999, "batch": 127, "lr": 0.2,
        "drops": (1, 2), "drop_factor": 0.2, "warmup": "paper", "momentum": 0.8, "weight_decay": 0.0,
        "decay_on": "weights",
        "init_fan": "fan_in", "crop_padding": 3, "flip": False, "precision": "bf16", "eval_every": 10,
        "memory_format": "contiguous", "compiled": True, "last_batch": "drop",
        "split": "holdout", "split_seed": 1,
        "crop_size": None, "scale": None, "colour": None, "decoding": None, "train_sample": None,  # together: below
        "plateau": None, "plateau_on": "test", "plateau_gain": 0.01, "norm_batch": None, "recompute": True,
        "data": "cifar10", "seed": 1,
    }  # fmt: skip
    assert other.keys() == FIELDS.keys()
    ids = {base.id} | {Cell.from_flat(base.flat() | {k: v}).id for k, v in other.items() if v is not None}
    assert len(ids) == 1 + sum(value is not None for value in other.values())
    assert "family" in json.loads(base.arch.canonical)


def test_the_fields_of_views_plateaus_and_groups_are_part_of_the_id():
    views = {"crop_size": 224, "scale": (256, 480), "crop_padding": 0, "last_batch": "drop", "drops": ()}
    base = Cell.from_flat(FLAT | views)
    other = {
        **{"crop_size": 192, "scale": (256, 256 + 1), "colour": "own", "decoding": "gpu", "train_sample": 50_000},
        **{"plateau": 3, "norm_batch": 32},
    }
    assert len({base.id} | {Cell.from_flat(base.flat() | {k: v}).id for k, v in other.items()}) == 1 + len(other)
    assert base.net != Cell.from_flat(FLAT).net and base.priced == (base.arch, "digits", 224)


FLAT = Cell(Arch("imagenet", 18, "A"), Recipe(), "digits", 0).flat()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": (256, 480)}, "scale"),
        ({"colour": "own"}, "colour"),
        ({"crop_size": 224, "crop_padding": 0}, "two lengths"),
        ({"crop_size": 224, "scale": (200, 480), "crop_padding": 0}, "neither below crop_size, 224"),
        ({"crop_size": 224, "scale": (256, 480)}, "crop_padding"),
        ({"plateau": 3}, "drops"),
        ({"plateau": 3, "drops": (), "plateau_on": "validation"}, "running or test"),
        ({"norm_batch": 32}, "last_batch"),
        ({"norm_batch": 48, "last_batch": "drop"}, "a divisor of batch, 128"),
    ],
)
def test_fields_that_do_not_go_together(fields, message):
    with pytest.raises(FieldError, match=message):
        Cell.from_flat(FLAT | fields)


def test_plateaus_drop_the_rate():
    recipe = Recipe(plateau=3, drops=())
    assert [recipe.learning_rate(9, plateaus=n) for n in range(3)] == pytest.approx([0.1, 0.01, 0.001])


def test_a_path_is_no_part_of_the_id():
    assert Cell(Arch(), Recipe(), "parquet:a/x").id == Cell(Arch(), Recipe(), "parquet:/b/c/x").id


def test_flat_round_trip():
    for cell in GOLDEN.values():
        assert Cell.from_flat(cell.flat()) == cell
    with pytest.raises(FieldError, match="color"):
        Cell.from_flat({"color": 1, "data": "digits"})


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Arch().depth = 8


def test_legal_depths():
    for depth in (8, 14, 20, 32, 44, 56, 110, 1202):
        assert Arch(depth=depth).depth == depth
    for depth, shortcut in itertools.product(IMAGENET_DEPTHS, ("none", "A", "B", "C")):
        assert Arch("imagenet", depth, shortcut).bottleneck == (depth >= 50)


@given(st.integers(1, 6002))
def test_nearest_depths_are_the_nearest_legal_ones(depth):
    legal = range(8, 6003, 6)
    below, above = [d for d in legal if d <= depth][-1:], [d for d in legal if d >= depth][:1]
    assert set(nearest_depths("cifar", depth)) == set(below + above)


@pytest.mark.parametrize(
    ("family", "depth", "named"),
    [("cifar", 57, "56 and 62"), ("cifar", 3, "nearest: 8"), ("cifar", 99_999, "nearest: 6002"),
     ("imagenet", 20, "18 and 34"),
     ("imagenet", 500, "nearest: 152"), ("imagenet", 8, "nearest: 18")],
)  # fmt: skip
def test_an_illegal_depth_names_the_nearest(family, depth, named):
    with pytest.raises(FieldError, match=named):
        Arch(family, depth)


def test_impossible_combinations():
    with pytest.raises(FieldError, match="stride"):
        Arch("imagenet", 34, stride="v1.5")
    with pytest.raises(FieldError, match="drops"):
        Recipe(iterations=100, eval_every=10)
    with pytest.raises(FieldError, match="eval_every"):
        Recipe(iterations=100, drops=())


@given(
    st.sampled_from(sorted(set(FIELDS) - {"data"})),
    st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(), st.booleans()),
)
def test_any_value_is_taken_or_refused_by_name(name, value):
    try:
        cell = Cell.from_flat({"data": "digits", name: value})
    except FieldError as error:
        assert error.allowed
    else:
        assert cell.flat()[name] == (HISTORICAL[name] if value is None else value) or name == "drops"


def test_defaults_are_the_papers():
    """Section 4.2, CIFAR-10."""
    recipe = Recipe()
    assert (recipe.iterations, recipe.batch, recipe.drops) == (64_000, 128, (32_000, 48_000))
    assert (recipe.momentum, recipe.weight_decay, recipe.crop_padding, recipe.flip) == (0.9, 1e-4, 4, True)


@pytest.mark.parametrize(
    ("iteration", "lr"),
    [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)],
)
def test_learning_rate_at_exact_steps(iteration, lr):
    for warmup in ("none", "paper"):
        assert Recipe(warmup=warmup).learning_rate(iteration) == pytest.approx(lr, rel=1e-12)


def test_while_warming_the_rate_is_the_papers_constant():
    assert Recipe(warmup="paper").learning_rate(399, warming=True) == 0.01
    assert Recipe(warmup="paper").learning_rate(400) == 0.1


def test_labels_are_the_papers():
    assert Arch(depth=56, shortcut="none").label == "plain-56"
    assert Cell(Arch(depth=110), Recipe(), "digits", 3).label == "ResNet-110-A, seed 3"


def test_every_field_has_a_kind():
    for record in (Arch, Recipe):
        assert set(field.kinds(record)) == {f.name for f in dataclasses.fields(record)}


def test_a_row_from_before_a_field_existed_is_the_cell_it_was():
    """Tables read null in a column that they lack."""
    cell = next(iter(GOLDEN.values()))
    row = cell.flat() | {"memory_format": None, "compiled": None}
    assert Cell.from_flat(row) == cell and Cell.from_flat(row).id == cell.id
    with pytest.raises(FieldError, match="batch"):
        Cell.from_flat(cell.flat() | {"batch": None})
