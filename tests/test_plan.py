"""The dry run's tables."""

import io

from rich.console import Console
from synthetic import a_curve, a_host, a_run

from bench import host, plan, study
from bench.cost import cost_of
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
    plan.show(found, found.cells, store, options.get("device", "cpu"), options.get("workers", 2), console)
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
