"""What a study claims: a comparison of nets, in the field's terms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import field, paper
from bench.cell import Cell
from bench.errors import FieldError, InputError, shown
from bench.field import choice, of, real
from bench.matrix import Selector, matches, read_selector, unknown_key
from bench.paper import Published
from bench.run import TESTS
from bench.texts import one_line

KEYS = ("says", "left", "relation", "right", "margin", "metric", "at", "confidence")


@dataclass(frozen=True)
class Metric:
    """What is compared: its name in sentences, its unit, what a value of `runs` is multiplied by, and digits shown."""

    words: str
    unit: str
    scale: float
    digits: int


METRICS = {
    "train_error": Metric("training error", "points", 100.0, 2),
    "validation_error": Metric("validation error", "points", 100.0, 2),
    "test_error": Metric("test error", "points", 100.0, 2),
    "top5_error": Metric("top-5 test error", "points", 100.0, 2),
    "top1_error_10crop": Metric("10-crop top-1 error", "points", 100.0, 2),
    "top5_error_10crop": Metric("10-crop top-5 error", "points", 100.0, 2),
    "top1_error_multiscale": Metric("multi-scale top-1 error", "points", 100.0, 2),
    "top5_error_multiscale": Metric("multi-scale top-5 error", "points", 100.0, 2),
    "images_per_second": Metric("training throughput", "images/s", 1.0, 0),
    "peak_memory": Metric("peak memory", "MB", 1e-6, 1),
}
COLUMNS = {
    ("train_error", "final"): "final_train_error",
    ("validation_error", "final"): "final_validation_error",
    ("test_error", "final"): "final_test_error",
    ("train_error", "best-on-validation"): "train_error_at_best_validation",
    ("validation_error", "best-on-validation"): "best_validation_error",
    ("test_error", "best-on-validation"): "test_error_at_best_validation",
    **{(name, "final"): name for name in TESTS},
    ("images_per_second", "final"): "images_per_second",
    ("peak_memory", "final"): "peak_memory_bytes",
}
RELATIONS = ("above", "below", "not above", "not below", "within", "differs")


@dataclass(frozen=True)
class Claim:
    """θ, the mean on the left side less that on the right, is where `relation` says.

    above: θ > margin · below: θ < -margin · not above: θ ≤ margin · not below: θ ≥ -margin · within: |θ| ≤ margin ·
    differs: |θ| > margin. The margin is in the metric's unit (errors: percentage points; images/s; MB).

    `left` and `right` select nets; `right = { paper = "Table 6" }` stands for the figures published there. `metric` is
    that after the last iteration or at the evaluation with the lowest validation error (`at`). `confidence` is one less
    the rate at which a study says "supported" falsely of any claim, over all looks at it; and likewise "contradicted".
    """

    says: str
    left: Selector
    right: Selector | str  # a table of the paper
    metric: str = of(choice(*METRICS), "train_error")
    at: str = of(choice("final", "best-on-validation"), "final")
    relation: str = of(choice(*RELATIONS), "above")
    margin: float = of(real(0, 1e12), 0.0)
    confidence: float = of(real(0.5, 0.9999), 0.95)

    def __post_init__(self) -> None:
        field.check(self)
        if self.relation == "within" and not self.margin:
            raise FieldError("margin", self.margin, "a number above 0 where the relation is within: nothing is equal")
        if (self.metric, self.at) not in COLUMNS:
            raise FieldError("at", self.at, f"final, where the metric is {self.metric}")

    @property
    def column(self) -> str:
        """Where `runs` has the metric."""
        return COLUMNS[self.metric, self.at]

    @property
    def is_error(self) -> bool:
        """Whether it compares errors, of which a diverged net has the worst."""
        return METRICS[self.metric].unit == "points"

    @property
    def region(self) -> tuple[float, float]:
        """Where θ is claimed to be, in the metric's unit; outside of it for `differs`."""
        margin = self.margin
        return {
            "above": (margin, math.inf),
            "below": (-math.inf, -margin),
            "not above": (-math.inf, margin),
            "not below": (-margin, math.inf),
        }.get(self.relation, (-margin, margin))


@dataclass(frozen=True)
class Comparison:
    """One claim about two nets, or about a net and a published figure. Cells stand for their nets, of any seed."""

    claim: Claim
    left: Cell
    right: Cell | Published

    @property
    def sides(self) -> tuple[Cell, ...]:
        """The nets it is about."""
        return (self.left,) if isinstance(self.right, Published) else (self.left, self.right)


def read(table: Mapping[str, Any], where: str) -> Claim:
    """Read a `[[claim]]`.

    Raises:
        InputError: for an unknown key, a value that is not allowed, a side that names nothing.
    """
    for key in table:
        if key not in KEYS:
            raise unknown_key(key, KEYS, where)
    says, right = table.get("says"), table.get("right")
    if not isinstance(says, str) or not says.strip():
        raise FieldError("says", "nothing" if says is None else says, "the claim in words", where)
    published = isinstance(right, dict) and "paper" in right
    left = _side(table.get("left"), f"{where}: left")
    right = _paper_table(right, f"{where}: right") if published else _side(right, f"{where}: right")
    rest = {key: table[key] for key in field.kinds(Claim) if key in table}
    try:
        return Claim(one_line(says), left, right, **rest)
    except FieldError as error:
        raise error.at(where) from None


def _side(table: Any, where: str) -> Selector:
    selector = read_selector(table, where)
    if "seed" in selector:
        raise InputError(f"{where}: seed cannot be chosen: a claim is about nets, over all their seeds")
    return selector


def _paper_table(right: dict[str, Any], where: str) -> str:
    if set(right) != {"paper"}:
        raise InputError(f'{where}: paper stands alone, as in {{ paper = "Table 6" }}, not {shown(right)}')
    name = right["paper"]
    if name not in paper.tables():
        raise FieldError("paper", name, ", ".join(paper.tables()), where)
    return name


def comparisons(claim: Claim, nets: Sequence[Cell], where: str = "") -> list[Comparison]:
    """The pairs of nets that a claim is about; `nets` has one cell for each net.

    Where a side selects several nets, each on the left is compared with the one on the right that agrees with it in
    every field but those that the sides name with different values.

    Raises:
        InputError: where a side selects no net, or a net has no counterpart or several.
    """
    left = _selected(claim.left, nets, f"{where}: left")
    if isinstance(claim.right, str):
        return [Comparison(claim, net, _published(claim, net, where)) for net in left]
    right = _selected(claim.right, nets, f"{where}: right")
    if len(left) == len(right) == 1:
        pairs = [(left[0], right[0])]
    else:
        names = {*claim.left, *claim.right}
        unlike = {name for name in names if set(claim.left.get(name, ())) != set(claim.right.get(name, ()))}
        pairs = list(_matched(left, right, unlike | {"seed"}, where))
    if same := [first.arch.label for first, second in pairs if first == second]:
        raise InputError(f"{where}: left and right are the same net ({same[0]})")
    return [Comparison(claim, *pair) for pair in pairs]


def _selected(selector: Selector, nets: Sequence[Cell], where: str) -> list[Cell]:
    found = [net for net in nets if matches(net.flat(), selector)]
    if not found:
        text = ", ".join(f"{k}={'|'.join(map(str, v))}" for k, v in selector.items())
        raise InputError(f"{where} selects no cell of the study: {text}")
    return found


def _matched(left: Sequence[Cell], right: Sequence[Cell], unlike: set[str], where: str) -> Iterator[tuple[Cell, Cell]]:
    def rest(net: Cell) -> tuple[Any, ...]:
        return tuple(value for name, value in net.flat().items() if name not in unlike)

    counterparts: dict[tuple[Any, ...], list[Cell]] = {}
    for net in right:
        counterparts.setdefault(rest(net), []).append(net)
    for net in left:
        found = counterparts.get(rest(net), [])
        if len(found) != 1:
            what = "several nets" if found else "no net"
            raise InputError(
                f"{where}: {net.arch.label} on the left has {what} on the right to be compared with: "
                "they must agree in every field but those that the sides name differently, and be one"
            )
        yield net, found[0]


def _published(claim: Claim, net: Cell, where: str) -> Published:
    found = paper.published(net, claim.metric, claim.right)
    if found is None:
        raise InputError(
            f"{where}: {claim.right} has no {METRICS[claim.metric].words} of {net.arch.label} on {net.data}"
        )
    return found
