"""When an error no longer falls: the paper divides the learning rate "when the error plateaus" (section 3.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.cell import Recipe


@dataclass(frozen=True)
class Plateau:
    """The lowest error that counted, the evaluations in a row since then without one, and the plateaus so far."""

    best: float = math.inf
    waited: int = 0
    count: int = 0

    def after(self, error: float, recipe: Recipe) -> Plateau:
        """After an evaluation with this error, a fraction. It counts where it is below the best by `plateau_gain`."""
        if error < self.best and error <= self.best - recipe.plateau_gain:
            return replace(self, best=error, waited=0)
        if self.waited + 1 < recipe.plateau:
            return replace(self, waited=self.waited + 1)
        return replace(self, waited=0, count=self.count + 1)
