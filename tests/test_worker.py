"""The child's side of a cell: what it sends and saves. (How children die and resume: test_sweep.)"""

import contextlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from albums import folder
from children import Caller
from conftest import ROOT
from limits import no_file_larger_than
from synthetic import RECIPE, a_cell

from bench import child, feed, worker
from bench.analysis import SlicePoint
from bench.cell import Arch, Cell, Recipe
from bench.dataset import Dataset
from bench.errors import DataError, StoreError
from bench.evaluation import Evaluation
from bench.run import TESTS

POINT = Evaluation(
    *(20_000, 1.0, 0.1, 0.5, 1.0, 0.5, 1.0, None, None, 0.5, 1.0, 1.0, 1.0, 1.0), None, None, peak_rss_bytes=1
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("torch_settings")


@pytest.fixture
def job(tmp_path):
    cell = a_cell(recipe=RECIPE)
    return {
        "cell": cell.flat(),
        "source": "digits",
        "device": "cpu",
        "threads": 1,
        "checkpoint": str(tmp_path / "checkpoint.pt"),
        "checkpoint_seconds": 1000.0,
        "data_sha256": None,
        "analysis": True,
        "net": None,
    }


def test_every_evaluation_is_sent_and_returned(job):
    caller = Caller()
    answer = worker.run_cell(job, caller)
    assert caller.sent == answer["curve"]
    assert [Evaluation(**point).iteration for point in answer["curve"]] == [25, 50, 75, 100]
    assert 1e8 < answer["base_rss_bytes"] <= answer["curve"][0]["peak_rss_bytes"]


def test_asked_to_stop_it_saves_and_returns_nothing_and_goes_on_later(job, tmp_path):
    first = Caller(looks=6)
    assert worker.run_cell(job, first) == {"curve": None}
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < state["counters"]["iteration"] < 100
    second = Caller()
    curve = worker.run_cell(job, second)["curve"]
    assert second.sent[: len(first.sent)] == first.sent  # what was measured before is not measured again
    assert len(curve) == 4


@pytest.mark.parametrize(("asked", "expected"), [(10.0, 100.0), (300.0, 300.0), (0.0, 0.0)])
def test_checkpoints_are_the_further_apart_the_longer_they_take(job, monkeypatch, asked, expected):
    """By a scripted clock, on which a step takes 0.1 s and a checkpoint 2: then 100 s, or what is asked for if more."""
    now, saved = [0.0], []

    def advance(training, stop):
        now[0] += 0.1 * (stop - training.iteration)
        training.iteration = stop

    def save(training, *_):
        saved.append((training.iteration, now[0]))
        now[0] += 2.0

    cell = a_cell(recipe=replace(RECIPE, iterations=20_000, eval_every=20_000, drops=()))
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker.Training, "advance", advance)
    monkeypatch.setattr(worker, "_save", save)
    monkeypatch.setattr(worker.Training, "evaluate", lambda training: setattr(training, "_evaluated", 20_000) or POINT)
    worker.run_cell(job | {"cell": cell.flat(), "checkpoint_seconds": asked}, Caller())
    times = [at for _, at in saved[:-1]]  # the last is at the end
    apart = [later - earlier - 2.0 for earlier, later in pairwise(times)]
    assert len(apart) >= 5 and times[0] == pytest.approx(asked, abs=0.5)
    assert all(expected - 1e-6 <= gap < expected + 0.5 for gap in apart)
    if asked == 10.0:
        assert 2.0 * len(saved) / now[0] < 0.025


def test_a_finished_cell_whose_parent_died_is_not_trained_again(job, monkeypatch):
    curve = worker.run_cell(job, Caller())["curve"]
    monkeypatch.setattr(worker.Training, "_step", None)
    assert worker.run_cell(job, Caller())["curve"] == curve


@pytest.mark.parametrize("kind", ["checkpoint", "net"])
def test_what_cannot_be_written_is_named(job, tmp_path, kind):
    (tmp_path / "file").write_text("")
    job[kind] = str(tmp_path / "file" / "x.pt")
    with pytest.raises(StoreError, match=r"file/x\.pt: (Not a directory|File exists)"):
        worker.run_cell(job, Caller())


def test_a_lost_device_is_no_full_disk(job, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="CUDA error") as raised:
        worker.run_cell(job, Caller())
    assert type(raised.value) is RuntimeError


@pytest.mark.parametrize("kind", ["checkpoint", "net"])
def test_a_disk_that_fills_while_tensors_are_written_is_told_as_that(job, kind, monkeypatch):
    save = torch.save

    def fill(content, file):
        with no_file_larger_than(1000) if "x.pt" in file.name else contextlib.nullcontext():
            save(content, file)

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(StoreError, match=r"x\.pt: File too large$"):
        worker.run_cell(job | {kind: str(Path(job["checkpoint"]).with_name("x.pt"))}, Caller())


def test_images_that_changed_since_are_refused(job):
    with pytest.raises(DataError, match="rename the folder"):
        worker.run_cell(job | {"data_sha256": "ab" * 32}, Caller())


def test_layers_are_returned_and_the_same_after_a_stop(job):
    layers = worker.run_cell(job, Caller())["layers"]
    assert layers["names"][:2] == ["conv1", "layer1.0.conv1"] and len(layers["names"]) == 7
    assert [reading["iteration"] for reading in layers["readings"]] == [0, 25, 50, 75, 100]
    resumed = job | {"checkpoint": job["checkpoint"] + "2"}
    stops = 0
    while (answer := worker.run_cell(resumed, Caller(looks=5)))["curve"] is None:
        stops += 1
    assert stops >= 1 and answer["layers"] == layers
    assert worker.run_cell(resumed | {"analysis": False}, Caller())["layers"] is None


def test_a_checkpoint_of_an_older_resbench_is_resumed(job, tmp_path):
    assert worker.run_cell(job | {"analysis": False}, Caller(looks=6)) == {"curve": None}
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["probe"]
    torch.save(state, path)
    answer = worker.run_cell(job, Caller())
    assert [point["iteration"] for point in answer["curve"]] == [25, 50, 75, 100]
    assert answer["layers"]["readings"][-1]["iteration"] == 100
    assert not list(tmp_path.glob("*.damaged"))


NO_ROOM = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


def _without_room(monkeypatch, error):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", load)


@pytest.mark.parametrize("error", NO_ROOM)
def test_no_room_for_a_checkpoint_says_nothing_of_the_file(job, tmp_path, monkeypatch, error):
    assert worker.run_cell(job, Caller(looks=6)) == {"curve": None}
    with monkeypatch.context() as patch:
        _without_room(patch, error)
        with pytest.raises(type(error)):
            worker.run_cell(job, Caller())
    assert not list(tmp_path.glob("*.damaged"))
    assert [point["iteration"] for point in worker.run_cell(job, Caller())["curve"]] == [25, 50, 75, 100]


@pytest.mark.parametrize("error", NO_ROOM)
def test_no_room_for_a_net_says_nothing_of_the_file(kept, monkeypatch, error):
    _without_room(monkeypatch, error)
    with pytest.raises(type(error)):
        worker.take_slices(kept[0], Caller())


@pytest.fixture
def kept(job, tmp_path):
    """A job for slices of a net that was trained and kept."""
    net = tmp_path / "nets" / "net.pt"
    answer = worker.run_cell(job | {"net": str(net)}, Caller())
    slicing = {"images": 1197, "steps": 3, "span": 0.5, "direction_seed": 1, "dimensions": 1}
    return job | {"net": str(net), "slicing": slicing}, answer["curve"][-1]


def test_a_kept_net_is_the_trained_one(kept):
    job, last = kept
    saved = torch.load(job["net"], weights_only=True)
    assert saved["cell_id"] == Cell.from_flat(job["cell"]).id
    assert "layer1.0.bn1.running_var" in saved["net"]
    caller = Caller()
    points = [SlicePoint(**point) for point in worker.take_slices(job, caller)["points"]]
    assert [(point.dimensions, point.a, point.b) for point in points] == [
        (1, -0.5, None),
        (1, 0.0, None),
        (1, 0.5, None),
    ]
    assert (points[1].loss, points[1].error) == (last["train_loss"], last["train_error"])  # all 1,197 training images
    assert points[0].loss > points[1].loss < points[2].loss
    assert caller.sent == [1, 2, 3]
    assert worker.take_slices(job, Caller(looks=1)) == {"points": None}


@pytest.mark.parametrize("spoil", ["text", "absent", "other"])
def test_a_net_that_is_not_the_cells_is_named(kept, spoil):
    job, _ = kept
    path = Path(job["net"])
    if spoil == "text":
        path.write_text("no net")
    elif spoil == "absent":
        path.unlink()
    else:
        torch.save(torch.load(path, weights_only=True) | {"cell_id": "0123456789abcdef"}, path)
    with pytest.raises(DataError, match=f"{path.name}: not the net of plain-8, seed 0") as raised:
        worker.take_slices(job, Caller())
    assert "\n" not in str(raised.value)


def tiny(cell):
    """Random 8x8 images in place of a data set: nets of a thousand layers look at few."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8), np.arange(24) % 10
    names = tuple(map(str, range(10)))
    return Dataset(cell.data, images[:16], labels[:16], images[16:], labels[16:], names, "ab" * 32)


def test_resnet_1202_takes_the_real_path(job, monkeypatch):
    """Section 4.2's deepest net, of full width, through the worker: steps, an evaluation, and all its layers."""
    recipe = Recipe(iterations=2, batch=4, drops=(), crop_padding=1, eval_every=2)
    cell = Cell(Arch(depth=1202), recipe, "cifar10")
    monkeypatch.setattr(feed.dataset, "load", lambda _source: tiny(cell))
    answer = worker.run_cell(job | {"cell": cell.flat(), "source": "cifar10"}, Caller())
    (point,) = answer["curve"]
    assert point["iteration"] == 2
    assert math.isfinite(point["train_loss"]) or Evaluation(**point).diverged
    names, (initial, last) = answer["layers"]["names"], answer["layers"]["readings"]
    assert len(names) == len(last["response_std"]) == len(last["gradient_norm"]) == 1201
    assert names[-1] == "layer3.199.conv2"
    assert initial["response_std"] is None and all(norm > 0 for norm in initial["gradient_norm"])


def test_resnet_110_takes_the_papers_warm_up(job):
    """Section 4.2: at 0.01 until the training error is below 80 %, then at 0.1, through the worker."""
    recipe = Recipe(
        iterations=102, batch=16, drops=(), warmup="paper", crop_padding=0, flip=False, eval_every=51, split="holdout"
    )
    cell = Cell(Arch(depth=110, width=0.25), recipe, "digits")
    curve = worker.run_cell(job | {"cell": cell.flat()}, Caller())["curve"]
    assert [(point["iteration"], point["lr"]) for point in curve] == [(51, 0.01), (102, 0.1)]
    assert curve[0]["running_error"] > curve[1]["running_error"]


TEMPLATE = """
import os
import torch
def refuse(*_):
    raise RuntimeError("a CUDA call in the template")
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, refuse)
import bench.worker
print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized())
"""


def test_the_template_starts_no_thread_and_touches_no_device():
    """It is forked for each cell, and neither a thread nor a CUDA context survives that."""
    environment = os.environ | child.TEMPLATE
    answer = subprocess.run(
        [sys.executable, "-c", TEMPLATE], check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert answer.stdout.split() == ["1", "False"]


# ---- images of any size ----


@pytest.fixture
def streamed(job, tmp_path, monkeypatch):
    """A cell of a net of bottlenecks on photographs of two brightnesses."""
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    recipe = Recipe(
        iterations=12, drops=(), eval_every=6, batch=5, crop_size=32, scale=(36, 48), crop_padding=0, last_batch="drop"
    )
    source = f"folder:{folder(tmp_path / 'photographs')}"
    cell = Cell(Arch("imagenet", 50, "B", width=1 / 16), recipe, source, 0)
    return job | {"cell": cell.flat(), "source": source, "loading": {"loaders": 0, "bad_images": "skip"}}


def test_the_last_net_is_tested_in_every_way(streamed):
    answer = worker.run_cell(streamed | {"loading": {"loaders": 1, "bad_images": "fail"}}, Caller())
    assert answer["tests"].keys() == set(TESTS) and answer["tests"]["top5_error"] == 0.0  # of two classes
    assert all(0 <= error <= 1 for error in answer["tests"].values())
    assert answer["loading"]["loaders"] == 1 and answer["loading"]["bad_images"] == 0
    assert 0 < answer["loading"]["data_seconds"] < answer["curve"][-1]["train_seconds"]


def test_stopped_while_testing_it_tests_again(streamed):
    whole = worker.run_cell(streamed | {"checkpoint": streamed["checkpoint"] + "-other"}, Caller())
    looks = 0
    while (answer := worker.run_cell(streamed, Caller(looks)))["curve"] is None:  # stopped at every place there is
        looks = 2 * looks + 1
    assert answer["tests"] == whole["tests"] and looks
    keys = ("iteration", "train_error", "train_loss", "test_loss")
    assert [[p[k] for k in keys] for p in answer["curve"]] == [[p[k] for k in keys] for p in whole["curve"]]


def test_bad_images_are_told_of_once(streamed, tmp_path):
    bad = next((tmp_path / "photographs/train").glob("*/*3.JPEG"))
    bad.write_bytes(bad.read_bytes()[:200])
    caller = Caller()
    answer = worker.run_cell(streamed, caller)
    said = [message["said"] for message in caller.sent if "said" in message]
    assert len(said) == 1 and f"{bad} is skipped, for it cannot be decoded" in said[0]
    assert answer["loading"]["bad_images"] == 1
    with pytest.raises(DataError, match=f"{bad.name}: cannot be decoded"):
        worker.run_cell(streamed | {"checkpoint": "none", "loading": {"loaders": 0, "bad_images": "fail"}}, Caller())
