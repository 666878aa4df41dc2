"""Training one cell, as the paper does (sections 3.4 and 4.2). No files, no printing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.album import Album
from bench.cell import WARM_UP_ERROR, WARM_UP_WINDOW, Cell
from bench.dataset import Dataset
from bench.evaluation import Evaluation
from bench.feed import feeds, images_of
from bench.learner import Learner
from bench.loading import AT_NEED, Loading
from bench.measure import Stopwatch, Wait, peak_memory
from bench.passes import Passes, at_once
from bench.plateau import Plateau
from bench.probe import Probe
from bench.replay import Replay, shared_pool
from bench.source import Source
from bench.tally import Tally
from bench.team import ALONE, Team

if TYPE_CHECKING:
    from bench.accuracy import Accuracy


def train(cell: Cell, images: Dataset | Album | None = None, device: str = "cpu") -> Iterator[Evaluation]:
    """Train `cell` from the start, yielding an evaluation every `eval_every` iterations and at the end.

    `images` may be left out for built-in data: digits, or CIFAR downloaded before. A recipe with `crop_size` takes an
    album, others a data set (`images_of`). Ends early where a loss is no longer finite: the last evaluation then says
    `diverged`. On a CPU the same cell gives the same bits, timings and memory aside, for one number of torch threads.

    Raises:
        DataError: when the images are not there.
        DeviceError: when the device cannot do what the recipe asks.
        FieldError: when data and recipe do not fit.
    """
    training = Training(cell, images or images_of(cell, Source.parse(cell.data)), device)
    while not training.ended:
        training.advance(training.next_evaluation)
        yield training.evaluate()


class Training:
    """A cell between two iterations; `state` and `restore` carry it from one process to another, bit for bit.

    A step is work on tensors that stay where they are, launched whole on a GPU (`bench.replay`), on a stream of its
    own; the host waits at evaluations, and for work before the last that it queued. `probing` gives a training a
    `probe`, which takes a reading of the layers at the first step and at each evaluation. `wait` is how it waits for
    an event of its stream, `loading` how images of any size are read.

    A `team` trains one net on the batches it would have alone: each of its processes passes a share of every batch, and
    of an evaluation's batches every so-manieth. What differs from one process is rounding. All must call the same
    methods in the same order; the probe is the first's.
    """

    def __init__(
        self,
        cell: Cell,
        images: Dataset | Album,
        device: str = "cpu",
        *,
        probing: bool = False,
        wait: Wait = torch.cuda.Event.synchronize,
        loading: Loading = AT_NEED,
        team: Team = ALONE,
    ) -> None:
        self.cell, self.device, self._team = cell, torch.device(device), team
        recipe = cell.recipe
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        with self.stream():
            self._learner = Learner(cell, images.channels, images.classes, self.device, team)
            data, self._batches = feeds(cell, images, self.device, self._learner.layout, loading, team)
            self._learner.prepare(lambda: self._batches.at(0))
            self._running, self._window = Tally(self.device), Tally(self.device)
            self._pool = shared_pool(self.device)
            self._passes = Passes(self._learner.working, data, at_once(recipe), self.device, self._pool, team)
        self.probe = Probe(self.module) if probing and team.rank == 0 else None
        self._steps: dict[tuple[int, bool], Replay[list[Tensor]]] = {}
        self._training, self._evaluating = Stopwatch(self.device, wait), Stopwatch(self.device, wait)
        self.iteration = 0
        self.diverged = False
        self._warming = recipe.warmup == "paper"
        self._plateau = Plateau()
        self._seconds_before = 0.0  # of training, at the previous evaluation
        self._evaluated = 0  # the iteration of the previous evaluation

    @property
    def loading(self) -> dict[str, Any] | None:
        """Of images of any size: the processes that read them, how long training waited for them, and how many could
        not be decoded; None of others."""
        if not self.streamed:
            return None
        feed = self._batches
        return {"loaders": feed.loading.loaders, "data_seconds": feed.seconds, "bad_images": len(feed.bad)}

    @property
    def streamed(self) -> bool:
        """Whether images are read while training, at any size."""
        return self.cell.recipe.crop_size > 0

    @property
    def bad_images(self) -> dict[str, str]:
        """The images that could not be decoded so far, by name, and why."""
        return self._batches.bad

    @property
    def net(self) -> nn.Module:
        """The net, in float32."""
        return self._learner.net

    @property
    def module(self) -> nn.Module:
        """What computes: `net`, or its copy in the recipe's precision, which shares its batch normalisation."""
        return self._learner.working.module

    def stream(self) -> AbstractContextManager[Any]:
        """Within, work on this training's tensors is queued in order with its own; on a CPU nothing changes."""
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do, the last evaluation included."""
        return self.diverged or self._evaluated == self.cell.recipe.iterations

    @property
    def next_evaluation(self) -> int:
        """The iteration at which an evaluation is due."""
        return min(self._evaluated + self.cell.recipe.eval_every, self.cell.recipe.iterations)

    def advance(self, stop: int) -> None:
        """Take, or queue, the steps until `stop` iterations are done. Where one stops does not change the result."""
        self.module.train()
        with self.stream(), self._training.running():
            while self.iteration < stop:
                self._advance_one()

    def _advance_one(self) -> None:
        self._learner.sgd.set_lr(self._lr(self.iteration))
        self._batches.seek(self.iteration)
        kind = self._batches.size(self.iteration), self._warming
        if kind not in self._steps:
            capturing = self._team.size == 1
            self._steps[kind] = Replay(partial(self._step, *kind), self.device, self._pool, capturing=capturing)
        gradients = self._steps[kind]()
        if self.probe and self.iteration in (0, self.next_evaluation - 1):
            self.probe.after_step(self.iteration, gradients)
        self.iteration += 1
        if self._warming and self.iteration % WARM_UP_WINDOW == 0:
            self._warming = self._window.error() >= WARM_UP_ERROR
            self._window.reset()

    def _step(self, size: int, warming: bool) -> list[Tensor]:
        """One step on the next `size` images; returns the gradients. Nothing here may wait for the device."""
        images, labels = self._batches.take(size)
        logits, loss, gradients = self._learner.step(images, labels, size)
        self._count(logits, labels, loss, warming)
        return gradients

    def _count(self, logits: Tensor, labels: Tensor, loss: Tensor, warming: bool) -> None:
        tallies = (self._running, self._window) if warming else (self._running,)
        if self._team.size == 1:
            for tally in tallies:
                tally.add(logits, labels, loss)
            return
        step = Tally(self.device)
        step.add(logits, labels, loss)
        step.sum_(self._team)  # at each step, so that a checkpoint's sums are those of no process in particular
        for tally in tallies:
            tally.join(step)

    def _lr(self, iteration: int) -> float:
        """The learning rate of the step from that iteration, as far as is known now."""
        return self.cell.recipe.learning_rate(iteration, warming=self._warming, plateaus=self._plateau.count)

    def evaluate(self) -> Evaluation:
        """Measure errors and losses now: one eval-mode pass over each part of the data."""
        with self.stream():
            return self._evaluate()

    def _evaluate(self) -> Evaluation:
        recipe = self.cell.recipe
        seconds = self._training.seconds - self._seconds_before  # waits for what is queued
        with self._evaluating.running():
            with self.probe.reading(self.iteration) if self.probe else nullcontext():
                train = self.measure("train")
            validation, test = self.measure("validation"), self.measure("test")
        evaluating = self._evaluating.seconds  # waits too, so that reading the tallies does not
        memory, images = peak_memory(self.device), self._running.images
        evaluation = Evaluation(
            iteration=self.iteration,
            epoch=self.iteration / self._batches.steps_per_epoch,
            lr=self._lr(self.iteration - 1),
            running_error=self._running.error(),
            running_loss=self._running.loss(),
            train_error=train.error(),
            train_loss=train.loss(),
            validation_error=validation.error() if validation.images else None,
            validation_loss=validation.loss() if validation.images else None,
            test_error=test.error(),
            test_loss=test.loss(),
            train_seconds=self._training.seconds,
            eval_seconds=evaluating,
            images_per_second=images / seconds,
            peak_allocated_bytes=memory.allocated,
            peak_reserved_bytes=memory.reserved,
            peak_rss_bytes=memory.resident,
        )
        self._running.reset()
        self._seconds_before, self._evaluated = self._training.seconds, self.iteration
        self.diverged = evaluation.diverged
        if recipe.plateau:
            self._plateau = self._plateau.after(getattr(evaluation, f"{recipe.plateau_on}_error"), recipe)
        return evaluation

    def measure(self, part: str, first: int | None = None) -> Tally:
        """An eval-mode pass over a part (train, validation or test), un-augmented: all of it, or its `first` images.

        Always of the net as it is now, also where its weights were changed by other hands.
        """
        with self.stream():
            return self._passes.over(part, first)

    def test(self, protocol: str, told: Callable[[int], None] | None = None) -> Accuracy:
        """Test on an album's test images (`bench.protocols.test`); `told` hears how many are done, and may raise.

        Images are decoded as in training. Each process of a team tests a share of them, of which this is the result.
        """
        from bench import protocols

        feed = self._batches
        with self.stream():
            self._learner.working.refresh()
            return protocols.test(
                self.module,
                feed.album.test,
                range(len(feed.album.test))[self._team.rank :: self._team.size],
                protocol,
                crop=self.cell.recipe.crop_size,
                normalise=feed.normalise,
                device=self.device,
                batch=self._passes.batch,
                loaders=feed.loading.loaders,
                decoding=self.cell.recipe.decoding,
                told=told,
                bad=feed.note_bad,
            )

    def state(self) -> dict[str, Any]:
        """Everything that decides how training goes on: tensors and plain values, loadable with weights_only.

        The tensors are those in use: save or copy them within `stream()`.
        """
        return {
            "net": self.net.state_dict(),
            "optimizer": self._learner.sgd.state(),
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
                "plateau": dict(vars(self._plateau)),
                "data_seconds": self._batches.seconds,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        with self.stream():
            self.net.load_state_dict(state["net"])
            self._learner.working.refresh()
            self._learner.sgd.restore(state["optimizer"])
            self._running.restore(state["running"])
            self._window.restore(state["window"])
            if self.probe and state.get("probe"):  # otherwise readings begin here
                self.probe.restore(state["probe"])
        counters = state["counters"]
        self.iteration, self._evaluated = counters["iteration"], counters["evaluated"]
        self._warming, self.diverged = counters["warming"], counters["diverged"]
        self._training.seconds, self._evaluating.seconds = counters["train_seconds"], counters["eval_seconds"]
        self._seconds_before = counters["seconds_before"]
        self._plateau = Plateau(**counters.get("plateau", {}))
        self._batches.seconds = counters.get("data_seconds", 0.0)
