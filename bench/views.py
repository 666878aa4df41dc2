"""Views of a photograph: decoded, scaled so that its shorter side has a length, cut (section 3.4).

Images are uint8 [3, H, W] on the CPU.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from bench.decode import image_of
from bench.errors import in_a_line

JPEG = b"\xff\xd8"  # how it begins
SMALL = 1 << 18  # bytes of a JPEG that cannot have more than a quarter of a gigabyte
TEST_SIDE = 256 / 224  # the shorter side in tests on one size, in crops


def decode(data: bytes) -> Tensor:
    """An encoded image in RGB: grey is three times itself, transparency is dropped, of several frames it is the first.

    JPEGs are torchvision's to decode, and all others PIL's: torchvision's PNGs, where damaged, end the process.

    Raises:
        RuntimeError: where it is none, cut short, or too large (`check`).
    """
    if data[:2] != JPEG:
        try:
            return torch.from_numpy(image_of(io.BytesIO(data)).copy()).expand(3, -1, -1)
        except ValueError as error:
            raise RuntimeError(str(error)) from None
    check(data)
    # a copy: torch warns of memory that it may not write
    return decode_image(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), ImageReadMode.RGB)


def check(data: bytes) -> None:
    """Refuse a JPEG that asks for gigabytes, by what its header says. It has a thousand times its bytes at
    most, so few need a look, which would take 2 % of the time of decoding.

    Raises:
        RuntimeError: where it has more pixels than PIL takes.
    """
    if data[:2] != JPEG or len(data) <= SMALL:
        return
    try:
        with Image.open(io.BytesIO(data)):
            pass
    except Image.DecompressionBombError as error:
        raise RuntimeError(in_a_line(error)) from None
    except Exception:  # it is none, as who decodes it will tell
        return


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
