"""Sweeps on an engine: rows say where a cell ran, and what a driver that died left is taken in. The engine is this
process, which carries out one order after another."""

import dataclasses
from datetime import UTC, datetime

import pytest
from synthetic import a_host
from test_sweep import SOURCES, Recorder, a_cell, run

from bench import engines, remote, shared
from bench import sweep as module
from bench.answer import Answer
from bench.errors import StoreError
from bench.kept import Kept, event
from bench.remote import Storage
from bench.shared import Shared
from bench.slots import Slot
from bench.store import Store
from bench.sweep import Options, sweep
from bench.task import Sent
from bench.where import Where

FAR = a_host(cpu="Far CPU", torch="2.99.0")
THERE = {"commit": "f" * 40, "dirty": True, "numpy_version": "9.9"}


class Here:
    """An engine that carries out each order when it is next looked at."""

    label = "an engine of the test"

    def __init__(self, folder):
        self.kept = Kept(Shared(str(folder)))
        self.slots = [Slot("cpu")] * 2
        self.orders, self.started, self.devices = {}, [], 1

    def __len__(self):
        return len(self.orders)

    def start(self, task):
        self.started.append(task.key)
        storage = Storage(self.kept.storage.where)
        self.orders[task.key] = (remote.order(task, storage, "cpu", self.devices), task.payload["data_sha256"])

    def wait(self, _seconds):
        events = []
        for key, (order, _) in self.orders.items():
            told = []
            answer = remote.carry_out(order, told.append, lambda: False)
            place = answer.place and dataclasses.replace(
                answer.place, host=FAR, provenance=dataclasses.replace(answer.place.provenance, **THERE),
                started=datetime(2026, 1, 1, tzinfo=UTC), seconds=7.5,
            )  # fmt: skip
            events += [Sent(key, each["sent"]) for each in told if "sent" in each]
            events.append(event(key, dataclasses.replace(answer, place=place)))
        self.orders = {}
        return events

    def stop(self):
        return []


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def engine(monkeypatch, tmp_path):
    made = Here(tmp_path / "shared")
    monkeypatch.setattr(engines, "start", lambda *_: made)
    return made


def checksum(store):
    return store.runs()["data_sha256"][0].as_py()


def test_a_row_tells_of_the_machine_that_ran_the_cell_not_of_the_drivers(store, engine):
    outcomes, watcher = run([a_cell(), a_cell(14)], store, entry="children:trouble_by_depth", retries=0)
    assert outcomes == {"done": 1, "failed": 1}
    assert watcher.begun[2] == "an engine of the test, 2 at a time"
    assert list(store.hosts()) == [FAR.id]
    for row in store.runs().to_pylist():
        assert row["host_id"] == FAR.id and row["wall_seconds"] == 7.5
        assert {name: row[name] for name in THERE} == THERE
        assert row["started"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert len(store.curves(store.runs())) == 4 and len(store.layers(store.runs())) > 0
    assert list(engine.kept.storage.folder.glob("answers/*")) == []  # recorded
    assert list(engine.kept.storage.folder.glob("checkpoints/*")) == []


def test_what_a_driver_that_died_left_is_taken_in_and_not_run_again(tmp_path, store, engine):
    cells = [a_cell(seed=seed) for seed in range(4)]
    first = Store(tmp_path / "first")
    run(cells[:1], first)
    commit, module.Store.commit = module.Store.commit, _die
    try:
        with pytest.raises(StoreError, match="killed"):
            run(cells[:3], store)
    finally:
        module.Store.commit = commit
    left = {path.name.partition(".")[0] for path in engine.kept.storage.folder.glob("answers/*.json.gz")}
    assert len(left) == 2 and len(store.runs()) == 0
    engine.started.clear()
    outcomes, watcher = run(cells, store)
    assert outcomes == {"done": 4} and len(watcher.ends) == 4
    assert set(engine.started) == {cell.id for cell in cells} - left
    assert list(engine.kept.storage.folder.glob("answers/*")) == []
    assert {row["attempts"] for row in store.runs().to_pylist()} == {1}


def _die(*_args, **_kwargs):
    raise StoreError("killed here, in the test")


@pytest.mark.parametrize("wrong,said", [
    (lambda answer: answer.packed()[:-5], "damaged"),
    (lambda answer: dataclasses.replace(answer, data_sha256="0" * 64).packed(), "of other data (checksum 000000000000"),
    (lambda answer: dataclasses.replace(answer, cell_id="0" * 16).packed(), "of cell 0000000000000000"),
])  # fmt: skip
def test_what_is_left_and_not_this_cells_is_told_and_the_cell_is_run(store, engine, wrong, said):
    cell = a_cell()
    run([a_cell(seed=9)], store)
    engine.started.clear()
    answer = Answer(cell.id, checksum(store), value={"curve": []})
    engine.kept.storage.write(shared.answer(cell.id), wrong(answer))
    outcomes, watcher = run([cell], store)
    assert outcomes == {"done": 1} and engine.started == [cell.id]
    assert any(said in note and "it is run again" in note for note in watcher.notes)


def test_a_cell_that_died_there_is_tried_again(store, engine):
    outcomes, watcher = run([a_cell(20)], store, entry="children:trouble_by_depth", retries=2)
    assert outcomes == {"failed": 1} and len(engine.started) == 3
    assert sum("killed by SIGKILL; trying again" in note for note in watcher.notes) == 2
    assert store.runs()["attempts"].to_pylist() == [3]


def test_a_net_is_brought_and_kept(store, engine):
    run([a_cell()], store, keep_nets=True)
    (row,) = store.runs().to_pylist()
    assert store.net(row["cell_id"], row["run_id"]).stat().st_size > 1000
    assert list(engine.kept.storage.folder.glob("answers/*")) == []


def test_a_cell_over_several_processes_runs_within_one_task(store, engine):
    engine.slots, engine.devices = [Slot("cpu", devices=2)], 2
    outcomes, _ = run([a_cell()], store, devices=2)
    assert outcomes == {"done": 1} and store.runs()["devices"].to_pylist() == [2] and len(engine.started) == 1


def test_here_there_is_no_engine(store):
    watcher = Recorder()
    assert sweep([a_cell()], SOURCES, store, Options(where=Where("local")), watcher) == {"done": 1}
    assert not (store.root / engines.SHARED).exists()
