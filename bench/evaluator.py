"""What a child process runs for `resbench evaluate`: a net from a file, tested on an album's test part."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from bench import album, pixels, protocols, weights
from bench.album import Album
from bench.cell import Arch, Recipe
from bench.errors import InputError
from bench.loading import Loading
from bench.protocols import Normalise
from bench.source import Source

TOLD_EVERY = 5.0  # seconds
# of RGB from 0 to 1, over ImageNet, as torchvision's weights want it
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Caller(Protocol):
    """The parent process, as this one sees it."""

    def send(self, message: Any) -> None:
        """Tell the parent something."""


def run(job: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Test a net, sending what to tell in words; returns `classes`, `images` (of the test part), the data's `sha256`
    and `accuracies`, for each protocol the fields of an `Accuracy` and its `seconds`.

    `job`: `weights` (a path), `arch` (the fields of an Arch), `source` (with its place), `protocols` (names), `crop`
    (pixels a side), `normalise` ("torchvision", or "mean": less the mean a pixel of the training part), `split` and
    `split_seed` (what of it was trained on), `device` (a torch device), `threads`, `batch`, `loaders`, `bad_images`
    ("fail" or "skip"), `images` (how many, evenly spaced; None for all).

    Raises:
        DataError: for data that is not there, of other classes than the net's, or (unless skipped) a bad image.
        InputError: for weights that are not this net's.
    """
    torch.set_num_threads(job["threads"])
    torch.backends.cudnn.allow_tf32 = False  # which is torch's default
    net = weights.load(Path(job["weights"]), Arch(**job["arch"]))
    images = album.load(Source.parse(job["source"]))
    for says, ours, theirs in (
        ("classes", net.fc.out_features, images.classes),
        ("channels", net.conv1.in_channels, images.channels),
    ):
        if ours != theirs:
            raise InputError(f"{job['weights']}: a net of {ours:,} {says}, and {job['source']} has {theirs:,}")
    net.to(job["device"], memory_format=torch.channels_last)
    normalise, numbers = _normalise(job, images, caller), spaced(len(images.test), job["images"])
    loading = Loading(job["loaders"], job["bad_images"])
    accuracies = {}
    for protocol in job["protocols"]:
        began = time.perf_counter()
        found = protocols.test(
            net,
            images.test,
            numbers,
            protocol,
            crop=job["crop"],
            normalise=normalise,
            device=job["device"],
            batch=job["batch"],
            loaders=loading.loaders,
            told=_Progress(caller, protocol, len(numbers)),
            bad=lambda name, reason: _bad(loading, caller, name, reason),
        )
        accuracies[protocol] = asdict(found) | {"seconds": time.perf_counter() - began}
    return {
        "classes": images.classes,
        "images": len(images.test),
        "sha256": images.sha256,
        "accuracies": accuracies,
    }


def spaced(images: int, wanted: int | None) -> range | list[int]:
    """The numbers of `wanted` images of so many, evenly spaced: of a folder's classes one after another all have some.

    All of them, where no more are asked for or there are fewer.
    """
    if wanted is None or wanted >= images:
        return range(images)
    return [place * images // wanted for place in range(wanted)]


def _normalise(job: dict[str, Any], images: Album, caller: Caller) -> Normalise:
    if job["normalise"] == "torchvision":
        return protocols.standardised(MEAN, DEVIATION)
    crop = job["crop"]
    recipe = Recipe(
        crop_padding=0, crop_size=crop, scale=(crop, 2 * crop), split=job["split"], split_seed=job["split_seed"]
    )
    return protocols.centred(torch.from_numpy(pixels.statistics(images, recipe, caller.send).mean))


def _bad(loading: Loading, caller: Caller, name: str, reason: str) -> None:
    loading.check(name, reason)
    caller.send(f"left out: {name}: {reason}")


class _Progress:
    """Tells now and then how many images are done."""

    def __init__(self, caller: Caller, protocol: str, images: int) -> None:
        self._caller, self._says, self._next = caller, f"of {images:,} images, {protocol}", time.monotonic()

    def __call__(self, images: int) -> None:
        if time.monotonic() >= self._next:
            self._caller.send(f"{images:,} {self._says}")
            self._next = time.monotonic() + TOLD_EVERY
