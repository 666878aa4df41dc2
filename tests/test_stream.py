"""Streams: every image once an epoch, by exact counts; batches against a reference an image at a time."""

import dataclasses

import numpy as np
import pytest
import torch
from albums import an_album, jpeg, photograph

from bench import pixels, views
from bench.cell import Recipe
from bench.errors import DataError, FieldError
from bench.loading import Loading
from bench.split import split
from bench.stream import Draws, Stream

RECIPE = Recipe(
    iterations=40, drops=(), eval_every=10, batch=6, crop_size=32, scale=(36, 48), crop_padding=0, colour="own"
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    return an_album(tmp_path_factory.mktemp("album"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))


def changed(**fields):
    return dataclasses.replace(RECIPE, **fields)


# ---- chance ----


def test_an_epoch_is_drawn_from_the_seed_and_its_number_alone():
    first, again = Draws.draw(50, (36, 48), 3, 1), Draws.draw(50, (36, 48), 3, 1)
    assert all((a == b).all() for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    for other in (Draws.draw(50, (36, 48), 3, 2), Draws.draw(50, (36, 48), 4, 1)):
        assert (first.order != other.order).any() and (first.colour != other.colour).any()


def test_draws_are_even_and_reach_both_ends():
    drawn = Draws.draw(26_000, (36, 48), 0, 0)
    assert drawn.order.sort().values.tolist() == list(range(26_000))
    counts = torch.bincount(drawn.side)[36:]
    assert len(counts) == 13 and ((counts - 2000).abs() < 5 * 2000**0.5).all()
    for even in (drawn.down, drawn.right):
        assert even.min() >= 0 and even.max() < 1 and abs(even.mean() - 0.5) < 5 / (12 * 26_000) ** 0.5
    assert abs(drawn.flip.double().mean() - 0.5) < 5 * 0.5 / 26_000**0.5
    assert abs(drawn.colour.mean()) < 5 / 78_000**0.5 and abs(drawn.colour.std() - 1) < 0.02


# ---- training batches ----


def reference(album, recipe, seed, iteration):
    """The batch in float64, an image at a time."""
    chosen = split(album.train.labels, recipe, album.holdout).train
    steps = -(-len(chosen) // recipe.batch) if recipe.last_batch == "keep" else len(chosen) // recipe.batch
    epoch, step = divmod(iteration, steps)
    drawn, found = Draws.draw(len(chosen), recipe.scale, seed, epoch), pixels.statistics(album, recipe)
    shifts = pixels.colour_shifts(found, recipe)
    images, labels = [], []
    for k in range(step * recipe.batch, min(len(chosen), (step + 1) * recipe.batch)):
        number = int(chosen[drawn.order[k]])
        image = views.scaled(views.decode(album.train.read(number)), int(drawn.side[k]))
        view = views.cut(image, recipe.crop_size, float(drawn.down[k]), float(drawn.right[k])).double().numpy()
        if recipe.flip and drawn.flip[k]:
            view = view[:, :, ::-1]
        view = view / 255 - found.mean.astype(float)
        if shifts is not None:
            view = view + (shifts @ drawn.colour[k].double().numpy())[:, None, None]
        images.append(view)
        labels.append(int(album.train.labels[number]))
    return np.stack(images), labels


@pytest.mark.parametrize(
    "recipe",
    [RECIPE, changed(colour="none", flip=False), changed(colour="imagenet", split="holdout", last_batch="drop")],
    ids=["own", "plain", "held out"],
)
def test_batches_are_those_of_the_reference(album, recipe):
    stream = Stream(album, recipe, seed=5)
    for iteration in (0, 1, 2, 3, 4, 9):  # over the end of an epoch, and a leap
        images, labels = stream.at(iteration)
        expected, wanted = reference(album, recipe, 5, iteration)
        assert labels.tolist() == wanted and len(wanted) == stream.size(iteration)
        assert images.dtype == torch.float32 and abs(images.double().numpy() - expected).max() < 1e-6


def test_an_epoch_shows_every_image_once(album):
    stream = Stream(album, RECIPE, seed=1)
    assert stream.steps_per_epoch == 4 and [stream.size(i) for i in range(5)] == [6, 6, 6, 2, 6]
    for epoch in (0, 1):
        seen = [item[0] for step in range(4) for item in stream.items(4 * epoch + step)]
        assert sorted(seen) == list(range(20))
    dropping = Stream(album, changed(last_batch="drop"), seed=1)
    assert dropping.steps_per_epoch == 3 and dropping.size(2) == 6


def test_loader_processes_change_nothing(album):
    here, elsewhere = Stream(album, RECIPE, 2), Stream(album, RECIPE, 2, loading=Loading(loaders=2))
    for iteration in range(6):
        (images, labels), (others, other_labels) = here.at(iteration), elsewhere.at(iteration)
        assert (images == others).all() and (labels == other_labels).all()
    assert elsewhere.seconds > 0


def test_more_is_dropped_than_there_is(album):
    with pytest.raises(FieldError, match="at most 20, the number of training images"):
        Stream(album, changed(batch=32, last_batch="drop"), 0)


# ---- evaluations ----


def passed(stream, part, batch=4, images=None):
    count = stream.count(part) if images is None else images
    stream.begin(part, count, batch)
    found = []
    for start in range(0, count, batch):
        stream.fetch()
        found.append([x.clone() for x in stream.evaluation_batch(part, min(batch, count - start))])
    return torch.cat([images for images, _ in found]), [label for _, labels in found for label in labels.tolist()]


def test_a_pass_shows_each_image_once_in_its_single_view(album):
    stream, mean = Stream(album, RECIPE, 0), pixels.statistics(album, RECIPE).mean
    images, labels = passed(stream, "test")
    assert labels == album.test.labels.tolist()
    for number, image in enumerate(images):
        view = views.single(views.decode(album.test.read(number)), 32).numpy() / 255 - mean
        assert abs(image.numpy() - view).max() < 1e-6


def test_a_pass_takes_a_sample_that_mixes_classes(album):
    stream = Stream(album, changed(train_sample=10, split="holdout"), 0)
    assert (stream.count("train"), stream.count("validation"), stream.count("test")) == (10, 2, 6)
    _, labels = passed(stream, "train")
    assert labels == passed(stream, "train")[1] and 2 <= sum(labels) <= 8
    assert labels[:5] == passed(stream, "train", images=5)[1]
    whole = Stream(album, changed(split="holdout"), 0)
    assert sorted(passed(whole, "train")[1]) == [0] * 9 + [1] * 9
    assert passed(whole, "train")[1][:10] == labels


def test_a_pass_between_two_steps_changes_neither(album):
    stream, alone = Stream(album, RECIPE, 0), Stream(album, RECIPE, 0)
    stream.at(0)
    passed(stream, "test")
    assert (stream.at(1)[0] == alone.at(1)[0]).all()


def test_images_of_another_shape_lose_the_mean_of_the_mean(album):
    stream = Stream(album, RECIPE, 0)
    mean = pixels.statistics(album, RECIPE).mean.mean((1, 2), dtype=float)
    shown = torch.randint(0, 256, (2, 3, 40, 33), dtype=torch.uint8)
    expected = shown.double() / 255 - torch.tensor(mean)[:, None, None]
    assert torch.allclose(stream.normalise(shown).double(), expected, atol=1e-6)


# ---- images that cannot be decoded ----


@pytest.fixture
def damaged(tmp_path):
    album = an_album(tmp_path / "damaged")
    for number in (3, 8):
        (tmp_path / f"damaged/train/{number:05}.JPEG").write_bytes(jpeg(photograph(number))[:250])
    return album


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_bad_image_ends_the_training_by_name(damaged, loaders):
    stream = Stream(damaged, RECIPE, 0, loading=Loading(loaders))
    with pytest.raises(DataError, match=r"0000[38]\.JPEG: cannot be decoded: .*--bad-images skip"):
        for iteration in range(4):
            stream.at(iteration)


def test_or_is_skipped_and_named(damaged):
    stream = Stream(damaged, RECIPE, 0, loading=Loading(0, "skip"))
    seen = [label for iteration in range(8) for label in stream.at(iteration)[1].tolist()]
    assert len(seen) == 40 and sorted(name[-10:] for name in stream.bad) == ["00003.JPEG", "00008.JPEG"]
    assert all("truncated" in reason for reason in stream.bad.values())
