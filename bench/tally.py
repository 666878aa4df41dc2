"""Errors and losses summed where they arise, so that nothing waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.team import Team


class Tally:
    """Images, wrong answers and loss, summed on the device; reading them waits for it, adding does not.

    The sums stay where they are in memory, so adding can be captured in a CUDA graph.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # images, wrong answers
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor, mean_loss: Tensor) -> None:
        """Count a batch: logits [B, classes], labels int64 [B], its mean loss."""
        self._counts[0] += len(labels)
        self._counts[1] += (logits.argmax(1) != labels).sum()
        self._loss += mean_loss.double() * len(labels)

    def sum_(self, team: Team) -> None:
        """Count what all processes of a team have counted."""
        team.sum_([self._counts, self._loss])

    def join(self, other: Tally) -> None:
        """Count what another has, too."""
        self._counts += other._counts
        self._loss += other._loss

    def reset(self) -> None:
        """Begin again at nothing."""
        self._counts.zero_()
        self._loss.zero_()

    def copy(self) -> Tally:
        """The sums as they are now, whatever is added later."""
        copy = Tally(self._loss.device)
        copy.restore(self.state())
        return copy

    @property
    def images(self) -> int:
        """How many images were counted."""
        return int(self._counts[0])

    def error(self) -> float:
        """The fraction of images classified wrongly."""
        images, wrong = self._counts.tolist()
        return wrong / images

    def loss(self) -> float:
        """The mean loss an image, in nats."""
        return self._loss.item() / self.images

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"counts": self._counts, "loss": self._loss}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._counts.copy_(state["counts"])
        self._loss.copy_(state["loss"])
