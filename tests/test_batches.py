"""Batches on their device: sampling by exact counts, augmentation against a reference a pixel at a time."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from bench.batches import Batches, DeviceData, Epoch
from bench.cell import Recipe
from bench.dataset import Dataset
from bench.errors import FieldError
from bench.split import split


def recipe(**fields):
    return Recipe(**{"iterations": 100, "drops": (), "eval_every": 10} | fields)


def data_of(train, train_labels=None, test=None, source="made up"):
    """A Dataset of these images, uint8 [N, C, H, W]; labels 0 unless given."""
    test = train[:1] if test is None else test
    labels = np.zeros(len(train), np.int64) if train_labels is None else np.asarray(train_labels, np.int64)
    return Dataset(source, train.copy(), labels.copy(), test.copy(), np.zeros(len(test), np.int64), ("a",), "")


def noise(count, channels=3, height=5, width=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def numbered(count):
    """Images that hold their own number: [N, 3, 1, 1], base 256."""
    numbers = np.arange(count)
    return np.stack([numbers // 256**k % 256 for k in range(3)], 1).astype(np.uint8)[:, :, np.newaxis, np.newaxis]


def numbers_in(images, mean):
    """The numbers of a batch made of `numbered` images."""
    digits = ((images + mean) * 255).round().to(torch.int64)[:, :, 0, 0]
    return (digits @ torch.tensor([1, 256, 256**2])).tolist()


# ---- the data on its device ----


def test_data_too_small_to_hold_anything_out():
    with pytest.raises(FieldError, match="split = 'holdout' is not allowed; allowed: full, for a training set of 3"):
        DeviceData(data_of(noise(3)), recipe(split="holdout"))


def test_the_mean_is_that_of_the_training_part_alone():
    labels = np.arange(60) % 3
    dataset = data_of(noise(60, seed=4), labels)
    data = DeviceData(dataset, recipe(split="holdout"))
    train, validation = split(labels, recipe(split="holdout"), 6)
    assert (len(data.train), len(data.validation), len(data.test)) == (54, 6, 1)
    truth = (dataset.train_images[train].astype(np.float64) / 255).mean(0)
    assert data.mean.dtype == torch.float32 and data.mean.shape == (1, 3, 5, 5)
    np.testing.assert_allclose(data.mean[0].numpy(), truth, rtol=1e-6)
    changed = dataset.train_images.copy()
    changed[validation] = 255
    assert torch.equal(DeviceData(data_of(changed, labels), recipe(split="holdout")).mean, data.mean)
    assert not torch.equal(DeviceData(data_of(changed, labels), recipe(split="full")).mean, data.mean)


def test_the_mean_is_the_nearest_float32_to_the_exact_one():
    images = noise(701, 1, 3, 3, seed=8)
    exact = [Fraction(int(total), 255 * 701) for total in images.astype(object).sum(0).ravel()]
    assert DeviceData(data_of(images), recipe()).mean.ravel().tolist() == [np.float32(float(mean)) for mean in exact]


def test_data_stays_uint8_on_the_device():
    data = DeviceData(data_of(noise(20)), recipe(split="holdout"))
    for part in (data.train, data.validation, data.test):
        assert part.images.dtype == torch.uint8 and part.labels.dtype == torch.int64


@pytest.mark.parametrize("which", ["train", "validation", "test"])
@pytest.mark.parametrize("size", [1, 7, 18, 500])
def test_evaluation_is_one_pass_in_order_without_augmentation(which, size):
    labels = np.arange(20) % 2
    dataset = data_of(noise(20), labels, noise(11, seed=1))
    data = DeviceData(dataset, recipe(split="holdout", crop_padding=2, flip=True))
    chosen = split(labels, recipe(split="holdout"), 2)
    images, answers = {
        "train": (dataset.train_images[chosen.train], labels[chosen.train]),
        "validation": (dataset.train_images[chosen.validation], labels[chosen.validation]),
        "test": (dataset.test_images, dataset.test_labels),
    }[which]
    data.rewind()
    data.evaluation_batch(which, 1)
    data.rewind()
    batches = [data.evaluation_batch(which, min(size, len(images) - at)) for at in range(0, len(images), size)]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert x.dtype == torch.float32
    assert np.array_equal(x.numpy(), images.astype(np.float32) / np.float32(255) - data.mean.numpy())
    assert y.tolist() == answers.tolist()


def test_an_empty_part():
    data = DeviceData(data_of(noise(20)), recipe(split="full"))
    assert len(data.part("validation")) == 0


# ---- sampling ----


@settings(deadline=None)
@given(count=st.integers(1, 300), batch=st.integers(1, 400), seed=st.integers(0, 2**32 - 1), drop=st.booleans())
def test_an_epoch_visits_each_image_once(count, batch, seed, drop):
    last_batch = "drop" if drop and batch <= count else "keep"
    data = DeviceData(data_of(numbered(count), np.arange(count)), recipe())
    batches = Batches(data, recipe(batch=batch, last_batch=last_batch, crop_padding=0), seed)
    steps = count // batch if last_batch == "drop" else (count + batch - 1) // batch
    assert batches.steps_per_epoch == steps
    for epoch in range(2):
        seen, labels = [], []
        for step in range(steps):
            x, y = batches.at(epoch * steps + step)
            assert y.dtype == torch.int64 and len(x) == len(y)
            assert len(y) == batch or (step == steps - 1 and last_batch == "keep")
            seen += numbers_in(x, data.mean)
            labels += y.tolist()
        assert seen == labels  # every image keeps its own label
        assert len(set(seen)) == len(seen) == (count // batch * batch if last_batch == "drop" else count)


@pytest.mark.parametrize(
    ("images", "last_batch", "steps"), [(50_000, "keep", 391), (50_000, "drop", 390), (45_000, "keep", 352)]
)
def test_the_papers_steps_an_epoch(images, last_batch, steps):
    data = DeviceData(data_of(np.zeros((images, 1, 1, 1), np.uint8)), recipe())
    assert Batches(data, recipe(batch=128, last_batch=last_batch), 0).steps_per_epoch == steps


def test_a_batch_larger_than_the_training_set():
    data = DeviceData(data_of(noise(10)), recipe())
    assert len(Batches(data, recipe(batch=11, last_batch="keep"), 0).at(0)[1]) == 10
    with pytest.raises(
        FieldError, match="batch = 11 is not allowed; allowed: at most 10, the number of training images"
    ):
        Batches(data, recipe(batch=11, last_batch="drop"), 0)


def test_a_batch_follows_from_seed_and_iteration_alone():
    data = DeviceData(data_of(noise(50), np.arange(50)), recipe())
    fields = recipe(batch=8, crop_padding=2)
    batches = Batches(data, fields, seed=3)
    in_order = [batches.at(i) for i in range(30)]
    torch.manual_seed(0)
    for i in (29, 0, 13, 7, 6, 20, 20):
        torch.rand(1)
        for x, y in (batches.at(i), Batches(data, fields, seed=3).at(i)):
            assert torch.equal(x, in_order[i][0]) and torch.equal(y, in_order[i][1])


def test_drawing_leaves_the_global_generator_alone():
    data = DeviceData(data_of(noise(50)), recipe())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Batches(data, recipe(batch=8), 0).at(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_epochs_and_seeds_differ():
    cpu = torch.device("cpu")
    epochs = [Epoch.draw(500, 4, seed, number, cpu) for seed in (0, 1, 2**32 - 1) for number in (0, 1, 10)]
    for a, b in itertools.combinations(epochs, 2):
        assert (a.order == b.order).sum() < 10  # 1 expected
        assert 0.3 < (a.flip == b.flip).float().mean() < 0.7
        assert (a.dy == b.dy).float().mean() < 0.25  # 1 / 9 expected


def test_padding_does_not_change_the_order_or_the_flips():
    a, b = (Epoch.draw(100, padding, 0, 0, torch.device("cpu")) for padding in (0, 4))
    assert torch.equal(a.order, b.order) and torch.equal(a.flip, b.flip)
    assert not a.dy.any() and not a.dx.any()


@pytest.mark.parametrize("padding", [1, 4])
def test_offsets_and_flips_are_uniform_and_independent(padding):
    epoch = Epoch.draw(100_000, padding, 0, 0, torch.device("cpu"))
    offsets = 2 * padding + 1
    for offset in (epoch.dy, epoch.dx):
        assert offset.unique().tolist() == list(range(offsets))
    cells = (epoch.dy * offsets + epoch.dx) * 2 + epoch.flip
    assert chisquare(np.bincount(cells, minlength=2 * offsets**2)).pvalue > 0.001
    assert binomtest(int(epoch.flip.sum()), 100_000).pvalue > 0.001
    assert chisquare(np.bincount(epoch.order[:1000] // 10_000, minlength=10)).pvalue > 0.001
    early = epoch.order < 50_000  # chance is attached to the place in the epoch, not to the image
    assert binomtest(int(epoch.flip[early].sum()), int(early.sum())).pvalue > 0.001


# ---- augmentation ----


def slow_augment(image, mean, dy, dx, flip, padding):
    """Section 4.2 for one image uint8 [C, H, W], a pixel at a time."""
    channels, height, width = image.shape
    normal = image.astype(np.float32) / np.float32(255) - mean
    result = np.empty_like(normal)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                from_x = width - 1 - x if flip else x
                row, column = y + dy - padding, from_x + dx - padding
                inside = 0 <= row < height and 0 <= column < width
                result[c, y, x] = normal[c, row, column] if inside else 0
    return result


@settings(deadline=None)
@given(
    count=st.integers(1, 9),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)),
    padding=st.integers(0, 7),
    flip=st.booleans(),
    memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    seed=st.integers(0, 1000),
)
def test_augmentation_equals_the_slow_reference(count, shape, padding, flip, memory_format, seed):
    images = noise(count, *shape, seed=seed)
    data = DeviceData(data_of(images, np.arange(count)), recipe(), memory_format=memory_format)
    fields = recipe(batch=4, crop_padding=padding, flip=flip)
    batches = Batches(data, fields, seed)
    place = 0
    for step in range(batches.steps_per_epoch):
        x, y = batches.at(step)
        assert x.dtype == torch.float32 and x.shape[1:] == shape
        assert x.is_contiguous(memory_format=memory_format)
        for image, label in zip(x.numpy(), y.tolist(), strict=True):
            epoch = batches.epoch(0)
            assert label == epoch.order[place]
            drawn = epoch.dy[place].item(), epoch.dx[place].item(), flip and epoch.flip[place].item()
            truth = slow_augment(images[label], data.mean[0].numpy(), *drawn, padding)
            assert np.array_equal(image, truth)
            place += 1
    assert place == count


def test_padding_is_the_mean_not_black():
    """Subtracting the mean after padding would leave -mean at the border."""
    images = np.full((40, 1, 4, 4), 200, np.uint8)
    images[::2] = 100
    x, _ = Batches(DeviceData(data_of(images), recipe()), recipe(batch=40, crop_padding=4), 0).at(0)
    border = x == 0
    assert 100 < border.sum() < x.numel()
    assert torch.allclose(x[~border].abs(), torch.tensor(50 / 255))


def test_every_crop_of_a_real_size_image_occurs():
    """A single bright pixel in the middle shows where each crop was taken: 9 x 9 places, each way round."""
    images = np.zeros((2000, 1, 32, 32), np.uint8)
    images[::2, 0, 16, 16] = 255
    data = DeviceData(data_of(images, np.arange(2000)), recipe())
    x, y = Batches(data, recipe(batch=2000, crop_padding=4, flip=False), 0).at(0)
    bright = (x[y % 2 == 0] > 0.25).nonzero()
    assert len(bright) == 1000
    assert bright[:, 2].unique().tolist() == bright[:, 3].unique().tolist() == list(range(12, 21))


def test_without_augmentation_a_batch_is_the_normalised_images():
    images = noise(12)
    data = DeviceData(data_of(images, np.arange(12)), recipe())
    x, y = Batches(data, recipe(batch=12, crop_padding=0, flip=False), 0).at(0)
    truth = images[y].astype(np.float32) / np.float32(255) - data.mean.numpy()
    assert np.array_equal(x.numpy(), truth)


def test_the_data_is_not_changed_by_making_batches():
    images = noise(30)
    data = DeviceData(data_of(images), recipe())
    batches = Batches(data, recipe(batch=7), 0)
    for iteration in range(10):
        batches.at(iteration)[0].zero_()
    data.evaluation_batch("train", 30)[0].zero_()
    assert np.array_equal(data.train.images.numpy(), images)


@pytest.mark.gpu
def test_on_a_gpu_nothing_waits_for_the_device_and_the_reference_holds():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images = noise(200, height=32, width=32)
    data = DeviceData(data_of(images, np.arange(200)), recipe(), "cuda")
    batches = Batches(data, recipe(batch=32), 0)
    batches.at(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = [batches.at(iteration) for iteration in range(2 * batches.steps_per_epoch)]
        evaluated = [data.evaluation_batch("train", 100) for _ in range(2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(len(y) for _, y in evaluated) == 200
    epoch, place = batches.epoch(0), 0
    for x, y in made[: batches.steps_per_epoch]:
        for image, label in zip(x.cpu().numpy(), y.tolist(), strict=True):
            drawn = epoch.dy[place].item(), epoch.dx[place].item(), epoch.flip[place].item()
            truth = slow_augment(images[label], data.mean[0].cpu().numpy(), *drawn, 4)
            np.testing.assert_allclose(image, truth, atol=1e-6)
            place += 1
    assert place == 200


@pytest.mark.parametrize(
    ("shape", "batch", "padding"), [((1, 8, 8), 32, 1), ((3, 32, 32), 128, 4)], ids=["digits", "cifar"]
)
def test_speed(benchmark, shape, batch, padding):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data = DeviceData(data_of(noise(2000, *shape)), recipe())
    batches = Batches(data, recipe(batch=batch, crop_padding=padding), 0)
    iterations = itertools.cycle(range(batches.steps_per_epoch))
    benchmark(lambda: batches.at(next(iterations)))
    torch.set_num_threads(threads)
