"""Each kind of work that benchmarks time, made ready to be called. What `bench.instrument` asks of a checkout.

The instrument may be of another commit than this module: the names and fields of `Work` and `prepare` stay.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from bench import decode, host
from bench.album import Album
from bench.arithmetic import memory_format, set_precision
from bench.batches import Batches, DeviceData
from bench.benchmark import DEPENDS, Benchmark, from_flat
from bench.cell import MOST_ITERATIONS, Cell
from bench.cost import cost_of
from bench.dataset import Dataset
from bench.errors import FieldError
from bench.feed import images_of
from bench.floors import measure_ceilings, step_needs
from bench.loading import Loading
from bench.nets import build
from bench.replay import Replay, shared_pool
from bench.source import Source
from bench.train import Training
from bench.working import Working

EVALUATED = 1000  # images a call of the evaluation
DECODED = 64  # JPEGs a call


@dataclass(frozen=True)
class Work:
    """Something to call again and again, the same each time.

    `call` does it once, or on a GPU queues it in the stream of `stream`; `several` so many times, where there is a way
    to that is not one after the other. `images` are those of a call. Of a net: `parameters`, `multiply_adds` (an image,
    forward), and of a training step what it moves and computes at least, `call_bytes` and `call_multiply_adds`
    (`bench.floors`).
    """

    call: Callable[[], Any]
    images: int
    stream: Callable[[], AbstractContextManager[Any]] = nullcontext
    several: Callable[[int], Any] | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    call_bytes: int | None = None
    call_multiply_adds: int | None = None

    def repeat(self, calls: int) -> None:
        """Call so many times, within the stream."""
        with self.stream():
            if self.several:
                self.several(calls)
            else:
                for _ in range(calls):
                    self.call()


def prepare(fields: dict[str, Any], source: str, device: str = "cpu") -> Work:
    """The work of the benchmark with these fields (`Benchmark.portable`), on the images of `source` (with its place).

    Raises:
        ResbenchError: for fields that this version does not know, images that are not there, what the device lacks.
    """
    benchmark = from_flat(fields)
    recipe = replace(benchmark.cell.recipe, iterations=MOST_ITERATIONS, eval_every=MOST_ITERATIONS, drops=())
    if "batch" in DEPENDS[benchmark.work]:  # each as large as the others
        recipe = replace(recipe, last_batch="drop")
    endless = replace(benchmark.cell, recipe=recipe)
    images = images_of(endless, Source.parse(source))
    return PREPARE[benchmark.work](replace(benchmark, cell=endless), images, torch.device(device))


def ceilings(device: str) -> dict[str, Any]:
    """The device's two ceilings (`bench.floors.Ceilings`), as plain values: `bandwidth` and `rates`."""
    found = measure_ceilings(device)
    return {"bandwidth": found.bandwidth, "rates": dict(found.rates)}


def _train(benchmark: Benchmark, images: Dataset, device: torch.device) -> Work:
    cell = benchmark.cell
    training = Training(cell, images, str(device))
    needs = step_needs(cell.arch, cell.recipe.batch, cell.recipe.precision, *images.shape)
    return Work(
        call=lambda: training.advance(training.iteration + 1),
        several=lambda calls: training.advance(training.iteration + calls),  # a wait for the device is one a window
        images=cell.recipe.batch,
        stream=training.stream,
        call_bytes=needs.bytes,
        call_multiply_adds=needs.multiply_adds,
        **_cost(cell, images),
    )


def _inference(benchmark: Benchmark, images: Dataset, device: torch.device) -> Work:
    cell = benchmark.cell
    recipe, stream = cell.recipe, _stream(device)
    set_precision(recipe, device)
    with stream():
        net = build(cell.arch, channels=images.channels, classes=images.classes, seed=cell.seed)
        layout = memory_format(recipe, net, device)
        working = Working(net.to(device, memory_format=layout), recipe.precision)
        working.module.eval()
        chosen = torch.arange(recipe.batch) % len(images.train_labels)
        pixels = torch.tensor(images.train_images[chosen.numpy()]).to(device, memory_format=layout)
        batch = pixels / 255
    forward = Replay(partial(working, batch), device, shared_pool(device))

    def call() -> None:
        with torch.inference_mode():
            forward()

    return Work(call, recipe.batch, stream, **_cost(cell, images))


def _evaluation(benchmark: Benchmark, images: Dataset, device: torch.device) -> Work:
    training = Training(benchmark.cell, images, str(device))
    count = min(EVALUATED, len(images.train_labels))
    return Work(lambda: training.measure("train", count), count, training.stream, **_cost(benchmark.cell, images))


def _augmentation(benchmark: Benchmark, images: Dataset, device: torch.device) -> Work:
    recipe, stream = benchmark.cell.recipe, _stream(device)
    layout = torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format
    with stream():
        batches = Batches(DeviceData(images, recipe, device, layout), recipe, benchmark.cell.seed)
    iteration = iter(range(MOST_ITERATIONS))
    take = Replay(partial(batches.take, recipe.batch), device, shared_pool(device))

    def call() -> None:
        batches.seek(next(iteration))
        take()

    return Work(call, recipe.batch, stream)


def _decoding(_: Benchmark, images: Dataset, __: torch.device) -> Work:
    files = [_jpeg(images.train_images[number % len(images.train_images)]) for number in range(DECODED)]

    def call() -> None:
        for file in files:
            decode.read_image("", io.BytesIO(file))

    return Work(call, DECODED)


def _loading(benchmark: Benchmark, images: Album, device: torch.device) -> Work:
    from bench.stream import Stream  # with torchvision, which takes 2 s to import

    recipe, stream = benchmark.cell.recipe, _stream(device)
    if not recipe.crop_size:
        raise FieldError("crop_size", 0, "a view's pixels a side, above 0, where the work is loading")
    loading = Loading(host.cores() if device.type == "cuda" else 0)
    with stream():
        feed = Stream(images, recipe, benchmark.cell.seed, device, loading=loading)
    iteration = iter(range(MOST_ITERATIONS))
    return Work(lambda: feed.seek(next(iteration)), recipe.batch, stream)


PREPARE: dict[str, Callable[[Benchmark, Any, torch.device], Work]] = {
    "train": _train,
    "inference": _inference,
    "evaluation": _evaluation,
    "augmentation": _augmentation,
    "decoding": _decoding,
    "loading": _loading,
}


def _cost(cell: Cell, images: Dataset) -> dict[str, int]:
    channels, size, classes = images.shape
    cost = cost_of(cell.arch, channels=channels, size=size, classes=classes)
    return {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}


def _stream(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """A stream of its own, for the default one cannot be captured; on a CPU nothing."""
    if device.type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device)
    return lambda: torch.cuda.stream(stream)


def _jpeg(pixels: Any) -> bytes:
    """A JPEG of an image uint8 [C, H, W]."""
    file = io.BytesIO()
    image = Image.fromarray(pixels[0]) if len(pixels) == 1 else Image.fromarray(pixels.transpose(1, 2, 0))
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
