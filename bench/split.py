"""Dividing a data set: the same images for good, each class giving its share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.cell import Recipe
from bench.errors import FieldError


class Split(NamedTuple):
    """The indices into the training set that are trained on, and those held out; int64, ascending, disjoint."""

    train: np.ndarray
    validation: np.ndarray


def split(labels: np.ndarray, recipe: Recipe, holdout: int) -> Split:
    """Divide a training set with these labels, [N], as `recipe.split` says (section 4.2's 50k, or 45k and 5k).

    The `holdout` validation images are drawn by `recipe.split_seed`, each class giving its share within one. The
    training seed plays no part, so all seeds of a study hold out the same images.

    Raises:
        FieldError: when the training set is too small to hold anything out.
    """
    everything = np.arange(len(labels))
    if recipe.split == "full":
        return Split(everything, everything[:0])
    if not 0 < holdout < len(labels):
        raise FieldError("split", recipe.split, f"full, for a training set of {len(labels)} images")
    validation = stratified(labels, holdout, recipe.split_seed)
    return Split(np.delete(everything, validation), validation)


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` indices into `labels` [N], each class having its share within one; int64 [count], ascending.

    Shares are apportioned by largest remainder (ties go to the lower label), so they add up exactly. The draw uses
    PCG64's raw stream, which NumPy keeps the same for good, as it does not `Generator.permutation`.
    """
    classes, members = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(members * count, max(1, len(labels)))
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    drawn = [order[labels[order] == number][:share] for number, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))
