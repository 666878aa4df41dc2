"""What a net is fed with: images that lie on its device, or a stream of views of an album's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench import album, dataset
from bench.album import Album
from bench.batches import Batches, DeviceData
from bench.cell import Cell
from bench.dataset import Dataset
from bench.loading import Loading
from bench.source import Source
from bench.team import Team

if TYPE_CHECKING:
    from bench.stream import Stream


def images_of(cell: Cell, source: Source, expected: str | None = None) -> Dataset | Album:
    """The images that a cell trains on: as files where its recipe has `crop_size`, else as arrays.

    `expected` is the checksum of files that were listed before and need not be listed again.

    Raises:
        DataError: when they are not there.
    """
    return album.load(source, expected=expected) if cell.recipe.crop_size else dataset.load(source)


def feeds(
    cell: Cell,
    images: Dataset | Album,
    device: torch.device,
    layout: torch.memory_format,
    loading: Loading,
    team: Team,
) -> tuple[DeviceData | Stream, Batches | Stream]:
    """Where evaluations' batches come from, and where training's do.

    Raises:
        DataError: where no image can be decoded.
        FieldError: when data and recipe do not fit.
    """
    recipe, seed = cell.recipe, cell.seed
    if not isinstance(images, Album):
        data = DeviceData(images, recipe, device, layout, team)
        return data, Batches(data, recipe, seed, team)
    from bench.stream import Stream  # with torchvision, which takes 2 s to import

    with team.led():
        stream = Stream(images, recipe, seed, device, layout, loading, team)
    return stream, stream
