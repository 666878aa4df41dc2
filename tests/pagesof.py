"""A made-up part of an album: encoded images of many sizes, in memory."""

from __future__ import annotations

import numpy as np
import torch
import torchvision


class Pages:
    """As `bench.album.Pages`."""

    def __init__(self, files, labels):
        self.files, self.labels = files, np.asarray(labels, np.int64)

    def __len__(self):
        return len(self.files)

    def read(self, number):
        if self.files[number] is None:
            raise FileNotFoundError(2, "No such file or directory", f"{number}.png")
        return self.files[number]

    def name(self, number):
        return f"images/{number}.png"


def image(height, width, seed=0):
    """A colourful image with edges and a gradient, uint8 [3, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(1, 3, 5, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(blocks, (height, width), mode="bicubic")[0]
    sharp = torch.nn.functional.interpolate(torch.rand(1, 3, 7, 9, generator=generator), (height, width))[0]
    return ((0.6 * smooth + 0.4 * sharp).clamp(0, 1) * 255).round().to(torch.uint8)


def png(pixels):
    """The file that holds these pixels."""
    return torchvision.io.encode_png(pixels).numpy().tobytes()


def pages(sizes, labels=None):
    """Images of these heights and widths; by default each has its own number as its label."""
    files = [png(image(*size, seed=number)) for number, size in enumerate(sizes)]
    return Pages(files, range(len(files)) if labels is None else labels)
