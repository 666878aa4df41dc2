"""From axes to cells: the product of a study's axes, less its excludes, plus its includes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from bench.cell import DEFAULTS, FIELDS, Cell
from bench.errors import FieldError, InputError, shown
from bench.field import canonical
from bench.source import Source

MOST_CELLS = 1_000_000
AXES = (*(name for name in FIELDS if name != "seed"), "seeds")

Selector = Mapping[str, tuple[Any, ...]]  # for each field named, the values that match


@dataclass(frozen=True)
class Matrix:
    """Axes and what is taken out of and added to their product. An include's axes replace the matrix's own.

    An axis's values are in canonical form, but those of `data`, which keep their place on this machine.
    """

    axes: Selector
    excludes: tuple[Selector, ...] = ()
    includes: tuple[Selector, ...] = ()
    where: str = field(default="", compare=False)

    def cells(self) -> tuple[Cell, ...]:
        """The cells, each once, in the order of the axes.

        Raises:
            InputError: where there are more than a million, none, or a combination that is not allowed.
        """
        products = [self.axes, *({**self.axes, **include} for include in self.includes)]
        if (count := sum(math.prod(map(len, axes.values())) for axes in products)) > MOST_CELLS:
            raise InputError(f"{self.where}: {count:,} cells; a study may have at most {MOST_CELLS:,}")
        found: dict[Cell, None] = {}
        for number, axes in enumerate(products):
            place = f"{self.where}: {f'[[include]] number {number}' if number else '[matrix]'}"
            found |= dict.fromkeys(self._product(axes, place))
        if not found:
            raise InputError(f"{self.where}: no cells are left; every one is excluded")
        return tuple(found)

    def _product(self, axes: Selector, place: str) -> Iterable[Cell]:
        names = list(axes)
        where = names.index("seed") if "seed" in names else len(names)
        nets: dict[tuple[Any, ...], Cell] = {}  # one cell of each, with which its arch and recipe are checked
        for combination in itertools.product(*axes.values()):
            key = combination[:where] + combination[where + 1 :]
            seed = combination[where] if where < len(names) else DEFAULTS["seed"]
            if key in nets and not self.excludes:
                yield nets[key].seeded(seed)
                continue
            fields = DEFAULTS | dict(zip(names, combination, strict=True))
            fields["data"] = Source.parse(fields["data"]).identity
            if any(matches(fields, exclude) for exclude in self.excludes):
                continue
            try:
                if key not in nets:
                    nets[key] = Cell.from_flat(fields)
                yield nets[key].seeded(seed)
            except FieldError as error:
                others = ", ".join(f"{k}={fields[k]}" for k in names if k != error.key and len(axes[k]) > 1)
                raise error.at(f"{place}, cell {others}" if others else place) from None

    def sources(self) -> dict[str, Source]:
        """Each data set by its identity.

        Raises:
            InputError: where one name stands for two places.
        """
        found: dict[str, Source] = {}
        for axes in (self.axes, *self.includes):
            for text in axes.get("data", ()):
                source = Source.parse(text)
                if found.setdefault(source.identity, source) != source:
                    raise InputError(f"{self.where}: data = {found[source.identity]} and {source} have the same name")
        return found


def matches(fields: Mapping[str, Any], selector: Selector) -> bool:
    """Whether `fields` has one of the selector's values in each field the selector names."""
    return all(fields[name] in values for name, values in selector.items())


def select(cells: Iterable[Cell], selector: Selector) -> list[Cell]:
    """The cells that match."""
    return [cell for cell in cells if matches(cell.flat(), selector)]


def one_a_net(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """The first cell of each net: those that differ in the seed alone are one net's."""
    found: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        found.setdefault(cell.net, cell)
    return tuple(found.values())


def variants(cells: Sequence[Cell]) -> dict[Cell, str]:
    """For each cell, what tells it from others of the same depth, shortcut and seed: `precision=bf16`; mostly nothing.

    A field that depth and shortcut decide (the warm-up of 110 layers) tells nothing apart.
    """
    told = ("depth", "shortcut", "seed")
    flats = {cell: cell.flat() for cell in cells}
    seen: dict[tuple[Any, ...], set[Any]] = {}
    for flat in flats.values():
        for name, value in flat.items():
            seen.setdefault((name, flat["depth"], flat["shortcut"]), set()).add(value)
    telling = [name for name in FIELDS if name not in told and any(len(v) > 1 for k, v in seen.items() if k[0] == name)]
    return {cell: " ".join(f"{name}={flat[name]}" for name in telling) for cell, flat in flats.items()}


def read_axes(table: Any, where: str) -> Selector:
    """Read `{depth = [20, 56], shortcut = "A", seeds = 3}`: values or lists of them, in canonical form.

    `seeds = 3` stands for the seeds 0, 1, 2; for a field that is itself a list, an axis is a list of lists.

    Raises:
        InputError: for an unknown name, a value that is not allowed, an empty or repeating axis.
    """
    if not isinstance(table, dict):
        raise InputError(f"{where}: must be a table of axes, not {shown(table)}")
    axes: dict[str, tuple[Any, ...]] = {}
    for name, value in table.items():
        if name == "seeds":
            axes["seed"] = _seeds(value, where)
        else:
            axes[name] = read_values(name, value, where, source_text=True)
    return axes


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    if type(value) is not int or not 1 <= value <= MOST_CELLS:
        raise FieldError("seeds", value, f"how many seeds, a whole number from 1 to {MOST_CELLS:,}", where)
    return tuple(range(value))


def read_selector(table: Any, where: str) -> Selector:
    """Read which cells are meant, as `read_axes` does; data sets are meant by name.

    Raises:
        InputError: for an unknown name, a value that is not allowed, or nothing named at all.
    """
    if not isinstance(table, dict) or not table:
        raise InputError(f"{where}: must name at least one field and value, not {shown(table)}")
    return {name: read_values(name, value, where) for name, value in table.items()}


def read_values(name: str, value: Any, where: str, *, source_text: bool = False) -> tuple[Any, ...]:
    """One field's value, or a list of its values, in canonical form."""
    if name not in FIELDS:
        raise unknown_key(name, AXES, where)
    kind = FIELDS[name]
    plain = isinstance(value, list) and (kind.type is not tuple or not value or isinstance(value[0], list))
    values = value if plain else [value]
    if not values:
        raise FieldError(name, value, f"at least one value ({kind.allowed})", where)
    try:
        found = tuple(canonical(name, kind, item) for item in values)
    except FieldError as error:
        raise error.at(where) from None
    if len(set(found)) < len(found):
        raise FieldError(name, value, "each value once", where)
    return tuple(values) if name == "data" and source_text else found


def unknown_key(key: str, allowed: Iterable[str], where: str) -> InputError:
    """The error for a name that nothing has, with the nearest that something has."""
    names = list(allowed)
    near = get_close_matches(key, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"{where}: unknown key {shown(key)}{hint}; allowed: {', '.join(names)}")
