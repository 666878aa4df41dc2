"""One point of a training curve: what was measured when training paused to evaluate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """Errors are fractions of images (top-1), losses mean cross-entropies in nats, times seconds, memory bytes.

    `running_*` is over the augmented training batches since the previous evaluation, taken while the net moves and
    batch-normalises by the batch; `train_*` is a whole eval-mode pass over the un-augmented training part. Where there
    is no validation part its fields are None; on a CPU so is device memory.
    """

    iteration: int
    epoch: float
    lr: float
    running_error: float
    running_loss: float
    train_error: float
    train_loss: float
    validation_error: float | None
    validation_loss: float | None
    test_error: float
    test_loss: float
    train_seconds: float  # training steps alone, since iteration 0, earlier attempts included
    eval_seconds: float  # evaluations alone, likewise
    images_per_second: float  # training steps alone, since the previous evaluation
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    peak_rss_bytes: int

    @property
    def diverged(self) -> bool:
        """Whether a loss is no longer a finite number."""
        return not (math.isfinite(self.running_loss) and math.isfinite(self.train_loss))


MEASURED = (  # what two runs of one cell on one host need not have in common
    "train_seconds",
    "eval_seconds",
    "images_per_second",
    "peak_allocated_bytes",
    "peak_reserved_bytes",
    "peak_rss_bytes",
)


def best(curve: Sequence[Evaluation], key: str) -> Evaluation | None:
    """The first evaluation with the lowest `key` (`validation_error` or `test_error`), None where there is none."""
    measured = [point for point in curve if getattr(point, key) is not None]
    return min(measured, key=lambda point: getattr(point, key), default=None)
