"""Views whose JPEGs the GPU decodes (nvJPEG, through torchvision): loader processes read files, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.io import ImageReadMode, decode_jpeg

from bench.loader import Batch, Item, Views, collate

Read = tuple[Tensor, Item]  # a file's bytes, uint8 [n], none where it cannot be read; what is to be made of it
Decoder = Callable[[list[Tensor]], list[Tensor]]  # files to images, uint8 [3, H, W]; RuntimeError where one cannot be


class Files(TorchDataset[Read]):
    """The files of the views that items ask for."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __getitem__(self, item: Item) -> Read:
        try:
            data = self.views.pages.read(item[0])
        except OSError:
            data = b""  # why, `Views` will say
        return torch.from_numpy(np.frombuffer(data, np.uint8).copy()), item


def as_read(items: Sequence[Read]) -> list[Read]:
    """Files differ in length: a batch of them is a list."""
    return list(items)


def gpu_decoder(device: torch.device) -> Decoder:
    """The device's own."""
    return partial(decode_jpeg, mode=ImageReadMode.RGB, device=device)


def batch_of(read: Sequence[Read], views: Views, decode: Decoder) -> Batch:
    """The views of files, as `Views` and `collate` make them, in the memory that `decode` decodes into.

    What it cannot decode (a PNG by another name, four colours) goes the way of `Views`, on the CPU.
    """
    files = [data for data, _ in read]
    try:
        images: list[Tensor | None] = list(decode(files))
    except RuntimeError:
        images = [_alone(data, decode) for data in files]
    made = []
    for image, (_, item) in zip(images, read, strict=True):
        if image is None:
            made.append(views[item])
        else:
            made.append((views.of(image, item), int(views.pages.labels[item[0]]), []))
    place = next((image.device for image in images if image is not None), torch.device("cpu"))
    return collate([(view.to(place), label, bad) for view, label, bad in made])


def _alone(data: Tensor, decode: Decoder) -> Tensor | None:
    try:
        return decode([data])[0]
    except RuntimeError:
        return None
