"""Counts and bytes of two sides: compared exactly where they are exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.sample import Outcome

SAME, MORE, LESS, VARIES = "same", "more", "less", "varies"
EXACT = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "peak_allocated_bytes": "allocated memory",
    "peak_reserved_bytes": "reserved memory",
}
RESIDENT = "resident memory"
LEAST = 2**20  # bytes of resident memory that are worth a word


@dataclass(frozen=True)
class Quantity:
    """A count or a number of bytes on both sides: of the samples of a side, the least and the most. `near`: what lies
    between the sides is too little to speak of."""

    name: str
    base: tuple[int, int]
    head: tuple[int, int]
    near: bool = False

    @property
    def change(self) -> str:
        """Exactly: same, more or less; where the samples of a side differ, only if the two sides' do not overlap."""
        if self.near or self.base == self.head:
            return SAME
        if self.head[0] > self.base[1]:
            return MORE
        return LESS if self.head[1] < self.base[0] else VARIES

    def plain(self) -> dict[str, Any]:
        """Its fields and what changed, for JSON."""
        return asdict(self) | {"change": self.change}

    @property
    def described(self) -> str | None:
        """What changed, in words; None where nothing did."""
        if self.change not in (MORE, LESS):
            return None
        base, head = (sum(side) / 2 for side in (self.base, self.head))
        if "memory" not in self.name:
            return f"{self.name} {base:,.0f} → {head:,.0f}"
        by = f" ({head / base - 1:+.1%})" if base > 0 else ""
        return f"{self.name} {base / 1e6:,.1f} → {head / 1e6:,.1f} MB{by}"


def quantities(base: Sequence[Outcome], head: Sequence[Outcome], margin: float) -> Iterator[Quantity]:
    """The counts and the bytes that both sides tell.

    A process's resident memory, beyond what it began with, is never exactly the same: it counts as more or less only
    where every sample is, by more than the margin and by a MiB.
    """
    for name, words in EXACT.items():
        sides = [[v for o in side if (v := getattr(o, name)) is not None] for side in (base, head)]
        if all(sides):
            yield Quantity(words, *((min(side), max(side)) for side in sides))
    grown = [[g for o in side if (g := o.grown_bytes) is not None] for side in (base, head)]
    if all(grown):
        found = Quantity(RESIDENT, *((min(side), max(side)) for side in grown))
        apart = max(found.head[0] - found.base[1], found.base[0] - found.head[1])
        yield replace(found, near=apart <= max(margin * found.base[0], LEAST))
