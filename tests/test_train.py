"""Training against independent truth: a float64 optimiser written out, counts by hand, and itself after a restart."""

import contextlib
import copy
import dataclasses
import io
import math

import pytest
import torch
import torch.nn.functional as F
from albums import an_album

from bench import train as module
from bench.batches import Batches
from bench.cell import Arch, Cell, Recipe
from bench.errors import DeviceError
from bench.evaluation import MEASURED, Evaluation
from bench.loading import Loading
from bench.replay import Replay
from bench.sgd import parameter_groups
from bench.train import Training, train

RECIPE = Recipe(
    iterations=12, batch=64, lr=0.05, drops=(6, 9), crop_padding=1, flip=False, eval_every=4, split="holdout"
)


pytestmark = pytest.mark.usefixtures("one_thread")


def a_cell(recipe: Recipe = RECIPE, **arch) -> Cell:
    return Cell(Arch(**({"depth": 8, "width": 0.25} | arch)), recipe, "digits", seed=1)


def a_pass(training: Training, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All of a part in one batch, as evaluations see it."""
    training._passes.data.rewind()
    return training._passes.data.evaluation_batch(part, len(training._passes.data.part(part)))


def results(points: list[Evaluation]) -> list[dict]:
    """What must be the same to the bit."""
    return [{k: v for k, v in dataclasses.asdict(p).items() if k not in MEASURED} for p in points]


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C"])
def test_the_same_cell_gives_the_same_bits(digits, shortcut):
    cell = a_cell(shortcut=shortcut)
    first, second = list(train(cell, digits)), list(train(cell))
    assert [point.iteration for point in first] == [4, 8, 12]
    assert results(first) == results(second)
    other = dataclasses.replace(cell, seed=2)
    assert results(first) != results(list(train(other, digits)))


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 11, 12])
def test_a_restart_at_any_iteration_changes_no_bit(digits, stop):
    cell = a_cell(dataclasses.replace(RECIPE, warmup="paper", precision="bf16" if stop % 2 else "fp32"))
    whole = list(train(cell, digits))
    first, points = Training(cell, digits), []
    while first.iteration < stop:
        first.advance(min(first.next_evaluation, stop))
        if first.iteration == first.next_evaluation:
            points.append(first.evaluate())
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second = Training(cell, digits)
    second.restore(torch.load(file, weights_only=True))
    while not second.ended:
        second.advance(second.next_evaluation)
        points.append(second.evaluate())
    assert results(points) == results(whole)


@pytest.mark.parametrize("decay_on", ["all", "weights"])
def test_steps_are_those_of_sgd_with_momentum_written_out_in_float64(digits, decay_on):
    """Section 3.4: v <- 0.9 v + (g + 1e-4 w), w <- w - lr v, without Nesterov; lr divided by 10 at each drop."""
    recipe = dataclasses.replace(RECIPE, weight_decay=0.01, decay_on=decay_on, drops=(2,), iterations=4)
    training = Training(a_cell(recipe, shortcut="B"), digits)
    reference = copy.deepcopy(training.net).double().train()
    batches = Batches(training._passes.data, recipe, 1)
    velocity = {name: torch.zeros_like(p) for name, p in reference.named_parameters()}
    for iteration in range(4):
        images, labels = batches.at(iteration)
        reference.zero_grad()
        F.cross_entropy(reference(images.double()), labels).backward()
        lr = 0.05 if iteration < 2 else 0.005
        with torch.no_grad():
            for name, p in reference.named_parameters():
                decays = decay_on == "all" or "conv" in name or name in ("fc.weight",) or "downsample.0" in name
                velocity[name] = 0.9 * velocity[name] + p.grad + (0.01 * p if decays else 0.0)
                p -= lr * velocity[name]
    training.advance(4)
    for (name, p), q in zip(training.net.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p.double(), q, rtol=1e-3, atol=2e-5), name


def test_parameter_groups_hold_every_parameter_once(digits):
    parameters = list(Training(a_cell(shortcut="C"), digits).net.parameters())
    for decay_on in ("all", "weights"):
        groups = parameter_groups(parameters, dataclasses.replace(RECIPE, decay_on=decay_on))
        assert sorted(number for numbers, _ in groups for number in numbers) == list(range(len(parameters)))
    assert {parameters[number].ndim for number in groups[1][0]} == {1} and groups[1][1] == 0.0


def test_evaluations_are_whole_passes_in_eval_mode(digits):
    training = Training(a_cell(), digits)
    training.advance(12)
    point = training.evaluate()
    net = copy.deepcopy(training.net).double().eval()
    for part in ("train", "validation", "test"):
        images, labels = a_pass(training, part)
        with torch.inference_mode():
            logits = net(images.double())
        assert getattr(point, f"{part}_error") == pytest.approx(
            (logits.argmax(1) != labels).double().mean().item(), abs=2e-3
        )
        assert getattr(point, f"{part}_loss") == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-3)
    sizes = {part: training.measure(part).images for part in ("train", "validation", "test")}
    assert sizes == {"train": 1197, "validation": 300, "test": 300}


def test_the_running_error_is_over_the_batches_since_the_last_evaluation(digits):
    training = Training(a_cell(), digits)
    wrong = images = 0
    handle = training.net.register_forward_hook(lambda *seen: logits.append(seen[2].detach()))
    for iteration in range(4):
        logits = []
        labels = Batches(training._passes.data, RECIPE, 1).at(iteration)[1]
        training.advance(iteration + 1)
        wrong += (logits[0].argmax(1) != labels).sum().item()
        images += len(labels)
    handle.remove()
    assert training.evaluate().running_error == wrong / images
    assert training._running.images == 0


def test_without_a_holdout_there_is_no_validation_error(digits):
    (point,) = train(a_cell(Recipe(iterations=1, batch=64, drops=(), eval_every=1)), digits)
    assert point.validation_error is None and point.validation_loss is None
    assert point.epoch == pytest.approx(1 / math.ceil(1497 / 64))


def test_learning_rates_of_a_run(digits):
    assert [p.lr for p in train(a_cell(), digits)] == pytest.approx([0.05, 0.005, 0.0005])


def test_the_warm_up_ends_when_the_error_falls_below_80_percent(digits, monkeypatch):
    """Section 4.2: 0.01 until the training error is below 80 %, then back to 0.1 and on."""
    monkeypatch.setattr(module, "WARM_UP_WINDOW", 4)
    recipe = dataclasses.replace(RECIPE, lr=0.1, drops=(36,), iterations=40, warmup="paper", eval_every=4)
    points = list(train(a_cell(recipe), digits))
    rates = [p.lr for p in points]
    end = next(i for i, p in enumerate(points) if p.running_error < 0.8)
    assert 0 < end < 8
    assert rates[:end] == [0.01] * end
    assert rates[end + 1 : 9] == [0.1] * (8 - end)
    assert rates[-1] == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_ends_the_cell_as_diverged(digits):
    recipe = dataclasses.replace(RECIPE, lr=10.0, momentum=1.0, weight_decay=0.5, drops=(), iterations=400)
    points = list(train(a_cell(recipe), digits))
    assert [point.diverged for point in points] == [False] * (len(points) - 1) + [True]
    assert points[-1].iteration < 400


def test_precisions(digits):
    with pytest.raises(DeviceError, match="tf32"):
        Training(a_cell(dataclasses.replace(RECIPE, precision="tf32")), digits)
    exact, rounded = (
        list(train(a_cell(dataclasses.replace(RECIPE, precision=p)), digits))[-1] for p in ("fp32", "bf16")
    )
    assert exact.train_loss != rounded.train_loss
    assert exact.train_loss == pytest.approx(rounded.train_loss, rel=0.2)


def test_a_compiled_step_is_the_same_step_on_whole_batches(digits, monkeypatch):
    """With the compiler's tracing and its automatic differentiation; its kernels take a minute to build."""
    traced, compile_module = [], torch.compile

    def compile_quickly(module, **options):
        found = compile_module(module, backend="aot_eager", **options)
        return lambda images: traced.append(len(images)) or found(images)

    monkeypatch.setattr(torch, "compile", compile_quickly)
    recipe = dataclasses.replace(RECIPE, iterations=20, eval_every=20)
    for shortcut in ("A", "B"):
        plain, fused = (
            list(train(a_cell(dataclasses.replace(recipe, compiled=c), shortcut=shortcut), digits))
            for c in (False, True)
        )
        assert fused[0].train_loss == pytest.approx(plain[0].train_loss, rel=1e-3)
    assert traced == [64] * 20 * 2  # compiled by one; 18 whole batches in an epoch of 1,197 images, then one of 45


def test_compiling_leaves_the_net_as_it_was(digits, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    plain, compiled = (
        Training(a_cell(dataclasses.replace(RECIPE, compiled=c), shortcut="B"), digits) for c in (False, True)
    )
    assert all(map(torch.equal, plain.net.state_dict().values(), compiled.net.state_dict().values()))
    for training in (plain, compiled):
        training.advance(4)
    assert results([plain.evaluate()]) == results([compiled.evaluate()])


def test_compiling_without_a_compiler_is_refused(digits, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(DeviceError, match="C\\+\\+ compiler"):
        Training(a_cell(dataclasses.replace(RECIPE, compiled=True)), digits)


@pytest.mark.parametrize("shortcut", ["none", "A"])
def test_layouts_differ_in_rounding_alone(digits, shortcut):
    last, contiguous = (
        Training(a_cell(dataclasses.replace(RECIPE, memory_format=m), shortcut=shortcut), digits)
        for m in ("channels_last", "contiguous")
    )
    weight = last.net.layer1[0].conv1.weight
    assert not weight.is_contiguous() and contiguous.net.layer1[0].conv1.weight.is_contiguous()
    for training in (last, contiguous):
        training.advance(4)
    torch.testing.assert_close(weight, contiguous.net.layer1[0].conv1.weight, rtol=1e-3, atol=1e-4, check_stride=False)


def test_plain_nets_of_some_depth_train_worse(digits):
    """The claim itself, in seconds: 38 plain layers end far above 38 residual ones on the same data, same init."""
    recipe = Recipe(iterations=60, batch=32, lr=0.025, drops=(45,), crop_padding=0, flip=False, eval_every=60)
    plain, residual = (
        list(train(a_cell(recipe, depth=38, width=0.5, shortcut=s), digits))[-1].train_error for s in ("none", "A")
    )
    assert residual < plain - 0.2


def test_everything_a_training_does_is_queued_on_its_stream(digits, monkeypatch):
    """On a GPU work outside of it would meet weights and sums half-way; here each operation asks if it is inside."""
    from torch.utils._python_dispatch import TorchDispatchMode

    training, inside, outside = Training(a_cell(), digits, probing=True), [0], []

    @contextlib.contextmanager
    def stream():
        inside[0] += 1
        yield
        inside[0] -= 1

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            if not inside[0]:
                outside.append(operation)
            return operation(*args, **(kwargs or {}))

    monkeypatch.setattr(training, "stream", stream)
    with Watch():
        training.advance(4)
        training.evaluate()
        training.measure("test")
        state = training.state()
        training.restore(state)
    assert not [operation for operation in outside if "detach" not in str(operation)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpus_graphs_and_restarts_change_no_bit(digits, precision, monkeypatch):
    """Replayed and launched one by one, in one go and in two: the same bits, with a stream's work still under way."""
    cell = a_cell(dataclasses.replace(RECIPE, iterations=60, eval_every=20, drops=(30,), precision=precision))
    replayed = results(list(train(cell, digits, "cuda")))
    first = Training(cell, digits, "cuda")
    first.advance(20)
    points = [first.evaluate()]
    first.advance(33)
    file = io.BytesIO()
    with first.stream():
        torch.cuda._sleep(10**8)
        torch.save(first.state(), file)
    file.seek(0)
    second = Training(cell, digits, "cuda")
    second.restore(torch.load(file, weights_only=True, map_location="cuda"))
    while not second.ended:
        second.advance(second.next_evaluation)
        points.append(second.evaluate())
    assert results(points) == replayed
    monkeypatch.setattr(Replay, "_capture", lambda _: None)
    assert results(list(train(cell, digits, "cuda"))) == replayed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_gpu_trains_as_the_cpu_does(digits, precision):
    recipe = dataclasses.replace(RECIPE, iterations=40, drops=(30,), eval_every=40, precision=precision)
    (cpu,) = train(a_cell(dataclasses.replace(recipe, precision="fp32")), digits)
    (gpu,) = train(a_cell(recipe), digits, "cuda")
    assert gpu.train_error == pytest.approx(cpu.train_error, abs=0.1)
    assert gpu.peak_allocated_bytes > 0 and gpu.peak_reserved_bytes >= gpu.peak_allocated_bytes


# ---- images of any size, groups, plateaus ----

VIEWS = Recipe(
    iterations=6, batch=8, lr=0.05, drops=(3,), crop_padding=0, eval_every=3, split="holdout", last_batch="drop",
    crop_size=32, scale=(36, 48), colour="own",
)  # fmt: skip


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    return an_album(tmp_path / "album")


def run(training: Training, points: list[Evaluation]) -> list[Evaluation]:
    while not training.ended:
        training.advance(training.next_evaluation)
        points.append(training.evaluate())
    return points


@pytest.mark.parametrize(
    ("norm_batch", "expected"), [(4, [8, 8, 2, 2, 6]), (0, [16, 2, 2, 6])], ids=["groups", "whole"]
)
def test_an_evaluation_of_photographs_takes_no_more_at_once_than_a_step_holds(album, norm_batch, expected):
    """Two groups, or batches, of views of 18, 2 and 6 images; of a set of arrays 500 images, whatever the groups."""
    recipe = dataclasses.replace(VIEWS, norm_batch=norm_batch)
    training, seen = Training(a_cell(recipe), album), []
    training.net.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    training.advance(1)
    training.evaluate()
    assert seen[-len(expected) :] == expected


def saved_and_loaded(training: Training):
    file = io.BytesIO()
    torch.save(training.state(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_restart_changes_no_bit_of_a_training_on_files(album, stop):
    cell = Cell(
        Arch("imagenet", 18, "B", 1 / 16), dataclasses.replace(VIEWS, norm_batch=4, recompute=True), "digits", 1
    )
    whole = run(Training(cell, album), [])
    first, points = Training(cell, album), []
    while first.iteration < stop:
        first.advance(min(first.next_evaluation, stop))
        if first.iteration == first.next_evaluation:
            points.append(first.evaluate())
    second = Training(cell, album, loading=Loading(loaders=1))
    second.restore(saved_and_loaded(first))
    assert results(run(second, points)) == results(whole)
    assert second.loading["loaders"] == 1 and second.loading["data_seconds"] > first.loading["data_seconds"]
    assert whole[-1].validation_error is not None and whole[-1].epoch == 6 / 2


def test_a_training_on_files_learns(album):
    recipe = dataclasses.replace(VIEWS, iterations=30, drops=(25,), eval_every=30)
    cell = Cell(Arch("imagenet", 18, "A", 1 / 16), recipe, "digits", 0)
    (point,) = run(Training(cell, album), [])
    assert point.train_error < 0.2 and point.test_error < 0.4  # dark and bright


def test_a_group_is_normalised_alone(digits):
    """A step with groups is the mean of the gradients of nets that saw one each, in float64."""
    recipe = dataclasses.replace(RECIPE, last_batch="drop", norm_batch=16, weight_decay=0.0, momentum=0.0)
    training = Training(a_cell(recipe, shortcut="B"), digits)
    reference = copy.deepcopy(training.net).double().train()
    images, labels = Batches(training._passes.data, recipe, 1).at(0)
    for shown, wanted in zip(images.double().split(16), labels.split(16), strict=True):
        (F.cross_entropy(reference(shown), wanted) / 4).backward()
    before = [p.detach().double().clone() for p in training.net.parameters()]
    training.advance(1)
    for mine, was, other in zip(training.net.parameters(), before, reference.parameters(), strict=True):
        assert torch.allclose(mine.double(), was - 0.05 * other.grad, atol=1e-6)


def test_one_group_is_no_group(digits):
    recipe = dataclasses.replace(RECIPE, last_batch="drop")
    plain = run(Training(a_cell(recipe), digits), [])
    grouped = run(Training(a_cell(dataclasses.replace(recipe, norm_batch=64)), digits), [])
    assert results(plain) == results(grouped)


def test_the_rate_drops_at_plateaus_and_a_restart_knows_them(digits):
    recipe = dataclasses.replace(RECIPE, drops=(), plateau=1, plateau_gain=1.0, plateau_on="validation", eval_every=2)
    points = run(Training(a_cell(recipe), digits), [])
    # nothing gains a whole: the first evaluation ends what was infinite, each later one is a plateau
    assert [point.lr for point in points] == pytest.approx([0.05, 0.05, 0.005, 0.0005, 5e-5, 5e-6])
    first = Training(a_cell(recipe), digits)
    again = [first.advance(2) or first.evaluate(), first.advance(4) or first.evaluate()]
    second = Training(a_cell(recipe), digits)
    second.restore(saved_and_loaded(first))
    assert results(run(second, again)) == results(points)


def test_recomputing_changes_no_bit_of_a_training(digits):
    plain = run(Training(a_cell(), digits), [])
    assert results(run(Training(a_cell(dataclasses.replace(RECIPE, recompute=True)), digits), [])) == results(plain)
    half = dataclasses.replace(RECIPE, precision="bf16")
    plain = run(Training(a_cell(half), digits), [])
    assert results(run(Training(a_cell(dataclasses.replace(half, recompute=True)), digits), [])) == results(plain)


def test_decoding_on_a_gpu_needs_one(album):
    cell = Cell(Arch("imagenet", 18), dataclasses.replace(VIEWS, decoding="gpu"), "digits", 1)
    with pytest.raises(DeviceError, match='decoding = "gpu" needs a CUDA device'):
        Training(cell, album)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fields", [{}, {"recompute": True}, {"norm_batch": 0}], ids=["groups", "recompute", "whole"])
@pytest.mark.parametrize("decoding", ["cpu", "gpu"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpus_graphs_see_the_views_that_launches_one_by_one_do(album, monkeypatch, fields, decoding, precision):
    """Steps in groups and recomputed, evaluations too, replayed while loaders read ahead."""
    recipe = dataclasses.replace(
        VIEWS, iterations=24, eval_every=8, drops=(16,), norm_batch=4, decoding=decoding, precision=precision
    )
    cell = a_cell(dataclasses.replace(recipe, **fields))
    replayed = run(Training(cell, album, "cuda", loading=Loading(loaders=2)), [])
    monkeypatch.setattr(Replay, "_capture", lambda _: None)
    called = run(Training(cell, album, "cuda"), [])
    for mine, other in zip(results(replayed), results(called), strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_on_views_as_the_cpu_does(album):
    cell = a_cell(dataclasses.replace(VIEWS, norm_batch=4))
    (cpu, *_), (gpu, *_) = run(Training(cell, album), []), run(Training(cell, album, "cuda"), [])
    assert gpu.running_loss == pytest.approx(cpu.running_loss, rel=1e-2)
    assert gpu.train_loss == pytest.approx(cpu.train_loss, rel=1e-2)
