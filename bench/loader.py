"""What loader processes make: views of an album's images, decoded and cut, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from bench import views
from bench.album import Pages
from bench.errors import DataError

Item = tuple[int, int, float, float]  # the image's number, its shorter side, where its window lies down and right
Loaded = tuple[Tensor, int, list[tuple[int, str]]]  # a view, its label, images that could not be decoded and why


class Views(TorchDataset[Loaded]):
    """The views that items ask for, uint8 [3, crop, crop]; a shorter side of 0 asks for the one that tests take.

    An image that cannot be decoded is reported with the view, which is then of the next of `numbers` (ascending) that
    can.

    Raises:
        DataError: where none can.
    """

    def __init__(self, pages: Pages, numbers: np.ndarray, crop: int) -> None:
        self.pages, self.numbers, self.crop = pages, numbers, crop

    def __getitem__(self, item: Item) -> Loaded:
        number = item[0]
        bad: list[tuple[int, str]] = []
        while True:
            try:
                image = views.decode(self.pages.read(number))
                break
            except (RuntimeError, OSError) as error:
                bad.append((number, next(iter(str(error).splitlines()), "")))
                number = int(self.numbers[np.searchsorted(self.numbers, number, "right") % len(self.numbers)])
                if len(bad) >= len(self.numbers):
                    raise DataError(f"{self.pages.name(number)}: cannot be decoded, nor can any other image") from None
        return self.of(image, item), int(self.pages.labels[number]), bad

    def of(self, image: Tensor, item: Item) -> Tensor:
        """The view of an image that an item asks for."""
        _, side, down, right = item
        if not side:
            return views.single(image, self.crop)
        return views.cut(views.scaled(image, side), self.crop, down, right)


Batch = tuple[Tensor, Tensor, list[tuple[int, str]]]


def collate(items: Sequence[Loaded]) -> Batch:
    """One batch of several views: uint8 [B, 3, crop, crop], labels int64 [B], what could not be decoded."""
    shown, labels, bad = zip(*items, strict=True)
    return torch.stack(shown), torch.tensor(labels), [each for several in bad for each in several]
