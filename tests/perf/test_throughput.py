"""How fast the benchmarks of a study are, and what no study has. Run by `make bench`; never a check.

BENCH_STUDY names the study; unset it is throughput on a GPU, else throughput-short. A file of `--benchmark-json` can be
imported into a history (`bench.foreign`), where the study's benchmarks have the ids they always have.
"""

import math
import os

import pytest
import torch

from bench import dataset, gang, passes, study, works
from bench.benchmark import Benchmark
from bench.cell import Arch, Cell, Recipe
from bench.dataset import Dataset
from bench.errors import ResbenchError
from bench.instrument import Clock, warm_up
from bench.replay import Replay
from bench.source import Source
from bench.train import Training

GPU = torch.cuda.is_available()
DEVICE = "cuda:0" if GPU else "cpu"
BATCH = 128
STEPS = 100 if GPU else 10
ROUND_SECONDS = 0.15  # by the warm-up, which others may have slowed: at least 0.1 when timed
STUDY = study.load(study.find(os.environ.get("BENCH_STUDY", "throughput" if GPU else "throughput-short")))


@pytest.mark.parametrize("own", STUDY.benchmarks, ids=lambda own: own.label)
@pytest.mark.usefixtures("one_thread", "torch_settings")
def test_the_study(benchmark, own: Benchmark):
    """Rounds of as many calls as take 0.1 s at least, by the wall clock, the device idle before and after."""
    torch.set_flush_denormal(True)  # as where cells are trained
    data = own.cell.data
    try:
        work = works.prepare(own.flat(), str(STUDY.sources.get(data, data)), DEVICE)
        clock = Clock(work, DEVICE)
        _, _, seconds = warm_up(lambda calls: clock.seconds(calls)["seconds"])
    except ResbenchError as error:
        pytest.skip(str(error))
    calls = math.ceil(ROUND_SECONDS / seconds)

    def several() -> None:
        work.repeat(calls)
        if GPU:
            torch.cuda.synchronize()

    benchmark.extra_info |= {"benchmark": own.flat(), "images": work.images, "calls": calls}
    benchmark.extra_info |= {"device": DEVICE, "threads": torch.get_num_threads()}
    benchmark.pedantic(several, rounds=12, warmup_rounds=1)


@pytest.fixture(scope="module")
def images() -> Dataset:
    """On a GPU noise of CIFAR's shape, of which a step takes as long; on a CPU digits."""
    return dataset.load(Source("noise32" if GPU else "digits"))


def a_training(images: Dataset, depth: int = 20, shortcut: str = "A", seed: int = 0, **fields) -> Training:
    """Some steps in: nothing is left to choose, compile or capture."""
    recipe = Recipe(iterations=10_000_000, eval_every=10_000_000, batch=BATCH, **fields)
    training = Training(Cell(Arch(depth=depth, shortcut=shortcut), recipe, "digits", seed), images, DEVICE)
    training.advance(6)
    return training


def time_steps(benchmark, training: Training) -> None:
    """Steps timed with the device idle before and after."""

    def steps() -> None:
        training.advance(training.iteration + STEPS)
        if GPU:
            torch.cuda.synchronize()

    benchmark.extra_info["images"] = STEPS * BATCH
    benchmark.pedantic(steps, rounds=5, warmup_rounds=1)


PRECISIONS = ["fp32", "tf32", "bf16"] if GPU else ["fp32", "bf16"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_compiled_steps(benchmark, images, precision):
    time_steps(benchmark, a_training(images, precision=precision, compiled=True))


@pytest.mark.skipif(not GPU, reason="graphs and gangs are a GPU's")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_without_a_graph(benchmark, images, precision, monkeypatch):
    monkeypatch.setattr(Replay, "_capture", lambda _: None)
    time_steps(benchmark, a_training(images, precision=precision))


@pytest.mark.skipif(not GPU, reason="graphs and gangs are a GPU's")
@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("depth", [20, 110])
def test_gangs(benchmark, images, depth, size):
    trainings = [a_training(images, depth, seed=seed, precision="bf16") for seed in range(size)]
    benchmark.extra_info["images"] = size * gang.ROUNDS * gang.STEPS * BATCH
    benchmark.pedantic(lambda: gang.advance_together(trainings), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("size", [500, 1_000, 2_000, 5_000] if GPU else [500])
def test_an_evaluation(benchmark, images, size, monkeypatch):
    """A whole pass over every part, by the batch."""
    monkeypatch.setattr(passes, "EVALUATION_BATCH", size)
    training = a_training(images)
    benchmark.extra_info["images"] = len(images.train_labels) + len(images.test_labels)

    def evaluate() -> None:
        training.advance(training.iteration + 1)
        training.evaluate()

    benchmark.pedantic(evaluate, rounds=5, warmup_rounds=2)
