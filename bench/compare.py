"""Two studies, or two results folders, side by side: what changed, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import stats
from bench.cell import FIELDS, Cell
from bench.errors import InputError
from bench.seeds import extended
from bench.stats import Estimate
from bench.store import Store
from bench.summary import Net, Summary, summaries
from bench.table import Column, Table, Value, table

PROVENANCE = ("resbench_version", "commit", "torch_version", "torchvision_version", "numpy_version", "python_version")
SAME_NET = ("depth", "shortcut")  # what two nets must agree in to be set side by side, whatever else changed


@dataclass(frozen=True)
class Side:
    """One of the two: a name, and what is recorded of it on the host with most runs."""

    name: str
    summary: Summary
    other_hosts: int


def of_study(name: str, cells: Sequence[Cell], store: Store) -> Side:
    """A study's cells, and further seeds of theirs.

    Raises:
        InputError: where nothing of it is recorded.
    """
    return _side(name, extended(cells, store), store)


def of_folder(name: str, store: Store) -> Side:
    """All cells in a results folder.

    Raises:
        InputError: where none is.
    """
    rows = store.runs(columns=list(FIELDS)).to_pylist()
    cells = [Cell.from_flat({name: row[name] for name in FIELDS}) for row in rows]
    order = ("none", "A", "B", "C").index
    cells.sort(key=lambda cell: (cell.data, cell.arch.family, cell.arch.depth, order(cell.arch.shortcut), cell.seed))
    return _side(name, cells, store)


def _side(name: str, cells: Sequence[Cell], store: Store) -> Side:
    first, *others = summaries(cells, store, name)
    return Side(name, first, len(others))


@dataclass(frozen=True)
class Pair:
    """Two nets side by side."""

    left: Net
    right: Net

    def change(self, column: str) -> Estimate | None:
        """Right less left with its 95 % interval: paired over the seeds both have, else Welch's; None without values.

        Diverged seeds count as 100 % in errors.
        """
        errors = column.endswith("error")
        left, right = (net.errors(column) if errors else net.values(column) for net in (self.left, self.right))
        common = sorted(left.keys() & right.keys())
        if len(common) >= 2 or (common and left.keys() == right.keys()):
            return stats.estimate([right[seed] - left[seed] for seed in common])
        if min(len(left), len(right)) < 2:
            return None
        effect = stats.welch(list(right.values()), list(left.values()))
        return Estimate(effect.mean, effect.mean - effect.interval(0.95)[0], effect.n)


def pairs(left: Side, right: Side) -> list[Pair]:
    """The nets that both sides have: they agree in every field, but for those whose values have all changed."""
    changed = set(changed_fields(left.summary.nets, right.summary.nets))
    kept = [name for name in FIELDS if name != "seed" and name not in changed]

    def key(net: Net) -> tuple[Any, ...]:
        flat = net.cells[0].flat()
        return tuple(flat[name] for name in kept)

    theirs: dict[tuple[Any, ...], list[Net]] = {}
    for net in right.summary.nets:
        theirs.setdefault(key(net), []).append(net)
    return [Pair(net, other) for net in left.summary.nets for other in theirs.get(key(net), [])]


def changed_fields(left: Sequence[Net], right: Sequence[Net]) -> dict[str, tuple[str, str]]:
    """The fields in which no net of one side agrees with any of the other, with the values on both sides."""
    found = {}
    flats = [[net.cells[0].flat() for net in side] for side in (left, right)]
    for name in FIELDS:
        first, second = ({flat[name] for flat in side} for side in flats)
        if name != "seed" and name not in SAME_NET and not first & second:
            found[name] = (_listed(first), _listed(second))
    return found


def changes(left: Side, right: Side) -> Iterator[tuple[str, str, str]]:
    """What differs: the fields of cells, the machine, the versions; each with its value on both sides."""
    yield from ((name, *values) for name, values in changed_fields(left.summary.nets, right.summary.nets).items())
    ours, theirs = asdict(left.summary.host), asdict(right.summary.host)
    for name in ours:
        if ours[name] != theirs[name]:
            yield f"host: {name}", str(ours[name]), str(theirs[name])
    for name in PROVENANCE:
        first, second = (set(side.summary.runs[name].dropna()) for side in (left, right))
        if first != second:
            yield name.replace("_version", ""), _listed(first), _listed(second)
    first, second = ({str(digest) for digest in side.summary.runs["data_sha256"].dropna()} for side in (left, right))
    if first != second:
        yield "images, sha256", _listed({d[:12] for d in first}), _listed({d[:12] for d in second})


def _listed(values: set[Any]) -> str:
    texts = [", ".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
    return " | ".join(sorted(texts)) or "none"


def results(left: Side, right: Side) -> Table:
    """The errors of every net that both have, and what changed; speed and memory where the machine is the same."""
    found = pairs(left, right)
    if not found:
        raise InputError(f"{left.name} and {right.name} have no net in common: none agrees in depth and shortcut")
    measures: dict[str, tuple[str, int, float]] = {
        "training error, %": ("final_train_error", 1, 100.0),
        "test error, %": ("final_test_error", 1, 100.0),
    }
    if left.summary.host == right.summary.host:
        measures["images/s"] = ("images_per_second", 0, 1.0)
        measures["peak memory, MB"] = ("peak_memory_bytes", 0, 1e-6)
    columns: list[Column | str] = ["net", "n", "seeds in common"]
    for words, (_, digits, scale) in measures.items():
        columns += [Column(f"{words}, {side.name}", digits, scale) for side in (left, right)]
        columns.append(Column(f"{words}, change", digits, scale, signed=True))
    return table("comparison", columns, [_row(pair, [column for column, _, _ in measures.values()]) for pair in found])


def _row(pair: Pair, columns: Sequence[str]) -> list[Value]:
    name = pair.left.name if pair.left.name == pair.right.name else f"{pair.left.name} / {pair.right.name}"
    common = len(pair.left.ended.keys() & pair.right.ended.keys())
    row: list[Value] = [name, f"{len(pair.left.done)} / {len(pair.right.done)}", common]
    for column in columns:
        row += [pair.left.estimate(column), pair.right.estimate(column), pair.change(column)]
    return row


def identical(left: Side, right: Side) -> tuple[int, int]:
    """Of the cells that both have, how many, and how many ended with the very same errors."""
    names = ["final_train_error", "final_test_error"]
    first, second = (side.summary.runs.set_index("cell_id")[names] for side in (left, right))
    common = first.index.intersection(second.index)
    same = (first.loc[common].fillna(-1.0) == second.loc[common].fillna(-1.0)).all(axis=1)
    return len(common), int(same.sum())


def unshared(left: Side, right: Side) -> tuple[list[str], list[str]]:
    """The names of the nets that one side alone has."""
    found = pairs(left, right)
    ours, theirs = {id(pair.left) for pair in found}, {id(pair.right) for pair in found}
    return (
        [net.name for net in left.summary.nets if id(net) not in ours],
        [net.name for net in right.summary.nets if id(net) not in theirs],
    )
