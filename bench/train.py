"""Training one cell, as the paper does (sections 3.4 and 4.2). No files, no printing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import dataset
from bench.batches import Batches, DeviceData
from bench.cell import WARM_UP_ERROR, WARM_UP_WINDOW, Cell, Recipe
from bench.dataset import Dataset
from bench.errors import DeviceError
from bench.evaluation import Evaluation
from bench.measure import Stopwatch, peak_memory
from bench.nets import build
from bench.probe import Probe
from bench.source import Source

EVALUATION_BATCH = 500  # images: of 50 to 1,200 the fastest for ResNet-56 on digits, on a 2-core AMD EPYC


def train(cell: Cell, images: Dataset | None = None, device: str = "cpu") -> Iterator[Evaluation]:
    """Train `cell` from the start, yielding an evaluation every `eval_every` iterations and at the end.

    `images` may be left out for built-in data: digits, or CIFAR downloaded before. Ends early where a loss is no longer
    finite: the last evaluation then says `diverged`. On a CPU the same cell gives the same bits, timings and memory
    aside, for one number of torch threads.

    Raises:
        DataError: when the images are not there.
        DeviceError: when the device cannot do what the recipe asks.
        FieldError: when data and recipe do not fit.
    """
    training = Training(cell, images or dataset.load(Source.parse(cell.data)), device)
    while not training.ended:
        training.advance(training.next_evaluation)
        yield training.evaluate()


class Training:
    """A cell between two iterations; `state` and `restore` carry it from one process to another, bit for bit.

    `probing` gives it a `probe`, which takes a reading of the layers at the first step and at each evaluation.
    """

    def __init__(self, cell: Cell, images: Dataset, device: str = "cpu", *, probing: bool = False) -> None:
        self.cell, self.device = cell, torch.device(device)
        recipe = cell.recipe
        self._context = _precision(recipe, self.device)
        net = build(
            cell.arch, channels=images.channels, classes=images.classes, seed=cell.seed, init_fan=recipe.init_fan
        )
        layout = _memory_format(net, self.device)
        self.net = net.to(self.device, memory_format=layout)
        self.probe = Probe(self.net) if probing else None
        self._data = DeviceData(images, recipe, self.device, layout)
        self._batches = Batches(self._data, recipe, cell.seed)
        groups = parameter_groups(self.net, recipe)
        self._optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)
        self.iteration = 0
        self.diverged = False
        self._warming = recipe.warmup == "paper"
        self._running = Tally(self.device)
        self._window = Tally(self.device)
        self._training, self._evaluating = Stopwatch(self.device), Stopwatch(self.device)
        self._seconds_before = 0.0  # of training, at the previous evaluation
        self._evaluated = 0  # the iteration of the previous evaluation

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do, the last evaluation included."""
        return self.diverged or self._evaluated == self.cell.recipe.iterations

    @property
    def next_evaluation(self) -> int:
        """The iteration at which an evaluation is due."""
        return min(self._evaluated + self.cell.recipe.eval_every, self.cell.recipe.iterations)

    def advance(self, stop: int) -> None:
        """Take steps until `stop` iterations are done. Where one stops does not change the result."""
        self.net.train()
        with self._training.running():
            while self.iteration < stop:
                self._step()

    def _step(self) -> None:
        lr = self.cell.recipe.learning_rate(self.iteration, warming=self._warming)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        images, labels = self._batches.at(self.iteration)
        self._optimizer.zero_grad(set_to_none=True)
        with self._context:
            logits = self.net(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        if self.probe and self.iteration in (0, self.next_evaluation - 1):
            self.probe.after_backward(self.iteration)
        self._optimizer.step()
        self.iteration += 1
        self._running.add(logits.detach(), labels, loss.detach())
        if self._warming:
            self._window.add(logits.detach(), labels, loss.detach())
            if self.iteration % WARM_UP_WINDOW == 0:
                self._warming = self._window.error() >= WARM_UP_ERROR
                self._window = Tally(self.device)

    def evaluate(self) -> Evaluation:
        """Measure errors and losses now: one eval-mode pass over each part of the data."""
        recipe = self.cell.recipe
        with self._evaluating.running():
            with self.probe.reading(self.iteration) if self.probe else nullcontext():
                train = self.measure("train")
            validation, test = self.measure("validation"), self.measure("test")
        memory = peak_memory(self.device)
        images = self._running.images
        seconds = self._training.seconds - self._seconds_before
        evaluation = Evaluation(
            iteration=self.iteration,
            epoch=self.iteration / self._batches.steps_per_epoch,
            lr=recipe.learning_rate(self.iteration - 1, warming=self._warming),
            running_error=self._running.error(),
            running_loss=self._running.loss(),
            train_error=train.error(),
            train_loss=train.loss(),
            validation_error=validation.error() if validation.images else None,
            validation_loss=validation.loss() if validation.images else None,
            test_error=test.error(),
            test_loss=test.loss(),
            train_seconds=self._training.seconds,
            eval_seconds=self._evaluating.seconds,
            images_per_second=images / seconds,
            peak_allocated_bytes=memory.allocated,
            peak_reserved_bytes=memory.reserved,
            peak_rss_bytes=memory.resident,
        )
        self._running = Tally(self.device)
        self._seconds_before, self._evaluated = self._training.seconds, self.iteration
        self.diverged = evaluation.diverged
        return evaluation

    def measure(self, part: str, first: int | None = None) -> Tally:
        """An eval-mode pass over a part (train, validation or test), un-augmented: all of it, or its `first` images."""
        tally = Tally(self.device)
        self.net.eval()
        with torch.inference_mode(), self._context:
            for images, labels in self._data.evaluation_batches(part, EVALUATION_BATCH, first):
                logits = self.net(images).float()
                tally.add(logits, labels, F.cross_entropy(logits, labels))
        return tally

    def state(self) -> dict[str, Any]:
        """Everything that decides how training goes on: tensors and plain values, loadable with weights_only."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "running": self._running.state(),
            "window": self._window.state(),
            "probe": self.probe and self.probe.state(),
            "counters": {
                "iteration": self.iteration,
                "evaluated": self._evaluated,
                "warming": self._warming,
                "diverged": self.diverged,
                "train_seconds": self._training.seconds,
                "eval_seconds": self._evaluating.seconds,
                "seconds_before": self._seconds_before,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.net.load_state_dict(state["net"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._running, self._window = (Tally(self.device, state[name]) for name in ("running", "window"))
        if self.probe and state.get("probe"):  # otherwise readings begin here
            self.probe.restore(state["probe"])
        counters = state["counters"]
        self.iteration, self._evaluated = counters["iteration"], counters["evaluated"]
        self._warming, self.diverged = counters["warming"], counters["diverged"]
        self._training.seconds, self._evaluating.seconds = counters["train_seconds"], counters["eval_seconds"]
        self._seconds_before = counters["seconds_before"]


class Tally:
    """Wrong answers and loss, summed on the device; reading them waits for it, adding does not."""

    def __init__(self, device: torch.device, state: dict[str, Any] | None = None) -> None:
        self.images = state["images"] if state else 0
        self._wrong = state["wrong"].to(device) if state else torch.zeros((), dtype=torch.int64, device=device)
        self._loss = state["loss"].to(device) if state else torch.zeros((), dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor, mean_loss: Tensor) -> None:
        """Count a batch: logits [B, classes], labels int64 [B], its mean loss."""
        self.images += len(labels)
        self._wrong += (logits.argmax(1) != labels).sum()
        self._loss += mean_loss.double() * len(labels)

    def error(self) -> float:
        """The fraction of images classified wrongly."""
        return self._wrong.item() / self.images

    def loss(self) -> float:
        """The mean loss an image, in nats."""
        return self._loss.item() / self.images

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"images": self.images, "wrong": self._wrong, "loss": self._loss}


def parameter_groups(net: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The optimiser's parameter groups: everything decays, or (`decay_on = "weights"`) only tensors of rank over 1.

    Those are the convolutions and the final layer's weights; batch normalisation and biases are vectors.
    """
    if recipe.decay_on == "all":
        return [{"params": list(net.parameters()), "weight_decay": recipe.weight_decay}]
    weights = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _memory_format(net: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last, the faster, but where it is broken.

    On a CPU the backward pass of a strided 1x1 convolution of fewer than 8 channels writes outside its memory in
    channels_last (seen with torch 2.15 on x86-64, under a checking allocator, for 1 to 7 channels and for no more).
    """
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    broken = any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 8 for c in convolutions)
    return torch.contiguous_format if broken and device.type == "cpu" else torch.channels_last


def _precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Set float32 arithmetic as the recipe says, and return the context that the forward pass runs in.

    Raises:
        DeviceError: for tf32 away from a GPU.
    """
    tf32 = recipe.precision == "tf32"
    if tf32 and device.type != "cuda":
        raise DeviceError(f'precision = "tf32" needs a CUDA device, and this cell runs on {device.type}')
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16")
