"""Summaries: who counts in a mean, who does not, and that hosts are never mixed."""

import dataclasses
from dataclasses import replace

import pytest
from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench import run
from bench.errors import InputError
from bench.store import Store
from bench.summary import summaries


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def record(store, cell, error, host=None, **fields):
    host = host or a_host()
    curve = [] if error is None else a_curve(cell, error)
    store.add_host(host)
    store.commit(cell, a_run(cell, curve, host, **fields), curve)


def test_a_mean_is_over_the_seeds_that_are_done(store):
    cells = [a_cell(seed=seed) for seed in range(5)]
    for cell, error in zip(cells, (0.1, 0.2, 0.6, None), strict=False):
        record(store, cell, error)
    record(store, cells[2], 0.6, outcome=run.DIVERGED)
    ((net,),) = [summary.nets for summary in summaries(cells, store)]
    found = net.estimate("final_train_error")
    assert (found.n, found.mean) == (2, pytest.approx(0.15))
    assert (net.count(run.DIVERGED), net.count(run.FAILED), net.missing) == (1, 1, 1)


def test_hosts_are_never_mixed(store):
    here, there = a_host(), a_host(cpu="Another")
    cells = [a_cell(seed=seed) for seed in range(3)]
    for cell, host, error in zip(cells, (here, there, there), (0.1, 0.5, 0.7), strict=True):
        record(store, cell, error, host)
    first, second = summaries(cells, store)
    assert (first.host, second.host) == (there, here)  # the one with most runs first
    assert first.nets[0].estimate("final_train_error").mean == pytest.approx(0.6)
    assert second.nets[0].estimate("final_train_error").mean == pytest.approx(0.1)
    assert first.nets[0].missing == 1 and set(first.curves["run_id"]) == set(first.runs["run_id"])


def test_only_the_cells_asked_for(store):
    for depth in (8, 20):
        record(store, a_cell(depth), 0.1)
    (found,) = summaries([a_cell(20)], store)
    assert [net.depth for net in found.nets] == [20] and found.runs["cell_id"].tolist() == [a_cell(20).id]


def test_selection_ignores_the_seed(store):
    cells = [a_cell(depth, shortcut) for depth in (8, 20) for shortcut in ("none", "A")]
    for cell in cells:
        record(store, cell, 0.1)
    (found,) = summaries(cells, store)
    assert [net.label for net in found.select({"depth": (20,), "shortcut": ("A",), "seed": (9,)})] == ["ResNet-20-A"]


def test_the_held_out_error_is_the_test_error_without_a_validation_part(store):
    cell = a_cell()
    record(store, cell, 0.1)
    assert summaries([cell], store)[0].held_out == "validation_error"
    curve = [dataclasses.replace(p, validation_error=None) for p in a_curve(cell)]
    store.commit(cell, a_run(cell, curve), curve)
    assert summaries([cell], store)[0].held_out == "test_error"


def test_nothing_recorded_and_unlike_images_are_errors(store):
    with pytest.raises(InputError, match="no run of this study"):
        summaries([a_cell()], store)
    for seed, checksum in enumerate(("aa", "bb")):
        record(store, a_cell(seed=seed), 0.1, data_sha256=checksum * 32)
    with pytest.raises(InputError, match="saw different images"):
        summaries([a_cell(seed=s) for s in range(2)], store)


def test_files_and_arrays_of_one_name_are_not_compared(store):
    """Of a folder read as arrays and as images of any size there are two checksums."""
    files = replace(RECIPE, crop_size=8, scale=(8, 12), crop_padding=0)
    cells = [a_cell(data="folder:x"), a_cell(data="folder:x", recipe=files)]
    for cell, checksum in zip(cells, ("aa", "bb"), strict=True):
        store.commit(cell, a_run(cell, a_curve(cell), data_sha256=checksum * 32), a_curve(cell))
    store.add_host(a_host())
    (summary,) = summaries(cells, store)
    assert len(summary.nets) == 2
    assert store.data_checksums() == {("folder:x", False): {"aa" * 32}, ("folder:x", True): {"bb" * 32}}
    record(store, a_cell(seed=1, data="folder:x", recipe=files), 0.1, data_sha256="cc" * 32)
    with pytest.raises(InputError, match="runs named folder:x saw different images"):
        summaries([*cells, a_cell(seed=1, data="folder:x", recipe=files)], store)


def test_memory_is_the_devices_or_unknown_never_that_of_a_gangs_process(store):
    """Cells of a gang have no peak of their own; the process's resident set would say something else."""
    gpu = a_host(gpu="H200")
    store.add_host(gpu)
    for seed, allocated in ((0, 5 * 10**8), (1, None)):
        cell = a_cell(8, "A", seed)
        run = a_run(cell, a_curve(cell), gpu, device="cuda", peak_allocated_bytes=allocated)
        store.commit(cell, run, a_curve(cell))
    (summary,) = summaries([a_cell(8, "A", seed) for seed in range(2)], store)
    assert summary.nets[0].values("peak_memory_bytes") == {0: 5e8}
