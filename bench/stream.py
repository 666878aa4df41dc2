"""Batches of views of images of any size, read, decoded and cut while a net trains on those before (section 3.4).

Loader processes (torch's DataLoader) make uint8 views; mirroring, the mean and the colours' shifts are the training
device's work, on tensors that stay where they are. What chance decides is a function of the seed and the epoch, as in
`bench.batches`, so that a training goes on bit for bit from an iteration alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from bench import cuts, ondevice, pixels
from bench.album import Album, Pages
from bench.batches import mirror
from bench.cell import Recipe
from bench.errors import FieldError
from bench.loader import Batch, Cut, Images, Item
from bench.loading import AT_NEED, Loading
from bench.split import split
from bench.team import ALONE, Team

PREFETCHED = 2  # batches a loader works ahead; one of the paper's is 39 MB of shared memory, and pinned 64


@dataclass(frozen=True, eq=False)
class Draws:
    """What chance decides in one epoch over N images: [N] each, in the order of the views; `colour` is [N, 3]."""

    order: Tensor
    side: Tensor
    down: Tensor
    right: Tensor
    flip: Tensor
    colour: Tensor

    @classmethod
    def draw(cls, images: int, scale: Sequence[int], seed: int, number: int) -> Draws:
        """Epoch `number` (from 0) of a run with this seed; drawn on the CPU, so that all devices see the same."""
        digest = hashlib.sha256(f"views of epoch {number} of seed {seed}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)  # 63 bits: never negative
        order = torch.randperm(images, generator=generator)
        side = torch.randint(scale[0], scale[1] + 1, (images,), generator=generator)
        down, right, flip = torch.rand(3, images, generator=generator, dtype=torch.float64)
        return cls(order, side, down, right, flip < 0.5, torch.randn(images, 3, generator=generator))


class Stream:
    """The training batches of a run, and its evaluations' passes, from an album: `Batches` and `DeviceData` in one.

    `mean` is float32 [1, 3, crop, crop], of pixels from 0 to 1. Evaluations of the training part take `train_sample` of
    its images (0: all), the same each time, in an order that has nothing to do with their classes. Each process of a
    `team` makes its share of training's batches, and they take turns at those of evaluations.

    Raises:
        DataError: where no image can be decoded.
        DeviceError: when the device is to decode, and cannot.
        FieldError: when incomplete batches are dropped and there is no other, or the data does not fit the split.
    """

    def __init__(
        self,
        album: Album,
        recipe: Recipe,
        seed: int,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.channels_last,
        loading: Loading = AT_NEED,
        team: Team = ALONE,
    ) -> None:
        self.album, self.recipe, self.seed, self.loading, self._team = album, recipe, seed, loading, team
        self.device, self._layout = torch.device(device), memory_format
        chosen = split(album.train.labels, recipe, album.holdout)
        self._trained = chosen.train
        self._read = ondevice.reader(recipe.decoding, self.device)
        shuffled = chosen.train[np.argsort(np.random.PCG64(0).random_raw(len(chosen.train)), kind="stable")]
        sample = shuffled[: recipe.train_sample] if recipe.train_sample else shuffled
        self._window = partial(cuts.window, crop=recipe.crop_size)
        self._single = partial(cuts.single, crop=recipe.crop_size)
        self._parts = {
            "train": (album.train, sample),
            "validation": (album.train, chosen.validation),
            "test": (album.test, np.arange(len(album.test))),
        }
        images = len(chosen.train)
        if recipe.last_batch == "drop" and recipe.batch > images:
            allowed = f"at most {images:,}, the number of training images, where last_batch is drop"
            raise FieldError("batch", recipe.batch, allowed)
        self.steps_per_epoch = images // recipe.batch if recipe.last_batch == "drop" else -(-images // recipe.batch)
        found = pixels.statistics(album, recipe)
        self.mean = torch.from_numpy(found.mean)[None].to(self.device, memory_format=memory_format)
        shifts = pixels.colour_shifts(found, recipe)
        self._shifts = None if shifts is None else torch.tensor(shifts, dtype=torch.float32)
        self.bad: dict[str, str] = {}  # images that could not be decoded, and why
        self.seconds = 0.0  # that training waited for views
        self._draws = lru_cache(3)(lambda number: Draws.draw(images, recipe.scale, seed, number))
        self._next = -1  # the iteration whose batch the loaders give next
        self._loaded: Iterator[Batch] = iter(())
        self._passing: Iterator[Batch] = iter(())
        self._shown, self._labels = self._buffers(recipe.batch)
        self._flip = torch.zeros(recipe.batch, dtype=torch.bool, device=self.device)
        self._colour = torch.zeros(recipe.batch, 3, 1, 1, device=self.device)
        self._evaluated, self._evaluated_labels = self._shown[:0], self._labels[:0]

    def _buffers(self, size: int) -> tuple[Tensor, Tensor]:
        crop = self.recipe.crop_size
        shown = torch.empty(size, 3, crop, crop, dtype=torch.uint8, device=self.device)
        return shown.to(memory_format=self._layout), torch.empty(size, dtype=torch.int64, device=self.device)

    def size(self, iteration: int) -> int:
        """How many images the batch of that iteration has, all shares together."""
        step = iteration % self.steps_per_epoch
        return min(self.recipe.batch, len(self._trained) - step * self.recipe.batch)

    def items(self, iteration: int) -> list[Item]:
        """The views of the batch, or one's share, of the step from `iteration` to the one after."""
        draws, here = self._draws(iteration // self.steps_per_epoch), self._span(iteration)
        numbers = self._trained[draws.order[here].numpy()].tolist()
        places = (draws.side[here].tolist(), draws.down[here].tolist(), draws.right[here].tolist())
        return list(zip(numbers, *places, strict=True))

    def _span(self, iteration: int) -> slice:
        start, share = iteration % self.steps_per_epoch * self.recipe.batch, self._team.share(self.size(iteration))
        return slice(start + share.start, start + share.stop)

    def seek(self, iteration: int) -> None:
        """Let the next batch be that of the step from `iteration` to the one after: wait until it is loaded."""
        began = time.perf_counter()
        if self._next != iteration:
            asked = (self.items(number) for number in range(iteration, self.recipe.iterations))
            self._loaded = self._load(self.album.train, self._trained, self._window, asked)
        batch = next(self._loaded)
        self._note_bad(self.album.train, batch)
        self.seconds += time.perf_counter() - began
        draws, here = self._draws(iteration // self.steps_per_epoch), self._span(iteration)
        size = _put(batch, self._shown, self._labels)
        self._flip[:size].copy_(draws.flip[here], non_blocking=True)
        if self._shifts is not None:
            self._colour[:size].copy_((draws.colour[here] @ self._shifts.T)[:, :, None, None], non_blocking=True)
        self._next = iteration + 1

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """The batch that was sought, of `size` images, or one's share: float32 [B, 3, crop, crop], labels int64 [B]."""
        share = self._team.share(size)
        size = share.stop - share.start
        shown = self._shown[:size]
        if self.recipe.flip:
            shown = mirror(shown, self._flip[:size])
        images = self.normalise(shown)
        if self._shifts is not None:
            images = images.add_(self._colour[:size])
        return images, self._labels[:size]

    def at(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The batch of the step from `iteration` to the next: images float32 [B, 3, crop, crop], labels int64 [B]."""
        self.seek(iteration)
        return self.take(self.size(iteration))

    def normalise(self, images: Tensor) -> Tensor:
        """float32 x / 255 - mean of uint8 x [B, 3, H, W]; of images of another shape than the crop's, the mean over
        pixels is subtracted."""
        mean = self.mean if images.shape[2:] == self.mean.shape[2:] else self.mean.mean((2, 3), keepdim=True)
        return (images / 255).sub_(mean)

    def count(self, part: str) -> int:
        """How many images an evaluation of a part (train, validation, test) takes."""
        return len(self._parts[part][1])

    def begin(self, part: str, images: int, batch: int) -> None:
        """Begin an evaluation's pass over the first so many images of a part, in batches; one's own of those."""
        pages, numbers = self._parts[part]
        wanted: list[Item] = [(number,) for number in numbers[:images].tolist()]
        turns = range(self._team.rank * batch, len(wanted), self._team.size * batch)
        batches = (wanted[start : start + batch] for start in turns)
        self._passing = self._load(pages, np.sort(numbers), self._single, batches)
        self._pages = pages
        if len(self._evaluated) < batch:
            self._evaluated, self._evaluated_labels = self._buffers(batch)

    def fetch(self) -> None:
        """Wait for the next batch of the pass."""
        batch = next(self._passing)
        self._note_bad(self._pages, batch)
        _put(batch, self._evaluated, self._evaluated_labels)

    def evaluation_batch(self, _: str, size: int) -> tuple[Tensor, Tensor]:
        """The batch that was fetched, un-augmented: float32 [B, 3, crop, crop] and labels int64 [B]."""
        return self.normalise(self._evaluated[:size]), self._evaluated_labels[:size]

    def _load(self, pages: Pages, numbers: np.ndarray, cut: Cut, batches: Iterable[list[Item]]) -> Iterator[Batch]:
        """Batches of views, one an item; one of the `numbers` (ascending) takes the place of a bad image."""
        return self._read(Images(pages, cut, instead=numbers), batches, loaders=self.loading.loaders, ahead=PREFETCHED)

    def _note_bad(self, pages: Pages, batch: Batch) -> None:
        for number, reason in batch.bad:
            self.note_bad(pages.name(number), reason)

    def note_bad(self, name: str, reason: str) -> None:
        """Take note of an image that cannot be decoded.

        Raises:
            DataError: unless such images are skipped.
        """
        self.loading.check(name, reason)
        self.bad.setdefault(name, reason)


def _put(batch: Batch, views: Tensor, labels: Tensor) -> int:
    """Copy a batch of views of one shape, and its labels, to where they stay; how many there are."""
    size = len(batch.labels)
    views[:size].copy_(batch.pixels.view(views[:size].shape), non_blocking=True)
    labels[:size].copy_(torch.tensor(batch.labels), non_blocking=True)
    return size
