"""Published figures, and in what a cell of ours differs from the experiment they came from."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.cell import Arch, Cell, Recipe, values

REPRODUCTIONS = "reproductions"
UNSAID = ("decay_on", "init_fan", "last_batch", "eval_every", "split_seed")  # of these the paper does not tell
WORDS = {
    "full": "all training images",
    "holdout": "a part held out",
    "paper": "as the paper's",
    "True": "on",
    "False": "off",
}


@dataclass(frozen=True)
class Published:
    """A figure in print, in percent: `value`, one run's unless `n` says of how many it is the mean; `deviation` is
    their standard deviation and `best` the lowest of them. Of reproductions, only `low` and `high` are known."""

    table: str
    metric: str
    data: str
    family: str
    depth: int
    shortcut: str
    value: float | None = None
    deviation: float | None = None
    n: int | None = None
    best: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def label(self) -> str:
        """`Table 6`, and what kind of figure it is."""
        return f"{self.table} (mean of {self.n}, its best {self.best:g} %)" if self.n else self.table


@cache
def _figures() -> tuple[Published, ...]:
    content = tomllib.loads((Path(__file__).parent / "paper.toml").read_text())
    shared = ("metric", "data", "family", "shortcut")
    return tuple(
        Published(table=table["name"], **({key: table[key] for key in shared if key in table} | figure))
        for table in content["table"]
        for figure in table["figures"]
    )


def tables() -> tuple[str, ...]:
    """The names of the paper's tables."""
    return tuple(dict.fromkeys(figure.table for figure in _figures() if figure.table != REPRODUCTIONS))


def published(cell: Cell, metric: str, table: str | None = None) -> Published | None:
    """The paper's figure for such a net on such data (of one table, where given); None where it prints none.

    Data is taken for the paper's by its name: `cifar10`, or a folder whose name begins so, `parquet:cifar10-jpeg`.
    """
    found = (figure for figure in _counterparts(cell, metric) if figure.table != REPRODUCTIONS)
    return next((figure for figure in found if table in (None, figure.table)), None)


def reproductions(cell: Cell, metric: str) -> Published | None:
    """The range over public reproductions of such a net, where known."""
    return next((figure for figure in _counterparts(cell, metric) if figure.table == REPRODUCTIONS), None)


def _counterparts(cell: Cell, metric: str) -> list[Published]:
    arch = cell.arch
    if arch != Arch(arch.family, arch.depth, arch.shortcut):  # of another width or stride
        return []
    key = (metric, arch.family, arch.depth, arch.shortcut)
    alike = [f for f in _figures() if (f.metric, f.family, f.depth, f.shortcut) == key]
    return [figure for figure in alike if re.match(rf"(\w+:)?{figure.data}(?![a-z0-9])", cell.data.lower())]


def recipe_of(arch: Arch) -> Recipe:
    """The paper's recipe for a CIFAR-10 net (section 4.2): ResNet-110 has a warm-up."""
    return Recipe(warmup="paper") if arch.depth == 110 else Recipe()


def differences(cell: Cell, figure: Published) -> list[str]:
    """In what `cell` differs from the published experiment, in words; empty where recipe and data are the same.

    What the paper leaves open is no difference: whether BN decays, fan-in or fan-out, the last batch, evaluations; and
    the warm-up of nets deeper than 110.
    """
    ours, theirs = values(cell.recipe), values(recipe_of(cell.arch))
    unsaid = (*UNSAID, "warmup") if cell.arch.depth > 110 else UNSAID
    found = [] if cell.data == figure.data else [f"images of {cell.data}, not the original files"]
    changed = (name for name in ours if name not in unsaid and ours[name] != theirs[name])
    return found + [f"{name} {_shown(ours[name])} (paper: {_shown(theirs[name])})" for name in changed]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(f"{item:,}" for item in value) or "none"
    return f"{value:,}" if type(value) is int else WORDS.get(str(value), str(value))
