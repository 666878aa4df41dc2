"""The dry run's tables."""

import io
from dataclasses import replace

import pytest
from histories import samples
from rich.console import Console
from synthetic import a_curve, a_host, a_run

from bench import forecast, host, plan, study
from bench.benchmark import benchmarks
from bench.cost import cost_of
from bench.errors import InputError
from bench.history import History
from bench.store import Store

STUDY = """
title = "Planned"
question = "How long?"
[matrix]
data = "cifar10"
depth = [20, 56]
seeds = 3
"""


def _shown(found, store, **options):
    console = Console(file=io.StringIO(), width=160)
    more = {name: options[name] for name in ("machine", "price", "devices") if name in options}
    workers = None if more else 2
    plan.show(found, found.cells, store, "cpu", workers, console, **more)
    return console.file.getvalue()


def test_a_dry_run_shows_costs_without_the_data_and_times_once_there_are_any(study_file, tmp_path):
    found, store = study.load(study_file(STUDY)), Store(tmp_path / "results")
    text = _shown(found, store)
    assert "269,722" in text and "853,018" in text  # the paper's nets, though CIFAR-10 is not here
    assert "6 cells on cifar10, 0 recorded, 6 to run on the CPU, 2 at a time" in text
    assert "expected time: unknown" in text
    assert not store.root.exists()

    here, done = a_host(cpu=host.cpu_model()), found.cells[0]
    curve = a_curve(done)
    store.add_host(here)
    store.commit(done, a_run(done, curve, here), curve)
    text = _shown(found, store)
    seconds = curve[-1].train_seconds + curve[-1].eval_seconds
    assert f"{seconds:.1f}" in text.splitlines()[1] and "~" in text.splitlines()[2]
    assert "6 cells on cifar10, 1 recorded, 5 to run" in text and "such a machine has recorded (~:" in text


IMAGENET = """
title = "Planned"
question = "How long?"
[matrix]
data = "folder:nowhere/imagenet"
family = "imagenet"
depth = 18
shortcut = ["none", "A"]
seeds = 2
[recipe]
base = "imagenet-90"
"""


@pytest.fixture
def timed(study_file, tmp_path, monkeypatch):
    """A study of ImageNet, which is not here, and steps of one of its nets timed on a GPU, which is not here either."""
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "cache"))
    found, store = study.load(study_file(IMAGENET)), Store(tmp_path / "results")
    there = a_host(gpu="NVIDIA H200")
    (step,) = benchmarks(["train"], [replace(found.nets[0], data="noise224")])
    history = History(store.root)
    history.add_host(there)
    history.add(samples([0.125], there, step, images=256))
    return found, store, there


def test_time_gpu_hours_and_money_by_timed_steps(timed):
    found, store, there = timed
    text = _shown(found, store, machine="h200", price=2.5, devices=4)
    assert "folder:nowhere/imagenet is not here: it is taken to have 1,000 classes" in text
    assert "11,515,688" in text and "1,794,805,760" in text  # plain-18 at 224 pixels, 1,000 classes
    # 450,360 steps, and 90 * 100,000 + 46 * 50,000 images at three times the pace of a step
    hours = (450_360 * 0.125 + (90 * 100_000 + 46 * 50_000) / (3 * 256 / 0.125)) / 3600
    assert f"≈{hours:.1f}" in text and "h a cell" in text
    assert "4 to run on NVIDIA H200, 1 at a time, each over 4 devices" in text
    assert f"expected time: {2 * hours / 4:.1f} h, from training steps timed on NVIDIA H200" in text
    assert f"(host {there.id}, n = 3, 2026-01-01)" in text
    assert f"GPU hours: {2 * hours:.1f} in all; at 2.50 an hour {2 * hours * 2.5:.2f}" in text
    assert "not in it: 2 cells of which nothing is measured (ResNet-18-A)" in text
    assert "a third of a step's time an image, for no forward pass was timed (plain-18)" in text
    assert "as if 4 devices were 4 times as fast as one" in text
    assert forecast.remembered(found.cells) == {}  # with its images there, the classes are counted


def test_what_is_not_measured_here_is_unknown(timed):
    text = _shown(*timed[:2])
    assert "expected time: unknown" in text and "GPU hours" not in text


def test_machines_and_prices_that_are_none(timed):
    found, store, _ = timed
    with pytest.raises(
        InputError, match="--machine T4: nothing is recorded of such a device; the tables have NVIDIA H200"
    ):
        _shown(found, store, machine="T4")
    History(store.root).add_host(a_host(gpu="NVIDIA H100"))
    with pytest.raises(InputError, match="--machine nvidia: several devices are named so: NVIDIA H100, NVIDIA H200"):
        _shown(found, store, machine="nvidia")
    with pytest.raises(InputError, match="--price: of a GPU's hour, and these cells would run on the CPU"):
        _shown(found, store, price=2.5)


def test_all_recorded_is_nothing_to_run(study_file, tmp_path):
    found, store = study.load(study_file(STUDY)), Store(tmp_path / "results")
    for cell in found.cells:
        store.commit(cell, a_run(cell, a_curve(cell)), a_curve(cell))
    assert "nothing to run" in _shown(found, store)


def test_a_net_is_shown_group_by_group(capsys):
    arch = study.Cell.from_flat({"data": "cifar10", "depth": 56}).arch
    plan.show_net(arch, 32, 3, cost_of(arch))
    text = capsys.readouterr().out
    assert "ResNet-56-A (cifar family), one image of 3 x 32 x 32" in text
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["stem", "layer1", "layer2", "layer3", "fc", "total"]
    assert "853,018" in text.splitlines()[-1]
