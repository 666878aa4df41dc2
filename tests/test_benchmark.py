"""Benchmarks: what they depend on, their ids for good, their names; cells of other versions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import a_cell

from bench import benchmark as module
from bench.benchmark import WORKS, Benchmark, benchmarks, from_flat, select
from bench.cell import DEFAULTS, FIELDS, HISTORICAL, Arch, Cell, Recipe
from bench.errors import FieldError
from bench.recipes import RECIPES

OTHERS = {  # another allowed value of each field, beside those of OF
    **{"family": "imagenet", "depth": 101, "shortcut": "B", "width": 2.0, "stride": "v1.5"},
    **{"iterations": 7_000, "batch": 64, "lr": 0.2, "drops": (10, 20), "drop_factor": 0.5, "warmup": "paper"},
    **{"momentum": 0.8, "weight_decay": 1e-3, "decay_on": "weights", "init_fan": "fan_in", "crop_padding": 2},
    **{"flip": False, "precision": "bf16", "memory_format": "contiguous", "compiled": True, "eval_every": 500},
    **{"last_batch": "drop", "split": "holdout", "split_seed": 3, "data": "noise32", "seed": 4},
    **{"crop_size": 24, "scale": (32, 64), "colour": "own", "decoding": "gpu", "train_sample": 100},
    **{"plateau": 3, "plateau_on": "test", "plateau_gain": 0.01, "norm_batch": 32, "recompute": True},
}
VIEWS = {"crop_size": 32, "scale": (32, 48)}
NEEDS = {  # fields without which one cannot be
    **dict.fromkeys(("crop_size", "scale", "colour", "decoding", "train_sample"), VIEWS),
    "norm_batch": {"last_batch": "drop"},
}
OF = Cell(Arch("imagenet", 50, "A"), Recipe(iterations=8_000, drops=(), crop_padding=0), "digits")
NET = {"depth", "shortcut", "width", "stride"}
TRUTH = {  # by hand: what time can depend on
    "train": NET
    | {"batch", "precision", "memory_format", "compiled", "crop_padding", "flip", "norm_batch", "recompute", "data"},
    "inference": NET | {"batch", "precision", "memory_format", "data"},
    "evaluation": NET | {"precision", "memory_format", "data"},
    "augmentation": {"batch", "memory_format", "crop_padding", "flip", "data"},
    "decoding": {"data"},
    "loading": {"batch", "crop_size", "scale", "decoding", "data"},
}


def the(work: str, cell: Cell) -> Benchmark:
    (found,) = benchmarks([work], [cell])
    return found


def base(name: str) -> Cell:
    """`OF`, with what a field needs."""
    return Cell.from_flat(OF.flat() | NEEDS.get(name, {}))


def changed(name: str) -> Cell:
    """The same with another value of the field."""
    return Cell.from_flat(base(name).flat() | {name: OTHERS[name]})


def test_every_field_is_tried():
    assert set(OTHERS) == set(FIELDS) and set(TRUTH) == set(WORKS)


@pytest.mark.parametrize("work", WORKS)
def test_a_benchmark_depends_on_what_its_time_does_and_no_more(work):
    different = {name for name in FIELDS if name != "family" and the(work, changed(name)) != the(work, base(name))}
    assert different == TRUTH[work]
    for name in different:
        assert the(work, changed(name)).id != the(work, base(name)).id


def test_the_family_counts_where_the_net_does():
    """A depth of both: 50 is 6 * 8 + 2."""
    cifar, imagenet = (Cell(Arch(family, 50, "B"), Recipe(), "noise32") for family in ("cifar", "imagenet"))
    differ = {work for work in WORKS if the(work, cifar) != the(work, imagenet)}
    assert differ == {"train", "inference", "evaluation"}


GOLDEN = {  # for good: histories go by them
    ("train", "ResNet-20-A"): "857307336f3f8e6c",
    ("inference", "ResNet-20-A"): "11239d601fa76c9f",
    ("evaluation", "ResNet-20-A"): "d37971a771809519",
    ("augmentation", "ResNet-20-A"): "8ce19d3901e0d0f7",
    ("decoding", "ResNet-20-A"): "9512e304f0030bab",
    ("train", "ResNet-50-B"): "9bf859029ceb9682",
    ("inference", "ResNet-50-B"): "fbb226b69b6fefbb",
    ("evaluation", "ResNet-50-B"): "a482ff9ec8a1f152",
    ("augmentation", "ResNet-50-B"): "d1863cb808264f82",
    ("decoding", "ResNet-50-B"): "40df20240f9e647a",
    ("train", "plain-56"): "631813000121671d",
    ("inference", "plain-56"): "74e502972eecf954",
    ("evaluation", "plain-56"): "3daf09f0a1a2b995",
    ("augmentation", "plain-56"): "338a049739fbff92",
    ("decoding", "plain-56"): "d9e8a4b87fa3939b",
    ("loading", "ResNet-18-A"): "9caafdc7699c9d41",
}


def golden() -> dict[tuple[str, str], Benchmark]:
    twenty = Cell(Arch(), Recipe(), "digits")
    fifty = Cell(
        Arch("imagenet", 50, "B", stride="v1.5"), Recipe(batch=256, precision="bf16", compiled=True), "noise224"
    )
    plain = Cell(
        Arch(depth=56, shortcut="none"), Recipe(memory_format="contiguous", crop_padding=0, flip=False), "cifar10"
    )
    views = Cell(Arch("imagenet", 18), RECIPES["imagenet"].recipe, "folder:imagenet")
    found = {
        (work, cell.arch.label): the(work, cell)
        for cell in (twenty, fifty, plain)
        for work in WORKS
        if work != "loading"
    }
    return found | {("loading", "ResNet-18-A"): the("loading", views)}


def test_ids_are_golden():
    assert {key: benchmark.id for key, benchmark in golden().items()} == GOLDEN


def test_labels():
    labels = [benchmark.label for benchmark in golden().values()]
    assert labels == [
        "train ResNet-20-A, batch 128, digits",
        "inference ResNet-20-A, batch 128, digits",
        "evaluation ResNet-20-A, digits",
        "augmentation, batch 128, digits",
        "decoding, digits",
        "train ResNet-50-B, imagenet family, stride v1.5, batch 256, bf16, compiled, noise224",
        "inference ResNet-50-B, imagenet family, stride v1.5, batch 256, bf16, noise224",
        "evaluation ResNet-50-B, imagenet family, stride v1.5, bf16, noise224",
        "augmentation, batch 256, noise224",
        "decoding, noise224",
        "train plain-56, batch 128, contiguous, crop 0, no flip, cifar10",
        "inference plain-56, batch 128, contiguous, cifar10",
        "evaluation plain-56, contiguous, cifar10",
        "augmentation, batch 128, contiguous, crop 0, no flip, cifar10",
        "decoding, cifar10",
        "loading, batch 256, crop 224, shorter side 256 to 480, folder:imagenet",
    ]
    groups = Recipe(batch=256, norm_batch=32, last_batch="drop", recompute=True, crop_padding=0)
    fifty = Cell(Arch("imagenet", 50, "B"), groups, "noise224")
    assert the("train", fifty).label == (
        "train ResNet-50-B, imagenet family, batch 256, crop 0, BN over 32, activations recomputed, noise224"
    )
    wide = Cell(Arch(width=0.5), Recipe(crop_padding=1, flip=False), "digits")
    assert the("train", wide).label == "train ResNet-20-A, width 0.5, batch 128, crop 1, no flip, digits"


def test_each_is_there_once_in_order():
    cells = [a_cell(depth=depth, seed=seed) for depth in (8, 14) for seed in (0, 1)]
    found = benchmarks(["decoding", "train"], cells)
    assert [(b.work, b.cell.arch.depth) for b in found] == [("decoding", 20), ("train", 8), ("train", 14)]
    assert len({b.id for b in found}) == 3


def test_another_kind_of_work_is_refused():
    for fields in ({"work": "sleeping"}, {}):
        with pytest.raises(FieldError, match=r"work = .* is not allowed; allowed: train, inference, evaluation"):
            from_flat(a_cell().flat() | fields)


# ---- selecting ----

POOL = benchmarks(WORKS, [a_cell(depth=depth, shortcut=shortcut) for depth in (8, 14) for shortcut in ("none", "A")])


@given(
    st.dictionaries(
        st.sampled_from(["work", "depth", "shortcut", "batch", "data", "seed", "lr"]),
        st.lists(st.sampled_from([*WORKS, 8, 14, "none", "A", 32, "digits", 0, 0.1]), max_size=3),
        max_size=3,
    )
)
def test_selected_are_those_with_the_values_that_depend_on_the_field(selector):
    expected = [
        b
        for b in POOL
        if all(name == "work" or name in TRUTH[b.work] for name in selector)
        and all(b.flat()[name] in values for name, values in selector.items())
    ]
    assert select(POOL, selector) == expected


# ---- other versions ----


@pytest.mark.parametrize("work", WORKS)
def test_a_round_trip_through_fields(work):
    for cell in (OF, *(changed(name) for name in FIELDS if name != "family")):
        benchmark = the(work, cell)
        assert from_flat(benchmark.flat()) == from_flat(benchmark.portable) == benchmark


def test_a_version_from_before_a_field_is_not_told_of_it(monkeypatch):
    """It would refuse the name; at its historical value the field is none of the benchmark's."""
    fresh = set(the("train", a_cell()).portable)
    assert HISTORICAL and fresh == {"work", *FIELDS} - set(HISTORICAL)
    other = the("train", replace(a_cell(), recipe=Recipe(compiled=True)))
    assert set(other.portable) == fresh | {"compiled"}  # which it rightly refuses
    monkeypatch.setitem(module.DEFAULTS, "compiled", True)  # were the default another one by now, absent would be that
    assert "compiled" in the("train", replace(a_cell(), recipe=Recipe(compiled=False))).portable


def test_defaults_are_those_of_a_cell():
    assert Cell(Arch(), Recipe(), "digits").flat() == DEFAULTS | {"data": "digits"}
