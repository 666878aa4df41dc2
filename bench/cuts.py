"""What is cut out of an image, in training and in tests (section 3.4).

A cut takes an image, uint8 [3, H, W], and the crop's pixels a side, and makes pieces of it. A piece is some views of
one shape, uint8 [V, 3, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from bench import views

SIDES, CROP = (224, 256, 384, 480, 640), 224  # the paper's shorter sides, and the crop they go with


def sides(crop: int) -> tuple[int, ...]:
    """The shorter sides of a multi-scale test: 224, 256, 384, 480 and 640 for a crop of 224, else in proportion."""
    return tuple(round(crop * side / CROP) for side in SIDES)


def window(image: Tensor, side: int, down: float, right: float, *, crop: int) -> list[Tensor]:
    """Training's view: a window of the image whose shorter side is `side`, so far down and to the right."""
    return [views.cut(views.scaled(image, side), crop, down, right)[None]]


def single(image: Tensor, *, crop: int) -> list[Tensor]:
    """The centre, where the shorter side is 256/224 of the crop."""
    return [views.single(image, crop)[None]]


def ten(image: Tensor, *, crop: int) -> list[Tensor]:
    """Of that image the four corners, the centre, and the same of its mirror image."""
    return [torch.stack(transforms.ten_crop(views.scaled(image, views.test_side(crop)), [crop, crop]))]


def whole(image: Tensor, *, crop: int) -> list[Tensor]:
    """The image and its mirror image, with each of several shorter sides."""
    scaled = (views.scaled(image, side) for side in sides(crop))
    return [torch.stack([view, view.flip(2)]) for view in scaled]
