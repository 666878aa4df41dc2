"""Training and evaluation batches, made on the training device from uint8 images that stay there (section 4.2).

No DataLoader, and nothing that waits for the device. Where in the data a batch begins is itself on the device, so that
making one is the same work each time and can be captured in a CUDA graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.cell import Recipe
from bench.dataset import Dataset
from bench.errors import FieldError
from bench.split import split
from bench.team import ALONE, Team


@dataclass(frozen=True, eq=False)
class Part:
    """Images uint8 [N, C, H, W] and their labels int64 [N], on the device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class DeviceData:
    """A data set on the training device: its parts, and the per-pixel mean of what is trained on.

    `train`, `validation` (empty unless the recipe holds images out) and `test` are `Part`s. `mean` is float32
    [1, C, H, W], on the scale where pixels run from 0 to 1. Images are kept in `memory_format`, and batches come in it:
    channels_last makes a step of ResNet-20 on a CPU 1.2 times as fast. The processes of a `team` take turns at the
    batches of a pass.

    Raises:
        FieldError: when the data does not fit the recipe's split.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.channels_last,
        team: Team = ALONE,
    ) -> None:
        def part(images: np.ndarray, labels: np.ndarray) -> Part:
            # torch.tensor copies: the data set's arrays are read-only
            on_device = torch.tensor(images).to(device, memory_format=memory_format)
            return Part(on_device, torch.tensor(labels).to(device))

        images, labels = dataset.train_images, dataset.train_labels
        chosen = split(labels, recipe, dataset.holdout)
        trained = images if len(chosen.train) == len(images) else images[chosen.train]
        self._team, self._others = team, 0  # images of the others from one batch of a pass to the next
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self.train = part(trained, labels[chosen.train])
        self.validation = part(images[chosen.validation], labels[chosen.validation])
        self.test = part(dataset.test_images, dataset.test_labels)
        # a sum of integers is exact, so every device has the same mean to the bit
        mean = trained.sum(0, dtype=np.int64) / (255 * len(trained))
        self.mean = torch.tensor(mean[np.newaxis], dtype=torch.float32).to(device, memory_format=memory_format)

    def normalise(self, images: Tensor) -> Tensor:
        """float32 x / 255 - mean of uint8 x [B, C, H, W]; the paper does not divide by a deviation."""
        return (images / 255).sub_(self.mean)

    def part(self, which: str) -> Part:
        """Train, validation or test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[which]

    def rewind(self) -> None:
        """Begin a pass: the next batch for evaluation is a part's first."""
        self._position.zero_()

    def count(self, which: str) -> int:
        """How many images an evaluation of a part takes: all."""
        return len(self.part(which))

    def begin(self, which: str, images: int, batch: int) -> None:  # noqa: ARG002 - what a stream has to know
        """Begin an evaluation's pass over a part, with the first of this process's batches."""
        self._position.fill_(self._team.rank * batch)
        self._others = (self._team.size - 1) * batch

    def fetch(self) -> None:
        """Have the next batch of a pass at hand: it is on the device already."""

    def evaluation_batch(self, which: str, size: int) -> tuple[Tensor, Tensor]:
        """The next `size` images of a part, in order and un-augmented: float32 [B, C, H, W] and labels int64 [B]."""
        part = self.part(which)
        here = self._position + torch.arange(size, device=part.labels.device)
        self._position += size + self._others
        return self.normalise(part.images[here]), part.labels[here]


@dataclass(frozen=True, eq=False)
class Epoch:
    """What chance decides in one epoch over N images: tensors [N], on the device.

    The k-th image seen is number `order[k]`, cropped at `dy[k]`, `dx[k]` (int64, 0 to twice the padding, both included)
    and mirrored where `flip[k]`.
    """

    order: Tensor
    dy: Tensor
    dx: Tensor
    flip: Tensor

    @classmethod
    def draw(cls, images: int, padding: int, seed: int, number: int, device: torch.device) -> Epoch:
        """Epoch `number` (from 0) of a run with this seed; the order does not depend on the padding."""
        digest = hashlib.sha256(f"epoch {number} of seed {seed}".encode()).digest()
        generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:8]) >> 1)  # 63 bits: never negative
        order = torch.randperm(images, generator=generator, device=device)
        flip = torch.rand(images, generator=generator, device=device) < 0.5
        dy, dx = torch.randint(2 * padding + 1, (2, images), generator=generator, device=device)
        return cls(order, dy, dx, flip)


class Batches:
    """The training batches of a run: the one at each iteration follows from the seed and the iteration alone.

    Every epoch visits each training image once; with `last_batch = "drop"`, all but the incomplete batch that would end
    it. Batches are augmented as in section 4.2: mean subtracted, padded with zeros, cropped, half of them mirrored.
    Each process of a `team` makes its share of them.

    Raises:
        FieldError: when incomplete batches are dropped and there is no other.
    """

    seconds = 0.0  # that training waited for images
    bad: Mapping[str, str] = MappingProxyType({})  # images that cannot be decoded: all were

    def __init__(self, data: DeviceData, recipe: Recipe, seed: int, team: Team = ALONE) -> None:
        images = len(data.train)
        if recipe.last_batch == "drop" and recipe.batch > images:
            allowed = f"at most {images:,}, the number of training images, where last_batch is drop"
            raise FieldError("batch", recipe.batch, allowed)
        self.data, self.recipe, self.seed, self._team = data, recipe, seed, team
        self.steps_per_epoch = images // recipe.batch if recipe.last_batch == "drop" else -(-images // recipe.batch)
        self._number, self._epoch = -1, None
        self._position = torch.zeros((), dtype=torch.int64, device=data.train.labels.device)
        self._next = 0  # the iteration that `_position` is at

    def epoch(self, number: int) -> Epoch:
        """What chance decides in epoch `number`, until another is asked for."""
        if self._number != number:
            train, padding = self.data.train, self.recipe.crop_padding
            drawn = Epoch.draw(len(train), padding, self.seed, number, train.labels.device)
            if self._epoch is None:
                self._epoch = drawn  # whose tensors stay where they are, for a captured step to read
            for mine, new in zip(vars(self._epoch).values(), vars(drawn).values(), strict=True):
                mine.copy_(new)
            self._number = number
        return self._epoch

    def size(self, iteration: int) -> int:
        """How many images the batch of that iteration has, all shares together."""
        step = iteration % self.steps_per_epoch
        return min(self.recipe.batch, len(self.data.train) - step * self.recipe.batch)

    def seek(self, iteration: int) -> None:
        """Let the next batch be that of the step from `iteration` to the one after."""
        number, step = divmod(iteration, self.steps_per_epoch)
        if self._number != number or self._next != iteration:
            self.epoch(number)
            self._position.fill_(step * self.recipe.batch)
        self._next = iteration + 1

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """The next batch, of `size` images, or one's share: float32 [B, C, H, W], labels int64 [B]."""
        share = self._team.share(size)
        here = self._position + torch.arange(share.start, share.stop, device=self._position.device)
        self._position += size
        chosen = self._epoch.order[here]
        images = self.data.normalise(self.data.train.images[chosen])
        if self.recipe.crop_padding:
            images = crop(images, self._epoch.dy[here], self._epoch.dx[here], self.recipe.crop_padding)
        if self.recipe.flip:
            images = mirror(images, self._epoch.flip[here])
        return images, self.data.train.labels[chosen]

    def at(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The batch of the step from `iteration` to the next: images float32 [B, C, H, W], labels int64 [B]."""
        self.seek(iteration)
        return self.take(self.size(iteration))


def crop(images: Tensor, dy: Tensor, dx: Tensor, padding: int) -> Tensor:
    """Pad images [B, C, H, W] with `padding` zeros a side; of each, the H x W window whose corner is at dy, dx [B]."""
    height, width = images.shape[2:]
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, dy, dx]


def mirror(images: Tensor, flip: Tensor) -> Tensor:
    """Images [B, C, H, W], left and right exchanged where `flip` [B] is true."""
    return torch.where(flip[:, None, None, None], images.flip(3), images)
