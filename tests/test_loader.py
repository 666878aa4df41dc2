"""What loader processes make, against views made by hand."""

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, pages, photograph

from bench import views
from bench.errors import DataError
from bench.loader import Views, collate


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    return an_album(tmp_path_factory.mktemp("album")).train


def test_a_view_is_the_window_that_was_asked_for(part):
    made = Views(part, np.arange(20), 32)
    view, label, bad = made[7, 40, 0.25, 0.75]
    image = views.scaled(views.decode(part.read(7)), 40)
    top, left = int(0.25 * (image.shape[1] - 31)), int(0.75 * (image.shape[2] - 31))
    assert (view == image[:, top : top + 32, left : left + 32]).all()
    assert (label, bad) == (1, [])


def test_a_side_of_none_is_the_view_of_tests(part):
    view, _, _ = Views(part, np.arange(20), 32)[3, 0, 0.9, 0.9]
    assert (view == views.single(views.decode(part.read(3)), 32)).all()


def test_a_batch(part):
    made = Views(part, np.arange(20), 32)
    images, labels, bad = collate([made[number, 0, 0.0, 0.0] for number in (4, 5, 6)])
    assert images.shape == (3, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.tolist() == [0, 1, 0] and bad == []


@pytest.fixture
def damaged(tmp_path):
    """Images 1, 2 and 5 of six cannot be decoded."""
    files = [jpeg(photograph(number)) for number in range(6)]
    files[1], files[2], files[5] = files[1][:300], b"", b"not an image"
    return pages(tmp_path / "damaged", files, range(6))


def test_the_next_that_can_be_decoded_takes_the_place_of_one_that_cannot(damaged):
    made = Views(damaged, np.array([0, 1, 2, 4, 5]), 32)
    _, label, bad = made[1, 0, 0.0, 0.0]
    assert label == 4 and [number for number, _ in bad] == [1, 2]
    _, label, bad = made[5, 0, 0.0, 0.0]
    assert label == 0 and len(bad) == 1 and bad[0][1]


def test_where_none_can_be_decoded(damaged):
    with pytest.raises(DataError, match=r"damaged/0000\d\.JPEG: cannot be decoded, nor can any other image"):
        Views(damaged, np.array([1, 2, 5]), 32)[2, 0, 0.0, 0.0]
