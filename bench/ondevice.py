"""Images whose JPEGs the GPU decodes (nvJPEG, through torchvision): loader processes read files, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from bench import loader, views
from bench.album import Pages
from bench.errors import DeviceError, in_a_line
from bench.loader import Batch, Images, Item

Read = tuple[Tensor, list[int], list[Item]]  # of some files: all their bytes in a row, how many each has, its item
Decoder = Callable[[list[Tensor]], list[Tensor]]  # files to images, uint8 [3, H, W]; RuntimeError where one cannot be


@dataclass(frozen=True, eq=False)
class Files(TorchDataset[tuple[bytes, Item]]):
    """The files of the images that items ask for; no bytes of one that cannot be read or is too large."""

    pages: Pages

    def __getitem__(self, item: Item) -> tuple[bytes, Item]:
        try:
            data = self.pages.read(item[0])
            views.check(data)
            return data, item
        except (OSError, RuntimeError):
            return b"", item  # why, `Images` will say


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
        raise DeviceError(
            f'decoding = "gpu": torchvision cannot decode a JPEG on {device}: {in_a_line(error)}'
        ) from None
    return decode


class Darkroom:
    """Where a device makes cuts of files, on a stream of its own.

    nvJPEG has one, too. It heeds nothing that is queued elsewhere, and torch lets it write to memory that the current
    stream is yet to read, as that stream sees it in order. So before files are decoded the current stream is waited
    for: one which holds nothing but the making of cuts, and no training step.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._decode = device, gpu_decoder(device)
        self._stream = torch.cuda.Stream(device)

    def load(self, images: Images, batches: Iterable[list[Item]], loaders: int = 0, ahead: int = 2) -> Iterator[Batch]:
        """As `bench.loader.load`, in the device's memory, for work on the stream that is current when a batch is asked
        for."""
        for files in loader.processes(Files(images.pages), batches, as_read, loaders, ahead):
            self._stream.synchronize()
            with torch.cuda.stream(self._stream):
                batch = batch_of(files, images, self._decode)
            user = torch.cuda.current_stream(self._device)
            user.wait_stream(self._stream)
            if batch.pixels.is_cuda:
                batch.pixels.record_stream(user)  # its memory is not used again before that has read it
            yield batch


def reader(decoding: str, device: torch.device) -> Callable[..., Iterator[Batch]]:
    """`bench.loader.load` for a device; where `decoding` is "gpu", the device decodes.

    Raises:
        DeviceError: when it cannot.
    """
    return Darkroom(device).load if decoding == "gpu" else partial(loader.load, device=device)


def batch_of(read: Read, images: Images, decode: Decoder) -> Batch:
    """The batch of files, as `Images` makes it, in the memory that `decode` decodes into.

    What it cannot decode (a PNG by another name, four colours) goes the way of `Images`, on the CPU.
    """
    row, lengths, items = read
    files = list(row.split(lengths))
    try:
        found: list[Tensor | None] = list(decode(files)) if files else []
    except RuntimeError:  # nothing is told of the others
        found = [_alone(data, decode) for data in files]
    place = next((image.device for image in found if image is not None), torch.device("cpu"))
    made = [
        images[item] if image is None else images.of(image, item[0], item, [])
        for image, item in zip(found, items, strict=True)
    ]
    return Batch.of([one._replace(pieces=[piece.to(place) for piece in one.pieces]) for one in made])


def _alone(data: Tensor, decode: Decoder) -> Tensor | None:
    try:
        return decode([data])[0]
    except RuntimeError:
        return None
