"""Eval-mode passes over a part of the data, with errors and losses summed where they arise."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from bench.batches import DeviceData
from bench.cell import Recipe
from bench.replay import Pool, Replay
from bench.tally import Tally
from bench.team import Team
from bench.working import Working

if TYPE_CHECKING:
    from bench.stream import Stream

EVALUATION_BATCH = 500  # images: of 50 to 1,200 the fastest for ResNet-56 on digits, on a 2-core AMD EPYC
GROUPS_EVALUATED = 2  # at once, of views of photographs: 500 hold five times what a step on groups of 32 does


def at_once(recipe: Recipe) -> int:
    """How many images an evaluation passes at once: of photographs no more than a training step holds."""
    if not recipe.crop_size:
        return EVALUATION_BATCH
    return min(EVALUATION_BATCH, GROUPS_EVALUATED * (recipe.norm_batch or recipe.batch))


class Passes:
    """Passes of a net over `data`, `batch` images at once, launched whole on a GPU. Make it, and call it, within the
    net's stream.

    The first batch of a pass is computed in the open, for a probe to hear. The processes of a team take turns at
    batches.
    """

    def __init__(
        self,
        working: Working,
        data: DeviceData | Stream,
        batch: int,
        device: torch.device,
        pool: Pool | None,
        team: Team,
    ) -> None:
        self.batch = batch
        self._working, self.data, self._device, self._pool, self._team = working, data, device, pool, team
        self._tally = Tally(device)
        self._launched: dict[tuple[str, int], Replay[None]] = {}

    def over(self, part: str, first: int | None = None) -> Tally:
        """A pass of the net as it is now over a part (train, validation, test), un-augmented: all of it, or its `first`
        images. All processes get the sum."""
        self._working.module.eval()
        images = self.data.count(part)
        end = images if first is None else min(first, images)
        with torch.inference_mode():
            self._working.refresh()
            self._tally.reset()
            self.data.begin(part, end, self.batch)
            for start in range(self._team.rank * self.batch, end, self._team.size * self.batch):
                self.data.fetch()
                self._batch(part, min(self.batch, end - start), openly=start == 0)
            self._tally.sum_(self._team)
            return self._tally.copy()

    def _batch(self, part: str, size: int, *, openly: bool) -> None:
        if openly:
            return self._measure(part, size)
        if (part, size) not in self._launched:
            work = partial(self._measure, part, size)
            self._launched[part, size] = Replay(work, self._device, self._pool, capturing=self._team.size == 1)
        return self._launched[part, size]()

    def _measure(self, part: str, size: int) -> None:
        images, labels = self.data.evaluation_batch(part, size)
        logits = self._working(images)
        self._tally.add(logits, labels, F.cross_entropy(logits, labels))
