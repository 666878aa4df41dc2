"""How cells are put together, and what is remembered of a measurement."""

import dataclasses
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import RECIPE, a_cell

from bench.sizing import gang_sizes, split


@given(
    nets=st.lists(st.tuples(st.sampled_from([8, 14, 20]), st.sampled_from(["none", "A"])), max_size=12),
    sizes=st.dictionaries(st.sampled_from([8, 14, 20]), st.integers(1, 5)),
)
def test_gangs_are_of_one_net_no_larger_than_asked_and_hold_each_cell_once(nets, sizes):
    cells = [a_cell(depth, shortcut, seed) for seed, (depth, shortcut) in enumerate(nets)]
    gangs = split(cells, lambda cell: sizes.get(cell.arch.depth, 2))
    assert sorted(c.id for gang in gangs for c in gang) == sorted(c.id for c in cells)
    for gang in gangs:
        assert len({c.net for c in gang}) == 1 and len(gang) <= sizes.get(gang[0].arch.depth, 2)
    assert [gang[0].seed for gang in gangs] == sorted(gang[0].seed for gang in gangs)  # longest first stays so
    for _, same in groupby(sorted(gangs, key=lambda g: str(g[0].net)), key=lambda g: g[0].net):
        assert sum(len(gang) < sizes.get(gang[0].arch.depth, 2) for gang in same) <= 1  # no two that could be one


@pytest.mark.usefixtures("fresh_cache")
def test_a_size_is_measured_once_a_net_and_host(tmp_path):
    cells = [a_cell(8, "A", seed) for seed in range(2)] + [a_cell(8, "none", 0)]
    notes = []

    def ask(entry, cells=cells, host="h"):
        return gang_sizes(cells, lambda c: {"cell": c.flat()}, (), host, notes.append, tmp_path / "log", entry)

    assert ask("children:two") == {cells[0].net: 2}
    assert len(notes) == 1 and "ResNet-8-A" in notes[0]
    assert ask("children:fail") == {cells[0].net: 2} and len(notes) == 1  # remembered
    other = [dataclasses.replace(c, recipe=dataclasses.replace(RECIPE, batch=64)) for c in cells]
    assert ask("children:two", other) == {other[0].net: 2} and len(notes) == 2
    assert ask("children:two", host="another") == {cells[0].net: 2} and len(notes) == 3


@pytest.mark.usefixtures("fresh_cache")
def test_a_net_that_cannot_be_measured_is_run_one_by_one(tmp_path):
    cells, notes = [a_cell(8, "A", seed) for seed in range(2)], []
    sizes = gang_sizes(cells, lambda _: {}, (), "h", notes.append, tmp_path / "log", "children:fail")
    assert sizes == {cells[0].net: 1}
    assert "one at a time" in notes[-1]
