"""Slices of recorded cells with real children: of kept nets, of nets trained again, and of none that is not done."""

import dataclasses
import os
import signal

import pytest
from synthetic import a_cell as synthetic_cell
from synthetic import a_curve, a_run

from bench import run
from bench.analysis import Slicing
from bench.cell import Arch, Cell, Recipe
from bench.errors import InputError, StoreError
from bench.interruption import Interrupted
from bench.slices import _Job, _Slicer, lowest_seeds, take
from bench.source import Source
from bench.store import Store
from bench.sweep import Options, sweep
from bench.task import Returned

RECIPE = Recipe(iterations=20, batch=32, lr=0.05, drops=(10,), crop_padding=1, eval_every=20, split="holdout")
SOURCES = {"digits": Source("digits")}
CELL = Cell(Arch(depth=8, width=0.25), RECIPE, "digits")
ONE = Slicing(images=1197, steps=3, span=0.5, dimensions=1)  # all training images


class Silent:
    """A watcher that is told and says nothing."""

    def __getattr__(self, _name):
        return lambda *_: None


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "results")
    sweep([CELL], SOURCES, made, Options(keep_nets=True), Silent())
    return made


def centre(store):
    (point,) = (p for p in store.slices(store.runs()).to_pylist() if p["dimensions"] == 1 and p["a"] == 0)
    return point


def test_a_kept_net_is_sliced_and_one_that_was_not_is_trained_again_to_the_same_points(store):
    (row,) = store.runs().to_pylist()
    said = []
    assert take([CELL], SOURCES, store, ONE, said.append) == 0
    assert not any("again" in line for line in said)
    assert f"{CELL.label}: 3 points over 1197 images" in said[-1]
    of_kept = store.slices(store.runs()).to_pylist()
    assert (centre(store)["loss"], centre(store)["error"]) == (row["final_train_loss"], row["final_train_error"])
    net = store.net(row["cell_id"], row["run_id"])
    net.unlink()
    said.clear()
    assert take([CELL], SOURCES, store, ONE, said.append) == 0
    assert "of 1 nets 1 were not kept" in said[0] and any("trained again" in line for line in said)
    assert not any("recorded one" in line for line in said)
    assert store.slices(store.runs()).to_pylist() == of_kept
    assert net.exists() and store.runs().to_pylist() == [row]  # no second row, and the first as it was
    assert not list(store.root.glob("checkpoints/*")) and not list(store.root.glob("logs/????????????????.log"))


def test_a_net_that_trains_to_another_error_is_said(store):
    (row,) = store.runs().to_pylist()
    curve = [dataclasses.replace(point, train_error=0.123) for point in a_curve(CELL)]
    other = a_run(CELL, curve, data_sha256=row["data_sha256"])
    store.commit(CELL, other, curve)  # as recorded on another host
    said = []
    assert take([CELL], SOURCES, store, dataclasses.replace(ONE, dimensions=2, images=50), said.append) == 0
    assert any("the recorded one 12.30%" in line for line in said)
    assert "3 x 3 points over 50 images" in said[-1]
    assert len(store.slices(store.runs())) == 9 + 3


def test_a_net_that_is_damaged_fails_alone_and_is_named(store):
    (row,) = store.runs().to_pylist()
    net = store.net(row["cell_id"], row["run_id"])
    net.write_text("no net")
    said = []
    assert take([CELL], SOURCES, store, ONE, said.append) == 1
    assert net.name in said[-1] and "remove it to train again" in said[-1]
    assert len(store.slices(store.runs())) == 0


def test_cells_that_are_not_done_are_refused(tmp_path):
    store = Store(tmp_path / "results")
    cell = synthetic_cell()
    with pytest.raises(InputError, match="plain-8, seed 0 is not recorded"):
        take([cell], SOURCES, store, ONE, print)
    store.commit(cell, a_run(cell, a_curve(cell), outcome=run.DIVERGED), [])
    with pytest.raises(InputError, match="plain-8, seed 0 is diverged"):
        take([cell], SOURCES, store, ONE, print)
    assert not store.root.joinpath(".lock").exists()


def test_a_cell_that_another_works_on_is_refused(store):
    with store.writing() as leases, pytest.raises(StoreError, match="another resbench works on"):
        leases.take([CELL.id])
        take([CELL], SOURCES, Store(store.root), ONE, print)


def test_an_interrupt_stops_at_once_and_what_was_trained_is_kept(store):
    (row,) = store.runs().to_pylist()
    store.net(row["cell_id"], row["run_id"]).unlink()

    def interrupt(text):
        if "trained again," in text:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="SIGINT"):
        take([CELL], SOURCES, store, ONE, interrupt)
    said = []
    assert take([CELL], SOURCES, store, ONE, said.append) == 0
    assert not any("again" in line for line in said)


def test_a_stopped_child_is_a_failure(store):
    """Someone else's SIGTERM: the child saves its state and answers with nothing."""
    slicer = _Slicer([CELL], {CELL.id: store.runs().to_pylist()[0]}, SOURCES, store, ONE, print, "cpu", 1)
    slicer._under_way[CELL.id] = _Job(CELL, slicer._free[0], 0.0, True, 0.0)
    slicer._handle(Returned(CELL.id, {"points": None}))
    assert slicer._failed == 1 and not slicer._under_way


def test_lowest_seeds():
    cells = [synthetic_cell(depth, seed=seed) for seed in (2, 1, 3) for depth in (8, 14)]
    assert {(cell.arch.depth, cell.seed) for cell in lowest_seeds(cells)} == {(8, 1), (14, 1)}
    assert len(lowest_seeds(cells)) == 2
