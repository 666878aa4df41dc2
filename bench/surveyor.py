"""What a child process runs before cells do: what they will need, and only torch can tell."""

from __future__ import annotations

from typing import Any

import torch

from bench import album, dataset
from bench.album import Album
from bench.cell import Arch
from bench.cost import cost_of
from bench.dataset import Dataset
from bench.host import Toolkit
from bench.source import Source
from bench.task import Caller


def survey(job: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """What planning needs and only torch can tell; decodes data sets into the cache on the way.

    `job`: `sources` (for each to load: its text, and whether it is read while training, at any size) and `nets` (for
    each: a source's text, the views' pixels a side or 0, the fields of an Arch, and channels, pixels a side and classes
    where they are known). Returns `toolkit`, and `checksums` and `costs` in the order of the sources and the nets.
    """
    loaded = {}
    for text, streamed in job["sources"]:
        caller.send(f"preparing {text}")
        loaded[text, streamed] = _load(text, streamed)
    costs = []
    for text, crop_size, arch, shape in job["nets"]:
        channels, size, classes = shape or _seen(loaded[text, crop_size > 0], crop_size)
        cost = cost_of(Arch(**arch), channels=channels, size=size, classes=classes)
        costs.append((cost.parameters, cost.multiply_adds, cost.activation_bytes))
    toolkit = Toolkit(
        torch=str(torch.__version__),  # a plain string: unpickling its own type imports torch
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        cuda_available=torch.cuda.is_available(),
    )
    checksums = [images.sha256 for images in loaded.values()]
    return {"toolkit": toolkit, "checksums": checksums, "costs": costs}


def _load(text: str, streamed: bool) -> Dataset | Album:
    source = Source.parse(text)
    return album.load(source) if streamed else dataset.load(source)


def _seen(images: Dataset | Album, crop_size: int) -> tuple[int, int, int]:
    """Channels, pixels a side and classes, as a net sees them."""
    return (images.channels, crop_size, images.classes) if crop_size else images.shape
