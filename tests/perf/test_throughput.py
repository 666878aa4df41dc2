"""How fast training steps and evaluations are, on the GPU if there is one. Run by `make bench`; never a check."""

import pytest
import torch

from bench import dataset
from bench.cell import Arch, Cell, Recipe
from bench.source import Source
from bench.train import Training

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _training(depth, shortcut, precision="fp32"):
    recipe = Recipe(iterations=10_000_000, eval_every=10_000_000, precision=precision)
    training = Training(
        Cell(Arch(depth=depth, shortcut=shortcut), recipe, "digits"), dataset.load(Source("digits")), DEVICE
    )
    training.advance(3)
    return training


@pytest.mark.parametrize("precision", ["fp32", "bf16"] if DEVICE == "cuda" else ["fp32"])
@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
@pytest.mark.parametrize("depth", [20, 56])
def test_training_steps(benchmark, depth, shortcut, precision):
    """Ten steps of batch 128, timed with the device idle before and after."""
    training = _training(depth, shortcut, precision)
    benchmark.extra_info["images"] = 10 * 128
    benchmark.pedantic(lambda: training.advance(training.iteration + 10), rounds=5, warmup_rounds=1)


def test_an_evaluation(benchmark):
    """A whole pass over every part of digits, 1,797 images."""
    training = _training(20, "A")
    benchmark.extra_info["images"] = 1797

    def evaluate():
        training.advance(training.iteration + 1)
        training.evaluate()

    benchmark.pedantic(evaluate, rounds=5, warmup_rounds=1)
