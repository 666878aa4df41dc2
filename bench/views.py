"""Views of a photograph: decoded, scaled so that its shorter side has a length, cut (section 3.4).

Images are uint8 [3, H, W] on the CPU, from torchvision's decoders, which on damaged bytes raise RuntimeError.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from bench.errors import in_a_line

MOST_PIXELS = Image.MAX_IMAGE_PIXELS  # of a file: a quarter of a gigabyte
SMALL = MOST_PIXELS * 3 // 1024  # bytes of a JPEG that cannot have more
TEST_SIDE = 256 / 224  # the shorter side in tests on one size, in crops


def decode(data: bytes) -> Tensor:
    """An encoded image (JPEG, PNG, WebP or GIF's first) in RGB: grey is three times itself, transparency is dropped.

    Raises:
        RuntimeError: where it is none, cut short, or too large (`check`).
    """
    check(data)
    # a copy: torch warns of memory that it may not write
    image = decode_image(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), ImageReadMode.RGB)
    return image[0] if image.ndim == 4 else image


def check(data: bytes) -> None:
    """Refuse a small file that asks for gigabytes, by what its header says. A JPEG has at most a thousand times its
    bytes, so most need no look, which would take 2 % of the time of decoding.

    Raises:
        RuntimeError: where it has more than `MOST_PIXELS`, over all frames.
    """
    if data[:2] == b"\xff\xd8" and len(data) <= SMALL:
        return
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            pixels = width * height * getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise RuntimeError(in_a_line(error)) from None
    except Exception:  # it is none, as who decodes it will tell
        return
    if pixels > MOST_PIXELS:
        raise RuntimeError(f"{width} x {height} pixels a frame, {pixels:,} in all; allowed: {MOST_PIXELS:,}")


def test_side(crop: int) -> int:
    """The shorter side on which a test of one size cuts its crops: 256 pixels for 224."""
    return round(crop * TEST_SIDE)


def scaled(image: Tensor, side: int) -> Tensor:
    """The image with its shorter side `side` pixels long, bilinear, antialiased."""
    return image if min(image.shape[1:]) == side else F.resize(image, [side], antialias=True)


def cut(image: Tensor, crop: int, down: float, right: float) -> Tensor:
    """The window of `crop` pixels a side that lies so far down and to the right: fractions in [0, 1) of the places."""
    height, width = image.shape[1:]
    top, left = int(down * (height - crop + 1)), int(right * (width - crop + 1))
    return image[:, top : top + crop, left : left + crop]


def centre(image: Tensor, crop: int) -> Tensor:
    """The window of `crop` pixels a side in the middle."""
    return F.center_crop(image, [crop, crop])


def single(image: Tensor, crop: int) -> Tensor:
    """The one view of a plain test: the centre, where the shorter side is 256/224 of the crop."""
    return centre(scaled(image, test_side(crop)), crop)
