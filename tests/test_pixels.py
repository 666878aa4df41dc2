"""The pixels of a training set against float64 over all of them, and the cache that keeps them."""

import dataclasses

import numpy as np
import pytest
from albums import an_album, jpeg, pages, photograph

from bench import pixels, views
from bench.cell import Recipe
from bench.errors import DataError

RECIPE = Recipe(
    iterations=4, drops=(), eval_every=4, batch=4, crop_size=32, scale=(36, 48), crop_padding=0, colour="own"
)


@pytest.fixture
def album(tmp_path):
    return an_album(tmp_path / "album")


def all_views(album, numbers):
    return np.stack([views.single(views.decode(album.train.read(n)), 32).numpy() for n in numbers]).astype(float) / 255


def test_mean_and_covariance_are_those_of_every_view(album, tmp_path):
    found = pixels.statistics(album, RECIPE, cache=tmp_path)
    seen = all_views(album, range(20))
    assert found.mean.dtype == np.float32 and abs(found.mean - seen.mean(0)).max() < 1e-7
    colours = seen.transpose(1, 0, 2, 3).reshape(3, -1)
    assert abs(found.covariance - np.cov(colours, bias=True)).max() < 1e-12
    variances, directions = found.principal
    assert (np.diff(variances) <= 0).all()
    assert np.allclose(directions @ np.diag(variances) @ directions.T, found.covariance)


def test_held_out_images_have_no_part_in_it(album, tmp_path):
    recipe = dataclasses.replace(RECIPE, split="holdout")
    kept = pixels.split(album.train.labels, recipe, album.holdout).train
    assert len(kept) == 18
    assert abs(pixels.statistics(album, recipe, cache=tmp_path).mean - all_views(album, kept).mean(0)).max() < 1e-7


def test_it_is_measured_once(album, tmp_path, monkeypatch):
    heard = []
    first = pixels.statistics(album, RECIPE, heard.append, cache=tmp_path)
    assert heard == ["the mean of 20 of 20 images"]
    monkeypatch.setattr(pixels, "measure", None)
    again = pixels.statistics(album, RECIPE, heard.append, cache=tmp_path)
    assert len(heard) == 1
    assert (again.mean == first.mean).all() and (again.covariance == first.covariance).all()
    other = dataclasses.replace(album, sha256="6" * 64)
    with pytest.raises(TypeError):  # of other images, it would be measured
        pixels.statistics(other, RECIPE, cache=tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:700] + b"x" + data[701:]])
def test_a_damaged_cache_is_measured_again(album, tmp_path, damage):
    first = pixels.statistics(album, RECIPE, cache=tmp_path)
    (entry,) = tmp_path.glob("pixels-*.npz")
    entry.write_bytes(damage(entry.read_bytes()))
    assert (pixels.statistics(album, RECIPE, cache=tmp_path).mean == first.mean).all()


def test_a_cache_that_cannot_be_written_is_done_without(album, tmp_path, caplog):
    place = tmp_path / "file"
    place.write_text("")
    assert pixels.statistics(album, RECIPE, cache=place).mean.shape == (3, 32, 32)
    assert "measured each time" in caplog.text


def test_bad_images_are_left_out(tmp_path, caplog):
    files = [jpeg(photograph(n)) for n in range(4)]
    whole, part = pages(tmp_path / "a", files, [0] * 4), pages(tmp_path / "b", [*files, files[0][:200]], [0] * 5)
    assert (pixels.measure(part, np.arange(5), 32).mean == pixels.measure(whole, np.arange(4), 32).mean).all()
    assert "00004.JPEG is left out of the mean" in caplog.text
    with pytest.raises(DataError, match=r"00004\.JPEG: cannot be decoded"):
        pixels.measure(part, np.array([4]), 32)


def test_shifts_are_directions_times_variances_times_a_tenth():
    """Krizhevsky et al. 2012: [p1 p2 p3][α1 λ1, α2 λ2, α3 λ3], α of standard deviation 0.1."""
    chance = np.random.default_rng(3)
    found = pixels.Pixels(np.zeros((3, 2, 2), np.float32), np.cov(chance.normal(size=(3, 50))))
    shifts = pixels.colour_shifts(found, RECIPE)
    variances, directions = np.linalg.eigh(found.covariance)
    for draw in np.eye(3):
        one = shifts @ draw
        number = 2 - int(draw.argmax())  # eigh's order is the other way round
        assert np.allclose(abs(one), abs(0.1 * variances[number] * directions[:, number]))
    assert pixels.colour_shifts(found, dataclasses.replace(RECIPE, colour="none")) is None
    published = pixels.colour_shifts(found, dataclasses.replace(RECIPE, colour="imagenet"))
    assert published[0, 0] == pytest.approx(0.1 * 0.2175 * -0.5675)
    assert published[2, 1] == pytest.approx(0.1 * 0.0188 * -0.6948)
