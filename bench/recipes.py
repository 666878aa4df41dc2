"""Recipes with a name: those of the paper, and a variant that is widely used. A study takes one as its `base`.

A name is no identity: a cell is hashed by the recipe's fields, whoever wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.cell import Recipe
from bench.source import COUNTS

EPOCH = COUNTS["imagenet"][0] // 256  # 5,004 iterations, the incomplete batch dropped

_IMAGENET = {
    "batch": 256,
    "crop_padding": 0,
    "crop_size": 224,
    "scale": (256, 480),
    "colour": "own",
    "last_batch": "drop",
    "norm_batch": 32,
    "train_sample": 50_000,
    "eval_every": EPOCH,
}


@dataclass(frozen=True)
class Named:
    """A recipe, what it is in words, and where it comes from."""

    says: str
    source: str
    recipe: Recipe


RECIPES = {
    "cifar": Named(
        "64,000 iterations of 128 images, lr 0.1, divided by 10 at 32,000 and 48,000",
        "He et al. 2015, section 4.2",
        Recipe(),
    ),
    # The paper divides "when the error plateaus", and says neither of which error nor for how long. Here it
    # is the running training error, which costs nothing and leaves the test set alone: an epoch's is over 1.28 million
    # images (a standard error of 0.04 points), so a gain of 0.1 points is no noise; five epochs without are a plateau.
    "imagenet": Named(
        "600,000 iterations of 256 images (120 epochs), lr 0.1, divided by 10 at each plateau: 5 epochs in which the "
        "running error gains less than 0.1 points; BN over 32 images, as on 8 GPUs",
        "He et al. 2015, section 3.4",
        Recipe(**_IMAGENET, iterations=600_000, drops=(), plateau=5, plateau_on="running", plateau_gain=0.001),
    ),
    "imagenet-90": Named(
        "90 epochs of 256 images, lr 0.1, divided by 10 after 30 and 60; BN over 32 images, as on 8 GPUs",
        "common practice (torchvision's reference training); all but the schedule is the paper's",
        Recipe(**_IMAGENET, iterations=90 * EPOCH, drops=(30 * EPOCH, 60 * EPOCH)),
    ),
}
