"""A net, and how it learns from a batch: forward, backward, update (section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.arithmetic import compiled, memory_format, set_precision
from bench.cell import Cell
from bench.groups import RunningStatistics
from bench.nets import build, recompute, synchronise
from bench.sgd import optimiser
from bench.team import Team
from bench.working import Working


class Learner:
    """The net of a cell on a device, and its optimiser.

    `net` holds float32 weights, `working` computes with them in the recipe's precision; `layout` is that of images.
    Batch normalisation is over the recipe's `norm_batch`, or else over a batch, of which each process of a team has a
    share. Make it, and call it, within the stream that its work is to be queued in.

    Raises:
        DeviceError: when the device cannot do what the recipe asks.
    """

    def __init__(self, cell: Cell, channels: int, classes: int, device: torch.device, team: Team) -> None:
        self._recipe = recipe = cell.recipe
        self._team = team
        set_precision(recipe, device)
        net = build(cell.arch, channels=channels, classes=classes, seed=cell.seed, init_fan=recipe.init_fan)
        self.layout = memory_format(recipe, net, device)
        self.net = net.to(device, memory_format=self.layout)
        self.working = Working(self.net, recipe.precision)
        self._compiled = compiled(self.working.module) if recipe.compiled else None
        self._shared: nn.Module | None = None
        if recipe.recompute:
            recompute(self.working.module)
        if team.size > 1 and not recipe.norm_batch:
            synchronise(self.net, team)
        self._statistics = RunningStatistics(self.net)
        self._groups, self.sgd = optimiser(list(self.net.parameters()), recipe)

    def prepare(self, batch: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """What takes time and is no training: compile the net, by passing a batch that leaves it as it was; meet the
        team."""
        if self._compiled:
            images, labels = batch()
            buffers = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
            F.cross_entropy(self.working(images, self._compiled), labels).backward()
            self.working.clear_gradients()
            for buffer, before in buffers:
                buffer.copy_(before)
        if self._team.size > 1:
            self._shared = self._team.wrap(self._compiled or self.working.module)

    def step(self, images: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Learn from images float32 [B, C, H, W] and labels int64 [B], this process's share of a batch of `size`.

        Returns logits [B, classes], the mean loss over them, and the gradients of the batch's. Nothing waits for the
        device.
        """
        self.working.clear_gradients()
        whole = size == self._recipe.batch  # an incomplete batch is not worth a compilation (a team has one module)
        module = self._shared or (self._compiled if whole else None)
        if self._recipe.norm_batch in (0, len(images)):
            logits, loss = self._pass(images, labels, module, self._team.weight(size))
        else:
            logits, loss = self._pass_groups(images, labels, module)
        if self._recipe.norm_batch:
            self._team.mean_(self._statistics.tensors)
        gradients = self.working.gradients()
        self.sgd.step([[gradients[number] for number in group] for group in self._groups])
        self.working.refresh()
        return logits, loss, gradients

    def _pass(self, images: Tensor, labels: Tensor, module: nn.Module | None, weight: float) -> tuple[Tensor, Tensor]:
        """Logits and their mean loss, whose gradients, times `weight`, are added to those there are."""
        logits = self.working(images, module)
        loss = F.cross_entropy(logits, labels) if len(labels) else logits.sum()  # nothing, if there is nothing
        (loss if weight == 1 else weight * loss).backward()
        return logits.detach(), loss.detach()

    def _pass_groups(self, images: Tensor, labels: Tensor, module: nn.Module | None) -> tuple[Tensor, Tensor]:
        """The same of one group after another, each normalised alone."""
        group = self._recipe.norm_batch
        groups = list(zip(images.split(group), labels.split(group), strict=True))
        found = []
        for number in self._statistics.over(len(groups)):
            with self._team.quiet(module) if number < len(groups) - 1 else nullcontext():
                found.append(self._pass(*groups[number], module, 1 / len(groups)))
        return torch.cat([logits for logits, _ in found]), torch.stack([loss for _, loss in found]).mean()
