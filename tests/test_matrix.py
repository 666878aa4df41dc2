"""From axes to cells, against the literal definition of a product."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import Arch, Cell, Recipe
from bench.errors import InputError
from bench.matrix import Matrix, matches, read_axes, read_selector, select, variants

RECIPE = {"iterations": (10,), "drops": ((),), "eval_every": (5,)}
DEPTHS, SHORTCUTS, SEEDS = (8, 14, 20), ("none", "A", "B", "C"), (0, 1, 2)


def axes(**own):
    return {"data": ("digits",), "seed": (0,), **RECIPE, **own}


@given(
    st.lists(st.sampled_from(DEPTHS), min_size=1, unique=True),
    st.lists(st.sampled_from(SHORTCUTS), min_size=1, unique=True),
    st.lists(
        st.fixed_dictionaries({"depth": st.sampled_from(DEPTHS), "shortcut": st.sampled_from(SHORTCUTS)}), max_size=3
    ),
)
def test_the_product_less_the_excludes(depths, shortcuts, excluded):
    excludes = tuple({k: (v,) for k, v in e.items()} for e in excluded)
    expected = [(d, s) for d, s in itertools.product(depths, shortcuts) if {"depth": d, "shortcut": s} not in excluded]
    matrix = Matrix(axes(depth=tuple(depths), shortcut=tuple(shortcuts)), excludes=excludes)
    if not expected:
        with pytest.raises(InputError, match="no cells"):
            matrix.cells()
        return
    assert [(c.arch.depth, c.arch.shortcut) for c in matrix.cells()] == expected


def test_an_include_replaces_the_axes_it_names_and_adds_no_cell_twice():
    matrix = Matrix(
        axes(depth=(8, 20), shortcut=("none", "A"), seed=SEEDS),
        includes=({"depth": (110,), "warmup": ("paper",)}, {"depth": (20,)}),
    )
    cells = matrix.cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * 3 + 2 * 3
    assert {c.recipe.warmup for c in cells if c.arch.depth == 110} == {"paper"}
    assert {c.recipe.warmup for c in cells if c.arch.depth != 110} == {"none"}


def test_an_impossible_combination_says_which_cell():
    with pytest.raises(InputError, match=r"study.toml: \[matrix\], cell family=imagenet: depth = 20 .* 18 and 34"):
        Matrix(axes(family=("cifar", "imagenet"), depth=(20,)), where="study.toml").cells()


def test_a_million_cells_are_refused_before_they_are_made():
    with pytest.raises(InputError, match="1,000,001 cells"):
        Matrix(axes(seed=range(1_000_001))).cells()


def test_sources_keep_their_place_and_one_name_has_one():
    matrix = Matrix(axes(data=("parquet:a/x", "digits")))
    assert {name: str(s) for name, s in matrix.sources().items()} == {"parquet:x": "parquet:a/x", "digits": "digits"}
    with pytest.raises(InputError, match="same name"):
        Matrix(axes(data=("parquet:a/x", "parquet:b/x"))).sources()


def test_read_axes():
    assert read_axes({"seeds": 3, "depth": 20, "lr": [1, 0.5]}, "f") == {
        "seed": (0, 1, 2),
        "depth": (20,),
        "lr": (1.0, 0.5),
    }
    assert read_axes({"drops": [[5], [5, 7]]}, "f") == {"drops": ((5,), (5, 7))}
    assert read_axes({"data": "parquet:a/x"}, "f") == {"data": ("parquet:a/x",)}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"dept": [8]}, "unknown key 'dept'; did you mean 'depth'"),
        ({"depth": []}, "at least one value"),
        ({"depth": [8, 8]}, "each value once"),
        ({"depth": ["8"]}, "a whole number"),
        ({"depth": [[8]]}, "a whole number"),
        ({"seeds": 0}, "how many seeds"),
        ({"seeds": True}, "how many seeds"),
        ({"shortcut": "D"}, "none, A, B, C"),
        ({"drops": [5, [7]]}, "ascending"),
        ({"data": ["digits", 3]}, "parquet:DIR"),
        ([1], "a table"),
    ],
)
def test_bad_axes(table, named):
    with pytest.raises(InputError, match=named) as raised:
        read_axes(table, "study.toml: [matrix]")
    assert str(raised.value).startswith("study.toml: [matrix]")


def test_selectors():
    cells = Matrix(axes(depth=(8, 20), shortcut=("none", "A"))).cells()
    assert [c.arch.label for c in select(cells, read_selector({"depth": 20}, "f"))] == ["plain-20", "ResNet-20-A"]
    assert matches({"depth": 8}, {}) and not matches({"depth": 8}, {"depth": (20,)})
    with pytest.raises(InputError, match="at least one field"):
        read_selector({}, "f")
    assert read_selector({"data": "parquet:a/x"}, "f") == {"data": ("parquet:x",)}


def test_variants_tell_apart_what_depth_and_shortcut_do_not():
    recipe = Recipe(iterations=10, drops=(), eval_every=5)
    warm = Recipe(iterations=10, drops=(), eval_every=5, warmup="paper")
    nets = [Cell(Arch(depth=20), recipe, "digits"), Cell(Arch(depth=110), warm, "digits")]
    assert set(variants(nets).values()) == {""}
    nets.append(Cell(Arch(depth=20), warm, "digits"))
    assert [variants(nets)[net] for net in nets] == ["warmup=none", "warmup=paper", "warmup=paper"]
