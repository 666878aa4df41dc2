"""Choosing points of a curve."""

import dataclasses
import math

from synthetic import a_cell, a_curve

from bench.evaluation import MEASURED, Evaluation, best


def test_best_is_the_first_of_the_lowest_and_none_where_there_is_nothing():
    curve = a_curve(a_cell())
    errors = [0.3, 0.1, 0.1, 0.2]
    curve = [dataclasses.replace(p, validation_error=e) for p, e in zip(curve, errors, strict=True)]
    assert best(curve, "validation_error") is curve[1]
    assert best([dataclasses.replace(p, validation_error=None) for p in curve], "validation_error") is None
    assert best([], "test_error") is None


def test_any_loss_that_is_not_finite_is_divergence():
    point = a_curve(a_cell())[0]
    assert not point.diverged
    for name in ("running_loss", "train_loss"):
        for value in (math.nan, math.inf):
            assert dataclasses.replace(point, **{name: value}).diverged


def test_measured_fields_are_fields():
    assert set(MEASURED) < {f.name for f in dataclasses.fields(Evaluation)}
