"""Views whose JPEGs the GPU decodes (nvJPEG, through torchvision): loader processes read files, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from bench.errors import DeviceError
from bench.loader import Batch, Item, Views, collate

Read = tuple[Tensor, list[int], list[Item]]  # of some files: all their bytes in a row, how many each has, its item
Decoder = Callable[[list[Tensor]], list[Tensor]]  # files to images, uint8 [3, H, W]; RuntimeError where one cannot be


class Files(TorchDataset[tuple[bytes, Item]]):
    """The files of the views that items ask for; no bytes of one that cannot be read."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __getitem__(self, item: Item) -> tuple[bytes, Item]:
        try:
            return self.views.pages.read(item[0]), item
        except OSError:
            return b"", item  # why, `Views` will say


def as_read(files: Sequence[tuple[bytes, Item]]) -> Read:
    """A batch of files in one tensor, for each that a loader process hands over costs an open file."""
    row = np.frombuffer(bytearray().join(data for data, _ in files), np.uint8)
    return torch.from_numpy(row), [len(data) for data, _ in files], [item for _, item in files]


def gpu_decoder(device: torch.device) -> Decoder:
    """The device's own, which was tried.

    Raises:
        DeviceError: where there is none: else each image would be refused, and go the CPU's slow way.
    """
    decode = partial(decode_jpeg, mode=ImageReadMode.RGB, device=device)
    try:
        decode([encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8))])
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(f'decoding = "gpu": torchvision cannot decode a JPEG on {device}: {reason}') from None
    return decode


class Darkroom:
    """Where a device makes views of files, on a stream of its own.

    nvJPEG has one, too. It heeds nothing that is queued elsewhere, and torch lets it write to memory that the current
    stream is yet to read, as that stream sees it in order. So before files are decoded the current stream is waited
    for: one which holds nothing but the making of views, and no training step.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._decode = device, gpu_decoder(device)
        self._stream = torch.cuda.Stream(device)

    def batches(self, read: Iterable[Read], views: Views) -> Iterator[Batch]:
        """The views of batch after batch, for work on the stream that is current when one is asked for."""
        for files in read:
            self._stream.synchronize()
            with torch.cuda.stream(self._stream):
                shown, labels, bad = batch_of(files, views, self._decode)
            user = torch.cuda.current_stream(self._device)
            user.wait_stream(self._stream)
            if shown.is_cuda:
                shown.record_stream(user)  # its memory is not used again before that has read it
            yield shown, labels, bad


def batch_of(read: Read, views: Views, decode: Decoder) -> Batch:
    """The views of files, as `Views` and `collate` make them, in the memory that `decode` decodes into.

    What it cannot decode (a PNG by another name, four colours) goes the way of `Views`, on the CPU.
    """
    row, lengths, items = read
    files = list(row.split(lengths))
    try:
        images: list[Tensor | None] = list(decode(files))
    except RuntimeError:  # nothing is told of the others
        images = [_alone(data, decode) for data in files]
    made = []
    for image, item in zip(images, items, strict=True):
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
