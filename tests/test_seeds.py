"""Seeds: those planned, those recorded beyond them, and those to be added."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import a_cell

from bench import looks, seeds


class Recorded:
    """A store that has rows of these cells."""

    def __init__(self, cells):
        self.ids = {cell.id for cell in cells}

    def recorded(self):
        return self.ids


def cells_of(numbers, depth=8):
    return [a_cell(depth, seed=seed) for seed in numbers]


def test_planned_seeds_are_in_the_studys_order():
    cells = [*cells_of([2, 0]), *cells_of([1], depth=20)]
    assert seeds.planned(cells) == {cells[0].net: (2, 0), cells[2].net: (1,)}


@given(st.sets(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 25))
def test_added_seeds_are_the_lowest_free_ones(known, wanted):
    found = [cell.seed for cell in seeds.added(a_cell(seed=99), known, wanted)]
    free = [seed for seed in range(100) if seed not in known]
    assert found == free[: max(0, wanted - len(known))]


@pytest.mark.parametrize("planned", [[0, 1, 2], [5, 6, 7], [0], [0, 1, 4, 9]])
def test_what_was_added_is_found_again(planned):
    cells, present = cells_of(planned), cells_of(planned)
    for look in list(looks.taken(len(planned), 30))[1:]:
        present += seeds.added(cells[0], [cell.seed for cell in present], look)
        assert set(seeds.extended(cells, Recorded(present))) == set(present)


def test_part_of_a_block_is_found_again_and_the_planned_come_first():
    cells = cells_of([0, 1, 2])
    recorded = cells_of([0, 2, 4])
    assert [cell.seed for cell in seeds.extended(cells, Recorded(recorded))] == [0, 1, 2, 4]


def test_other_nets_and_unreachable_seeds_are_no_extension():
    cells = cells_of([0, 1, 2])
    others = [dataclasses.replace(cells[0], data="cifar10", seed=3), *cells_of([3], depth=20), *cells_of([40])]
    assert seeds.extended(cells, Recorded([*cells, *others])) == cells
    assert seeds.extended(cells, Recorded([])) == cells


def test_nets_with_different_numbers_of_seeds():
    """A comparison's looks are those of the side with fewer planned seeds; the other's are found all the same."""
    for fewer, more in ((3, 4), (2, 20), (3, 5), (4, 7)):
        cells, present = cells_of(range(more)), cells_of(range(more))
        for look in looks.taken(fewer, 60):
            present += seeds.added(cells[0], [cell.seed for cell in present], look)
            assert set(seeds.extended(cells, Recorded(present))) == set(present), (fewer, more, look)
