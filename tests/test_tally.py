"""Sums against sums by hand."""

import pytest
import torch

from bench.tally import Tally


@pytest.fixture
def tally():
    """Of three images, two wrong."""
    tally = Tally()
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    tally.add(logits[:2], torch.tensor([0, 0]), torch.tensor(0.5))
    tally.add(logits[2:], torch.tensor([1]), torch.tensor(2.0))
    return tally


def test_it_counts_by_the_image(tally):
    assert tally.images == 3
    assert tally.error() == 2 / 3
    assert tally.loss() == pytest.approx((2 * 0.5 + 2.0) / 3)


def test_a_copy_stays_and_a_reset_begins_again_in_place(tally):
    places = [tensor.data_ptr() for tensor in tally.state().values()]
    copy = tally.copy()
    tally.reset()
    assert tally.images == 0 and copy.images == 3 and copy.error() == 2 / 3
    tally.restore(copy.state())
    assert tally.error() == 2 / 3 and tally.loss() == copy.loss()
    assert [tensor.data_ptr() for tensor in tally.state().values()] == places
