"""Images read, decoded and cut for a test, by processes of their own.

A piece is some views of one image that have one shape, uint8 [V, 3, H, W]. A cut makes the pieces of an image; it is
called in the process that decodes, so it must be one that can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench import views
from bench.album import Pages

AT_ONCE = 8  # images that a process hands over together

Cut = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True, eq=False)
class Loaded:
    """Some images, cut: all their pixels in a row, uint8, for a tensor handed over costs an open file.

    `shapes` are those of each image's pieces; `bad`, of each image that cannot be had, its number and why.
    """

    pixels: Tensor
    shapes: list[list[torch.Size]]
    labels: list[int]
    bad: list[tuple[int, str]]

    def pin_memory(self) -> Loaded:
        return replace(self, pixels=self.pixels.pin_memory())

    def images(self) -> Iterator[tuple[int, list[Tensor]]]:
        """The label and the pieces of each image."""
        ends = accumulate((shape.numel() for shapes in self.shapes for shape in shapes), initial=0)
        places = pairwise(ends)
        for label, shapes in zip(self.labels, self.shapes, strict=True):
            yield label, [self.pixels[slice(*next(places))].view(shape) for shape in shapes]


class Cuts(Dataset):
    """The images `numbers`, each as (number, label, its pieces or why there are none)."""

    def __init__(self, pages: Pages, numbers: Sequence[int], cut: Cut) -> None:
        self._pages, self._numbers, self._cut = pages, numbers, cut

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> tuple[int, int, list[Tensor] | str]:
        number = int(self._numbers[index])
        try:
            image = views.decode(self._pages.read(number))
        except (RuntimeError, OSError) as error:
            return number, -1, next(iter(str(error).splitlines()), type(error).__name__)
        return number, int(self._pages.labels[number]), self._cut(image)


def _together(items: list[tuple[int, int, list[Tensor] | str]]) -> Loaded:
    good = [(label, pieces) for _, label, pieces in items if not isinstance(pieces, str)]
    rows = [piece.flatten() for _, pieces in good for piece in pieces]
    return Loaded(
        torch.cat(rows) if rows else torch.empty(0, dtype=torch.uint8),
        [[piece.shape for piece in pieces] for _, pieces in good],
        [label for label, _ in good],
        [(number, reason) for number, _, reason in items if isinstance(reason, str)],
    )


def loading(cuts: Cuts, loaders: int, device: torch.device) -> DataLoader[Loaded]:
    """The images in their order, some at a time, by `loaders` processes ahead of need (0: by this one, at need).

    On their way to a GPU they are in pinned memory.
    """
    pinned = device.type == "cuda" and loaders > 0  # of this process's own, copying twice would cost more
    return DataLoader(
        cuts,
        AT_ONCE,
        num_workers=loaders,
        collate_fn=_together,
        pin_memory=pinned,
        multiprocessing_context="fork" if loaders else None,  # a pool's child would import torch in each again
    )
