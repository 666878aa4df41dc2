"""The constructed-solution argument of section 1: how much of a deeper net's training error is a failure to optimise.

A deeper net can do what a shallower one does: copy its layers and let the added ones be identity mappings. Its training
error need not exceed the shallower's; what exceeds it is not a limit of the net, but of finding its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.cell import Cell
from bench.stats import Estimate, estimate
from bench.summary import Net


@dataclass(frozen=True)
class Optimisation:
    """A net beside the best of its shallower relatives, over the seeds both have; errors are fractions.

    `excess` is the paired difference of training errors with its 95 % interval. `share` is the part of `error` that the
    shallower net shows to be avoidable, 0 where there is no excess: at least that much is optimisation, since the
    shallower net's own error is only an upper bound of what the deeper one could reach.
    """

    deep: Net
    shallow: Net
    error: float
    reference: float
    excess: Estimate

    @property
    def share(self) -> float:
        """max(0, excess) / error."""
        return max(0.0, self.excess.mean) / self.error if self.error else 0.0

    @property
    def known_share(self) -> float | None:
        """The share where the interval of the excess leaves out 0; else None."""
        return None if self.reached == "unclear" else self.share

    @property
    def reached(self) -> str:
        """Whether the deeper net reaches the shallower's error: yes, no, or unclear where the interval spans 0."""
        if self.excess.half_width is None:
            return "unclear"
        return "no" if self.excess.low > 0 else "yes" if self.excess.high <= 0 else "unclear"


def optimisation(nets: Sequence[Net]) -> list[Optimisation]:
    """One entry for each net that has shallower relatives: of the same kind, recipe and data, but for the warm-up.

    The shallower net is that with the lowest mean training error; diverged seeds count as 100 %.
    """
    families: dict[Any, list[Net]] = {}
    for net in nets:
        families.setdefault(_family(net.cells[0]), []).append(net)
    return [entry for family in families.values() for entry in _of_family(sorted(family, key=lambda net: net.depth))]


def _family(cell: Cell) -> tuple[Any, ...]:
    arch = cell.arch
    return arch.family, arch.shortcut, arch.width, arch.stride, replace(cell.recipe, warmup="none"), cell.data


def _of_family(nets: Sequence[Net]) -> Iterator[Optimisation]:
    known = [(net, errors) for net in nets if (errors := net.errors("final_train_error"))]
    for index, (deep, errors) in enumerate(known):
        shallower = [pair for pair in known[:index] if pair[0].depth < deep.depth and pair[1].keys() & errors.keys()]
        if not shallower:
            continue
        shallow, theirs = min(shallower, key=lambda pair: sum(pair[1].values()) / len(pair[1]))
        seeds = sorted(errors.keys() & theirs.keys())
        yield Optimisation(
            deep=deep,
            shallow=shallow,
            error=sum(errors[seed] for seed in seeds) / len(seeds),
            reference=sum(theirs[seed] for seed in seeds) / len(seeds),
            excess=estimate([errors[seed] - theirs[seed] for seed in seeds]),
        )
