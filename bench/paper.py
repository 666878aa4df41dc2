"""Published figures, and in what a cell of ours differs from the experiment they came from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.cell import Arch, Cell, Recipe, values
from bench.recipes import RECIPES
from bench.source import BUILT_IN, Source

REPRODUCTIONS = "reproductions"
# of these the paper does not tell: not how many GPUs shared an ImageNet batch, nor what it took for a plateau
UNSAID = (
    *("decay_on", "init_fan", "last_batch", "eval_every", "split_seed"),
    *("norm_batch", "plateau_on", "plateau_gain", "train_sample"),
)
SAME = ("decoding", "recompute")  # where and when something is computed
SAID: dict[str, Callable[[Any], Any]] = {  # what it does tell of a field
    "plateau": bool,
    "colour": lambda colour: colour != "none",  # the original images' own components are those published
}
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


def printed(cell: Cell, metric: str) -> list[Published]:
    """The paper's figures for such a net on such data, one for each table that has it.

    Data is taken for the paper's by its name: `cifar10`, or a folder whose name begins so, `parquet:cifar10-jpeg`.
    """
    return [figure for figure in _counterparts(cell, metric) if figure.table != REPRODUCTIONS]


def published(cell: Cell, metric: str, table: str | None = None) -> Published | None:
    """The first of them (of one table, where given); None where the paper prints none."""
    return next((figure for figure in printed(cell, metric) if table in (None, figure.table)), None)


def reproductions(cell: Cell, metric: str) -> Published | None:
    """The range over public reproductions of such a net, where known."""
    return next((figure for figure in _counterparts(cell, metric) if figure.table == REPRODUCTIONS), None)


def _counterparts(cell: Cell, metric: str) -> list[Published]:
    arch = cell.arch
    if arch != Arch(arch.family, arch.depth, arch.shortcut):  # of another width or stride
        return []
    key = (metric, arch.family, arch.depth, arch.shortcut)
    alike = [f for f in _figures() if (f.metric, f.family, f.depth, f.shortcut) == key]
    return [figure for figure in alike if named(cell.data, figure.data)]


def named(data: str, published: str) -> bool:
    """Whether a data set is by its name a published one."""
    return re.match(rf"(\w+:)?{published}(?![a-z0-9])", data.lower()) is not None


def recipe_of(arch: Arch) -> Recipe:
    """The paper's recipe for a net: on ImageNet (section 3.4), on CIFAR-10 (4.2), where ResNet-110 has a warm-up."""
    if arch.family == "imagenet":
        return RECIPES["imagenet"].recipe
    return Recipe(warmup="paper") if arch.depth == 110 else RECIPES["cifar"].recipe


def differences(cell: Cell, figure: Published) -> list[str]:
    """In what `cell` differs from the published experiment, in words; empty where recipe and data are the same.

    What the paper leaves open is no difference: whether BN decays, fan-in or fan-out, the last batch, evaluations, over
    how many images BN takes its statistics, what a plateau is; and the warm-up of CIFAR nets deeper than 110.
    """
    ours, theirs = _told(cell.recipe), _told(recipe_of(cell.arch))
    if cell.arch.family == "cifar" and cell.arch.depth > 110:
        del ours["warmup"]
    found = [] if _original(cell.data, figure) else [f"images of {cell.data}, not the original files"]
    changed = (name for name in ours if ours[name] != theirs[name])
    return found + [f"{name} {_shown(ours[name])} (paper: {_shown(theirs[name])})" for name in changed]


def _told(recipe: Recipe) -> dict[str, Any]:
    """What the paper tells of its recipe, as this one has it."""
    told = {name: value for name, value in values(recipe).items() if name not in (*UNSAID, *SAME)}
    return told | {name: says(told[name]) for name, says in SAID.items()}


def _original(data: str, figure: Published) -> bool:
    """Whether data are the original files, by their name: ImageNet always lies in a directory of a user's."""
    return data == figure.data or (figure.data not in BUILT_IN and Source.parse(data).label.lower() == figure.data)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(f"{item:,}" for item in value) or "none"
    return f"{value:,}" if type(value) is int else WORDS.get(str(value), str(value))
