"""How long cells should take by benchmarks, against sums by hand."""

import math
from dataclasses import replace
from datetime import date

import pytest
from histories import samples
from synthetic import a_cell, a_host

from bench.benchmark import benchmarks
from bench.cell import Arch, Cell, Recipe
from bench.pace import Paces, counts, evaluated
from bench.recipes import RECIPES

H200 = a_host(gpu="NVIDIA H200")
HOSTS = {H200.id: H200}
FIFTY = Cell(Arch("imagenet", 50, "B"), RECIPES["imagenet"].recipe, "folder:imagenet")


def timed(work, cell, data, seconds, host=H200, **fields):
    """Samples of a step or pass of `seconds` over a batch."""
    (benchmark,) = benchmarks([work], [replace(cell, data=data)])
    return samples([seconds], host, benchmark, **({"images": cell.recipe.batch} | fields))


def test_a_cell_takes_its_steps_its_evaluations_and_the_last_tests():
    found = Paces([*timed("train", FIFTY, "noise224", 0.25), *timed("inference", FIFTY, "noise224", 0.05)], HOSTS)
    paced = found.expect(FIFTY)
    # 600,000 steps; 120 times 50,000 of each part; ten crops and 36 more of the test images: 5,120 images a second
    forward = (120 * 100_000 + 46 * 50_000) / (256 / 0.05)
    assert paced.seconds == pytest.approx(600_000 * 0.25 + forward)
    assert (paced.step.images_per_second, paced.step.n, paced.step.host) == (pytest.approx(1024), 3, H200)
    assert paced.step.day == date(2026, 1, 1) and paced.forward.images_per_second == pytest.approx(5120)


def test_without_a_forward_pass_an_image_takes_a_third_of_a_step():
    paced = Paces(timed("train", FIFTY, "noise224", 0.25), HOSTS).expect(FIFTY)
    assert paced.forward is None
    assert paced.seconds == pytest.approx(150_000 + (120 * 100_000 + 46 * 50_000) / (3 * 1024))


@pytest.mark.parametrize(
    "other",
    [
        replace(FIFTY, arch=Arch("imagenet", 50, "C")),
        *(replace(FIFTY, recipe=replace(FIFTY.recipe, **fields)) for fields in (
            {"precision": "bf16"}, {"batch": 512}, {"norm_batch": 64}, {"recompute": True},
            {"crop_size": 192},
        )),
    ],
)  # fmt: skip
def test_another_net_batch_precision_or_size_tells_nothing(other):
    assert Paces(timed("train", FIFTY, "noise224", 0.25), HOSTS).expect(other) is None


def test_images_of_one_size_are_timed_themselves_or_as_noise_of_their_shape():
    cell = Cell(Arch(), Recipe(), "cifar10")
    own = timed("train", cell, "cifar10", 0.02)
    assert Paces(own, HOSTS).of("train", cell).images_per_second == pytest.approx(6400)
    noise = timed("train", cell, "noise32", 0.01)
    assert Paces(noise, HOSTS).of("train", cell).images_per_second == pytest.approx(12_800)
    assert Paces([*noise, *own], HOSTS).of("train", cell).images_per_second == pytest.approx(6400)
    assert Paces(noise, HOSTS).of("train", a_cell()) is None  # digits have another shape


def test_the_latest_measurement_counts_and_no_troubled_slowed_or_foreign_one():
    first = timed("train", FIFTY, "noise224", 0.25)
    (benchmark,) = benchmarks(["train"], [replace(FIFTY, data="noise224")])
    second = samples([0.5], H200, benchmark, first=9, processes=2, images=256)
    found = Paces([*second, *first], HOSTS).of("train", FIFTY)
    assert (found.images_per_second, found.n, found.day) == (pytest.approx(512, rel=0.01), 2, date(2026, 1, 3))
    troubled = samples([1.0], H200, benchmark, first=20, images=256, trouble="too hot")
    failed = samples([1.0], H200, benchmark, first=21, window_seconds=(), failed="no memory", cause="out-of-memory")
    slowed = [replace(s, taking=replace(s.taking, injected=0.5)) for s in samples([1.0], H200, benchmark, first=22)]
    elsewhere = samples([1.0], a_host(gpu="NVIDIA H100"), benchmark, first=23)
    assert Paces([*first, *second, *troubled, *failed, *slowed, *elsewhere], HOSTS).of("train", FIFTY) == found


def test_what_evaluations_pass_forward():
    """Sections 4.2 and 3.4; with a holdout the two parts together are the training set."""
    cifar = Cell(Arch(), Recipe(), "cifar10")
    assert evaluated(cifar) == 64 * 60_000
    assert evaluated(replace(cifar, recipe=Recipe(split="holdout", eval_every=6_000))) == math.ceil(64 / 6) * 60_000
    whole = replace(FIFTY, recipe=replace(FIFTY.recipe, train_sample=0))
    assert evaluated(whole) == 120 * (1_281_167 + 50_000) + 46 * 50_000
    assert (
        counts(replace(FIFTY, data="folder:flowers")) is None and evaluated(replace(FIFTY, data="folder:flowers")) == 0
    )
    assert counts(replace(FIFTY, data="folder:imagenet-mini")) is None


def test_where_images_are_read_slower_than_a_step_takes_them_reading_binds():
    step, slow = timed("train", FIFTY, "noise224", 0.25), timed("loading", FIFTY, "folder:imagenet", 0.5)
    paced = Paces([*step, *slow], HOSTS).expect(FIFTY)
    assert paced.waits and paced.reading.images_per_second == pytest.approx(512)
    assert paced.seconds == pytest.approx(600_000 * 0.5 + (120 * 100_000 + 46 * 50_000) / 512)
    paced = Paces([*step, *timed("loading", FIFTY, "folder:imagenet", 0.1)], HOSTS).expect(FIFTY)
    assert not paced.waits and paced.reading.images_per_second == pytest.approx(2560)
    assert paced.seconds == pytest.approx(150_000 + (120 * 100_000 + 46 * 50_000) / 2560)
    cell = Cell(Arch(), Recipe(), "cifar10")
    assert Paces(timed("train", cell, "cifar10", 0.02), HOSTS).expect(cell).reading is None
