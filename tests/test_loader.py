"""What loaders make, against cuts made by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, pages, photograph
from pagesof import image

from bench import cuts, loader, views
from bench.errors import DataError
from bench.loader import Batch, Images, Made

WINDOW, SINGLE = partial(cuts.window, crop=32), partial(cuts.single, crop=32)
ITEMS = [(3, 40, 0.2, 0.7), (0, 37, 0.0, 0.0), (5, 45, 0.9, 0.1)]


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    return an_album(tmp_path_factory.mktemp("album")).train


def same(first, second):
    return torch.equal(first.pixels, second.pixels) and all(
        getattr(first, name) == getattr(second, name) for name in ("shapes", "labels", "bad")
    )


def test_an_image_is_cut_as_its_item_asks(part):
    label, (view,), bad = Images(part, WINDOW)[7, 40, 0.25, 0.75]
    assert torch.equal(view, cuts.window(views.decode(part.read(7)), 40, 0.25, 0.75, crop=32)[0])
    assert (label, bad) == (1, [])


def test_a_batch_hands_over_labels_and_pieces():
    pieces = cuts.whole(image(20, 31), crop=16)
    batch = Batch.of([Made(3, pieces, []), Made(None, [], [(1, "why")]), Made(4, [], [(5, "so")])])
    assert batch.labels == [3, 4] and batch.bad == [(1, "why"), (5, "so")] and batch.pixels.dtype == torch.uint8
    (label, found), last = batch.images()
    assert (label, last) == (3, (4, []))
    assert all(torch.equal(a, b) for a, b in zip(found, pieces, strict=True))
    assert same(Batch.of([]), Batch(torch.empty(0, dtype=torch.uint8), [], [], []))


@pytest.mark.parametrize("loaders", [0, 2])
def test_batches_come_in_the_order_of_their_items(part, loaders):
    images, asked = Images(part, WINDOW), [ITEMS[:2], [], ITEMS[2:], ITEMS]
    found = list(loader.load(images, iter(asked), torch.device("cpu"), loaders))
    assert len(found) == 4
    for batch, items in zip(found, asked, strict=True):
        assert same(batch, Batch.of([images[item] for item in items]))


# ---- images that cannot be had ----


@pytest.fixture
def damaged(tmp_path):
    """Images 1, 2 and 5 of six cannot be decoded."""
    files = [jpeg(photograph(number)) for number in range(6)]
    files[1], files[2], files[5] = files[1][:300], b"", b"not an image"
    return pages(tmp_path / "damaged", files, range(6))


def test_the_next_that_can_be_decoded_takes_the_place_of_one_that_cannot(damaged):
    made = Images(damaged, SINGLE, instead=np.array([0, 1, 2, 4, 5]))
    label, pieces, bad = made[1,]
    assert label == 4 and [number for number, _ in bad] == [1, 2] and all(reason for _, reason in bad)
    assert torch.equal(pieces[0], SINGLE(views.decode(damaged.read(4)))[0])
    label, _, bad = made[5,]
    assert label == 0 and len(bad) == 1 and bad[0][1]


def test_where_none_can_be_decoded(damaged):
    with pytest.raises(DataError, match=r"damaged/00002\.JPEG: cannot be decoded, nor can any other image"):
        Images(damaged, SINGLE, instead=np.array([1, 2, 5]))[2,]


def test_without_others_nothing_takes_its_place(damaged):
    label, pieces, ((number, reason),) = Images(damaged, SINGLE)[2,]
    assert (label, pieces, number) == (None, [], 2) and reason
