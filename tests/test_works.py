"""Works do what they are to time: held against the training, the net, the batches and the images themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from albums import folder
from images import small
from synthetic import a_cell

from bench import album, floors, nvml, stream, works
from bench.batches import Batches, DeviceData
from bench.benchmark import WORKS, benchmarks
from bench.cell import Arch, Cell, Recipe
from bench.checkout import Checkout
from bench.cost import cost_of
from bench.errors import DataError, DeviceError, FieldError
from bench.floors import step_needs
from bench.nets import build
from bench.sampling import Setting, instruments, sample
from bench.source import Source
from bench.stream import Stream
from bench.train import Training

pytestmark = pytest.mark.usefixtures("one_thread")

CPU_ONLY = pytest.param("cpu", id="cpu")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = pytest.param("cuda:0", id="gpu", marks=[pytest.mark.gpu, NO_GPU])
DEVICES = pytest.mark.parametrize("device", [CPU_ONLY, GPU])
CALLS = 6  # beyond the capture on a GPU
CELL = a_cell(shortcut="A", recipe=Recipe(iterations=100, batch=32, drops=(), crop_padding=1, eval_every=25))


def prepared(work: str, cell: Cell = CELL, source: str = "digits", device: str = "cpu") -> works.Work:
    (benchmark,) = benchmarks([work], [cell])
    return works.prepare(benchmark.portable, source, device)


@pytest.fixture
def made(monkeypatch):
    """The trainings that works make, and what every call that is replayed returned, copied."""
    found = {"training": [], "returned": []}

    class Watched(Training):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            found["training"].append(self)

    class Replay(works.Replay):
        def __call__(self):
            returned = super().__call__()
            tensors = returned if isinstance(returned, tuple) else (returned,)
            found["returned"].append([tensor.clone() for tensor in tensors])
            return returned

    monkeypatch.setattr(works, "Training", Watched)
    monkeypatch.setattr(works, "Replay", Replay)
    return found


def called(work: works.Work, times: int = CALLS) -> works.Work:
    with work.stream():
        for _ in range(times):
            work.call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return work


# ---- the same as what is timed ----


@DEVICES
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_call_of_train_is_a_step_of_a_training(digits, made, device, precision):
    cell = replace(CELL, recipe=replace(CELL.recipe, precision=precision))
    work = called(prepared("train", cell, device=device))
    (mine,), truth = made["training"], Training(cell, digits, device)
    truth.advance(CALLS)
    assert mine.iteration == CALLS
    assert mine._running.images == work.images * CALLS == 32 * CALLS
    assert (mine._running.loss(), mine._running.error()) == (truth._running.loss(), truth._running.error())
    for name, value in truth.net.state_dict().items():
        assert torch.equal(mine.net.state_dict()[name], value), name


def test_training_goes_on_for_longer_than_any_epoch(made):
    """Every step is of a whole batch, at one learning rate, and none is an evaluation."""
    called(prepared("train"), 100)  # two epochs and more
    (training,) = made["training"]
    assert set(training._steps) == {(32, False)} and training._learner.sgd.lr == pytest.approx(CELL.recipe.lr)


@DEVICES
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_inference_is_the_nets_forward_pass(digits, made, device, precision):
    cell = replace(CELL, recipe=replace(CELL.recipe, precision=precision))
    work = called(prepared("inference", cell, device=device))
    net = build(cell.arch, channels=1, seed=0).eval()
    images = torch.tensor(digits.train_images[: work.images]) / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        truth = net(images).float()
    assert truth.shape == (32, 10) and len(made["returned"]) == CALLS
    near = {"fp32": 1e-4, "bf16": 3e-2}[precision] * truth.abs().max()
    for (logits,) in made["returned"]:
        assert torch.allclose(logits.cpu(), truth, rtol=0, atol=float(near))


def test_a_batch_of_inference_may_be_larger_than_the_data(tmp_path, fresh_cache, made):  # noqa: ARG001
    source = small(tmp_path / "few")
    cell = replace(CELL, data=source.identity, recipe=replace(CELL.recipe, batch=14))
    assert called(prepared("inference", cell, str(source)), 1).images == 14
    ((logits,),) = made["returned"]
    assert torch.allclose(logits[:6], logits[6:12], atol=1e-5) and torch.allclose(logits[:2], logits[12:], atol=1e-5)


@DEVICES
def test_evaluation_counts_what_a_pass_over_the_images_does(digits, device):
    work = prepared("evaluation", device=device)
    tallies = [work.call() for _ in range(CALLS)]
    images, labels = digits.train_images, torch.tensor(digits.train_labels[: work.images])
    mean = images.mean(0, dtype=np.float64) / 255
    inputs = torch.tensor(images[: work.images] / 255 - mean, dtype=torch.float32)
    with torch.inference_mode():
        logits = build(CELL.arch, channels=1, seed=0).eval()(inputs)
    for tally in tallies:
        assert tally.images == work.images == 1000
        assert tally.error() == pytest.approx(float((logits.argmax(1) != labels).float().mean()), abs=2e-3)
        assert tally.loss() == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)


def test_of_few_images_all_are_evaluated(tmp_path, fresh_cache):  # noqa: ARG001
    source = small(tmp_path / "few")
    work = prepared("evaluation", replace(CELL, data=source.identity), str(source))
    assert work.images == work.call().images == 6


@DEVICES
def test_augmentation_makes_the_batches_that_training_gets(digits, made, device):
    epoch = len(digits.train_labels) // 500
    cell = replace(CELL, recipe=replace(CELL.recipe, batch=500, last_batch="drop"))
    called(prepared("augmentation", cell, device=device), 2 * epoch + 1)
    truth = Batches(DeviceData(digits, cell.recipe, device), cell.recipe, seed=0)
    assert len(made["returned"]) == 2 * epoch + 1
    for number, (images, labels) in enumerate(made["returned"]):
        expected = truth.at(number)
        assert torch.equal(images, expected[0]) and torch.equal(labels, expected[1])


@pytest.fixture
def decoded(monkeypatch):
    """What is read of images."""
    found, read = [], works.decode.read_image
    monkeypatch.setattr(works.decode, "read_image", lambda *given: found.append(read(*given)) or found[-1])
    return found


def test_decoding_gives_the_images_but_for_what_jpeg_loses(digits, decoded):
    work = called(prepared("decoding"), 2)
    assert len(decoded) == 2 * work.images == 2 * 64
    for number, image in enumerate(decoded):
        truth = digits.train_images[number % 64].astype(int)
        assert image.shape == truth.shape == (1, 8, 8) and image.dtype == np.uint8
        assert np.abs(image - truth).mean() < 4  # of 255


def test_decoding_of_colours_and_of_few_images(tmp_path, fresh_cache, decoded):  # noqa: ARG001
    source = small(tmp_path / "few")
    work = prepared("decoding", replace(CELL, data=source.identity), str(source))
    decoded.clear()  # of those that the data set is made from
    assert called(work, 1).images == len(decoded) == 64
    assert {image.shape for image in decoded} == {(3, 4, 4)}
    assert all(np.array_equal(image, decoded[number % 6]) for number, image in enumerate(decoded))


def test_a_call_of_loading_reads_the_next_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    source = f"folder:{folder(tmp_path / 'photographs')}"
    recipe = Recipe(iterations=9, batch=4, drops=(), eval_every=9, crop_padding=0, crop_size=32, scale=(36, 48))
    seen = []

    class Watched(Stream):
        def seek(self, iteration):
            super().seek(iteration)
            seen.append((iteration, self.take(4)[1].tolist()))

    monkeypatch.setattr(stream, "Stream", Watched)
    cell = Cell(Arch("imagenet", 18), recipe, source)
    work = called(prepared("loading", cell, source), 7)  # over the end of an epoch of five
    (benchmark,) = benchmarks(["loading"], [cell])
    endless = replace(benchmark.cell.recipe, iterations=100, eval_every=100, last_batch="drop", drops=())
    truth = Stream(album.load(Source.parse(source)), endless, 0)
    assert work.images == 4 and seen == [(i, truth.at(i)[1].tolist()) for i in range(7)]


def test_loading_needs_a_view():
    with pytest.raises(FieldError, match="crop_size = 0 is not allowed"):
        prepared("loading")


# ---- what is told of it ----


@pytest.mark.parametrize("work", [work for work in WORKS if work != "loading"])
def test_counts_are_those_of_the_net_and_the_step(work):
    found = prepared(work)
    cost = cost_of(CELL.arch, channels=1, size=8, classes=10)
    of_net = work in ("train", "inference", "evaluation")
    assert (found.parameters, found.multiply_adds) == (
        (cost.parameters, cost.multiply_adds) if of_net else (None, None)
    )
    needs = step_needs(CELL.arch, 32, "fp32", 1, 8, 10)
    told = (found.call_bytes, found.call_multiply_adds)
    assert told == ((needs.bytes, needs.multiply_adds) if work == "train" else (None, None))


def test_ceilings_are_plain_values(monkeypatch):
    monkeypatch.setattr(works, "measure_ceilings", lambda device: floors.Ceilings(2e9, {"fp32": float(len(device))}))
    assert works.ceilings("cpu") == {"bandwidth": 2e9, "rates": {"fp32": 3.0}}


# ---- what is refused ----


def test_what_is_not_possible_is_refused():
    def with_recipe(**changes):
        return replace(CELL, recipe=replace(CELL.recipe, **changes))

    with pytest.raises(FieldError, match=r"batch = 2000 is not allowed; allowed: at most 1,497"):
        prepared("train", with_recipe(batch=2000))
    if not torch.cuda.is_available():
        for work in ("train", "inference", "evaluation"):
            with pytest.raises(DeviceError, match="tf32"):
                prepared(work, with_recipe(precision="tf32"))
    with pytest.raises(DataError, match="nowhere"):
        prepared("decoding", replace(CELL, data="folder:nowhere"), "folder:nowhere")
    with pytest.raises(FieldError, match="of_tomorrow"):
        works.prepare(CELL.flat() | {"work": "train", "of_tomorrow": 1}, "digits")
    with pytest.raises(FieldError, match="work = 'sleeping'"):
        works.prepare(CELL.flat() | {"work": "sleeping"}, "digits")


@pytest.mark.parametrize("name", ["noise32", "noise224"])
def test_the_papers_batch_can_be_trained_on_noise(name):
    """256 images of ImageNet's size (section 3.4), 128 of CIFAR's (4.2)."""
    cell = replace(CELL, data=name, recipe=replace(CELL.recipe, batch=256 if name == "noise224" else 128))
    assert prepared("augmentation", cell, name).images == cell.recipe.batch


# ---- in the instrument ----


def test_a_real_process_measures_a_real_step():
    root = Path(works.__file__).parent.parent
    (benchmark,) = benchmarks(["train"], [CELL])
    setting = Setting(windows=1)
    with nvml.open_gauge(None) as gauge, instruments([Checkout("here", root, None, None, None)], setting) as started:
        (found,) = sample(started, benchmark, setting, gauge)
        assert started[0].toolkit["torch"] == str(torch.__version__)
    assert found.failed is None and found.images == 32
    assert found.parameters == cost_of(CELL.arch, channels=1, size=8, classes=10).parameters
    assert found.images_per_second > 0 and found.grown_bytes > 0
