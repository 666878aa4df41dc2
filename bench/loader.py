"""An album's images on their way to a net: read, decoded and cut, some at a time, by processes ahead of need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench import views
from bench.album import Pages
from bench.errors import DataError, in_a_line

Item = tuple[Any, ...]  # an image's number, and what is cut out of it: what the cut takes beside the image
Cut = Callable[..., list[Tensor]]  # an image, and the item's rest, to pieces (`bench.cuts`)
Bad = tuple[int, str]  # the number of an image that cannot be had, and why


class Made(NamedTuple):
    """What became of an item: an image's label and pieces, no label where there is none; those that cannot be had."""

    label: int | None
    pieces: list[Tensor]
    bad: list[Bad]


@dataclass(frozen=True, eq=False)
class Images(TorchDataset[Made]):
    """The images of a part that items ask for, cut.

    In the place of one that cannot be had comes the next of `instead` (numbers, ascending) that can; without, nothing.

    Raises:
        DataError: where none of `instead` can be had.
    """

    pages: Pages
    cut: Cut
    instead: np.ndarray | None = None

    def __getitem__(self, item: Item) -> Made:
        bad: list[Bad] = []
        for number in self._candidates(item[0]):
            try:
                image = views.decode(self.pages.read(number))
            except (RuntimeError, OSError) as error:
                bad.append((number, in_a_line(error)))
            else:
                return self.of(image, number, item, bad)
        if self.instead is not None:
            raise DataError(f"{self.pages.name(item[0])}: cannot be decoded, nor can any other image")
        return Made(None, [], bad)

    def of(self, image: Tensor, number: int, item: Item, bad: list[Bad]) -> Made:
        """What an item asks for, of image `number`."""
        return Made(int(self.pages.labels[number]), self.cut(image, *item[1:]), bad)

    def _candidates(self, number: int) -> Iterator[int]:
        yield number
        if self.instead is not None:
            place = np.searchsorted(self.instead, number, "right")
            yield from map(int, chain(self.instead[place:], self.instead[:place]))


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images, cut: all their pixels in a row, uint8, for a tensor handed over costs an open file.

    `shapes` are those of each image's pieces; `bad` are images that cannot be had.
    """

    pixels: Tensor
    shapes: list[list[torch.Size]]
    labels: list[int]
    bad: list[Bad]

    @classmethod
    def of(cls, made: Sequence[Made]) -> Batch:
        """What became of several items, together."""
        good = [one for one in made if one.label is not None]
        rows = [piece.flatten() for one in good for piece in one.pieces]
        return cls(
            torch.cat(rows) if rows else torch.empty(0, dtype=torch.uint8),
            [[piece.shape for piece in one.pieces] for one in good],
            [one.label for one in good],
            [each for one in made for each in one.bad],
        )

    def pin_memory(self) -> Batch:
        return replace(self, pixels=self.pixels.pin_memory())

    def images(self) -> Iterator[tuple[int, list[Tensor]]]:
        """The label and the pieces of each image."""
        ends = accumulate((shape.numel() for shapes in self.shapes for shape in shapes), initial=0)
        places = pairwise(ends)
        for label, shapes in zip(self.labels, self.shapes, strict=True):
            yield label, [self.pixels[slice(*next(places))].view(shape) for shape in shapes]


def load(
    images: Images, batches: Iterable[list[Item]], device: torch.device, loaders: int = 0, ahead: int = 2
) -> Iterator[Batch]:
    """A batch for each list of items, in their order, by `loaders` processes each so many ahead of need (0: by this
    one, at need); in pinned memory on their way to a GPU."""
    pinned = device.type == "cuda" and loaders > 0  # of this process's own, copying twice would cost more
    return iter(processes(images, batches, Batch.of, loaders, ahead, pinned))


def processes(
    made: TorchDataset[Any],
    batches: Iterable[list[Item]],
    together: Callable[[Sequence[Any]], Any],
    loaders: int,
    ahead: int,
    pinned: bool = False,
) -> DataLoader[Any]:
    """What `made` makes of each item, `together` for a batch of them."""
    return DataLoader(
        made,
        batch_sampler=batches,  # of items, not numbers
        collate_fn=together,
        num_workers=loaders,
        pin_memory=pinned,
        prefetch_factor=ahead if loaders else None,
        multiprocessing_context="fork" if loaders else None,  # a pool's child would import torch in each again
    )
