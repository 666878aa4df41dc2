"""Tables: what is written is what is read, by us and by others, and a crash at any point loses nothing recorded."""

import dataclasses
import math
import multiprocessing
import os
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import a_cell, a_curve, a_host, a_run, some_layers

from bench import store as module
from bench.analysis import SlicePoint
from bench.errors import InputError, StoreError
from bench.store import CURVES, RUNS, Store, replacing


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_round_trip_at_full_precision(store):
    cell, host = a_cell(), a_host()
    curve = a_curve(cell, error=1 / 3)
    result = a_run(cell, curve, host)
    store.add_host(host)
    store.commit(cell, result, curve)
    (row,) = store.runs().to_pylist()
    stored = {name: row[name] for name in dataclasses.asdict(result)}
    assert stored == dataclasses.asdict(result)
    assert {name: row[name] for name in cell.flat()} == cell.flat() | {"drops": list(cell.recipe.drops), "scale": []}
    points = store.curves(store.runs()).to_pylist()
    assert [{k: p[k] for k in dataclasses.asdict(curve[0])} for p in points] == [dataclasses.asdict(p) for p in curve]
    assert store.hosts() == {host.id: host}


def test_layers_and_slices_round_trip(store):
    cell = a_cell()
    layers, curve = some_layers(cell), a_curve(cell)
    result = a_run(cell, curve)
    store.commit(cell, result, curve, layers[::-1])
    points = [SlicePoint(1, a, None, 1 / 3, 0.25, 500, 7) for a in (-1.0, 0.0, 1.0)]
    points += [SlicePoint(2, a, b, math.inf, 0.9, 500, 7) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    store.commit_slices(cell.id, result.run_id, points[:2])
    store.commit_slices(cell.id, result.run_id, points[::-1])  # in place of those before
    for table, records in ((store.layers(store.runs()), layers), (store.slices(store.runs()), points)):
        rows = table.to_pylist()
        assert {(row["cell_id"], row["run_id"]) for row in rows} == {(cell.id, result.run_id)}
        stored = [{name: row[name] for name in vars(records[0])} for row in rows]
        assert repr(stored) == repr([vars(record) for record in records])  # in repr, for nan is not itself
    other = a_cell(seed=1)
    store.commit(other, a_run(other, curve), curve)  # without layers
    assert not (store.root / "layers" / f"{other.id}.parquet").exists()
    assert len(store.layers(store.runs([other.id]))) == len(store.slices(store.runs([other.id]))) == 0
    assert len(store.layers(store.runs())) == len(layers)


def test_a_net_is_kept_with_its_run(store):
    cell, curve = a_cell(), a_curve(a_cell())
    result = a_run(cell, curve)
    unclaimed = store.unclaimed_net(cell.id)
    unclaimed.parent.mkdir(parents=True)
    unclaimed.write_text("weights")
    store.commit(cell, result, curve, net=unclaimed)
    assert store.net(cell.id, result.run_id).read_text() == "weights"
    assert not unclaimed.exists()
    with pytest.raises(StoreError, match=f"{result.run_id}.pt"):
        store.keep_net(cell.id, result.run_id, unclaimed)


def test_others_read_it_as_it_is(store):
    for seed in range(3):
        cell = a_cell(seed=seed)
        curve = a_curve(cell)
        store.commit(cell, a_run(cell, curve), curve)
    frame = pd.read_parquet(store.root / "runs")
    assert sorted(frame["seed"]) == [0, 1, 2]
    assert frame["final_train_error"].dtype == "float64"
    runs, curves = (f"'{store.root}/{name}/*.parquet'" for name in ("runs", "curves"))
    joined = duckdb.sql(f"select count(*) from {runs} join {curves} using (cell_id, run_id)").fetchall()
    assert joined == [(3 * len(a_curve(a_cell())),)]


def test_a_later_attempt_replaces_the_row_and_its_curve(store):
    cell = a_cell()
    for error in (0.9, 0.1):
        curve = a_curve(cell, error=error)
        store.commit(cell, a_run(cell, curve), curve)
    assert store.runs()["final_train_error"].to_pylist() == [0.1]
    assert len(list(store.root.glob("curves/*"))) == 1
    assert store.curves(store.runs())["train_error"].to_pylist()[-1] == 0.1


def test_a_later_attempt_removes_every_part_of_the_earlier(store):
    cell = a_cell()
    for _ in range(2):
        curve = a_curve(cell)
        result = a_run(cell, curve)
        store.unclaimed_net(cell.id).parent.mkdir(parents=True, exist_ok=True)
        store.unclaimed_net(cell.id).write_text(result.run_id)
        store.commit(cell, result, curve, some_layers(cell), store.unclaimed_net(cell.id))
        parts = [path.relative_to(store.root) for path in store.root.glob("*/*") if path.parent.name != "runs"]
        assert {part.stem for part in parts} == {f"{cell.id}-{result.run_id}"}
        assert {part.parent.name for part in parts} == {"curves", "layers", "nets"}
        store.commit_slices(cell.id, result.run_id, [SlicePoint(1, 0.0, None, 1.0, 0.5, 10, 0)])


def test_a_file_is_no_results_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(InputError, match=f"--results {path}: is no folder"), Store(path).writing():
        pass
    assert path.read_text() == "mine"


def test_what_a_killed_attempt_left_is_cleared(store):
    cell, other = a_cell(), a_cell(seed=1)
    kept = a_run(cell, a_curve(cell))
    store.commit(cell, kept, a_curve(cell), some_layers(cell))
    store.commit_slices(cell.id, kept.run_id, [SlicePoint(1, 0.0, None, 1.0, 0.5, 10, 0)])
    store.net(cell.id, kept.run_id).parent.mkdir()
    store.net(cell.id, kept.run_id).write_text("weights")
    before = set(store.root.glob("[a-z]*/*"))
    killed = a_run(other, a_curve(other))
    store.commit(other, killed, a_curve(other), some_layers(other))
    store.commit_slices(other.id, killed.run_id, [SlicePoint(1, 0.0, None, 1.0, 0.5, 10, 0)])
    (store.root / "runs" / f"{other.id}.parquet").unlink()  # as if killed before its row
    store.net(other.id, killed.run_id).write_text("weights")
    store.unclaimed_net(other.id).write_text("half")
    with store.writing():
        assert set(store.root.glob("[a-z]*/*")) == before


def test_a_curve_without_its_row_does_not_count_and_is_cleared(store, monkeypatch):
    cell = a_cell()
    curve = a_curve(cell)
    written = []
    real = Store._write
    monkeypatch.setattr(Store, "_write", lambda self, path, *rest: written.append(path) or real(self, path, *rest))
    store.commit(cell, a_run(cell, curve), curve, some_layers(cell))
    assert [path.parent.name for path in written] == ["curves", "layers", "runs"]  # the commit marker comes last
    (store.root / "runs" / f"{cell.id}.parquet").unlink()
    (store.root / "runs" / ".x.parquet.1.tmp").write_text("half")
    assert len(store.runs()) == len(store.curves(store.runs())) == 0
    with store.writing():
        assert not list(store.root.glob("curves/*.parquet"))
        assert not list(store.root.glob("*/.*.tmp"))


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_selection_by_cell(store):
    cells = [a_cell(seed=seed) for seed in range(4)]
    for cell in cells:
        store.commit(cell, a_run(cell, []), [])
    assert sorted(store.runs([cells[1].id, cells[3].id, "unknown"])["seed"].to_pylist()) == [1, 3]
    assert len(store.runs(())) == 0


def test_nothing_there_reads_as_empty(store):
    assert store.runs().schema.equals(RUNS)
    assert len(store.curves(store.runs())) == 0
    assert store.hosts() == {}
    assert not store.root.exists()


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "text"])
def test_a_damaged_file_is_named(store, damage):
    for seed in range(3):
        cell = a_cell(seed=seed)
        store.commit(cell, a_run(cell, []), [])
    victim = sorted(store.root.glob("runs/*.parquet"))[1]
    data = victim.read_bytes()
    spoiled = {"truncate": data[: len(data) // 2], "empty": b"", "flip": data[:-8] + b"\0" * 8, "text": b"hello"}
    victim.write_bytes(spoiled[damage])
    with pytest.raises(StoreError, match=f"{victim.name}: damaged"):
        store.runs()


def test_a_newer_schema_is_refused_and_an_older_one_read(store):
    cell = a_cell()
    store.commit(cell, a_run(cell, []), [])
    (path,) = store.root.glob("runs/*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["sharing"]), path)
    assert store.runs()["sharing"].to_pylist() == [None]
    newer = table.set_column(0, "schema_version", pa.array([module.VERSION + 1]))
    pq.write_table(newer.append_column("unheard_of", pa.array([1])), path)
    with pytest.raises(StoreError, match=r"newer|upgrade"):
        store.runs()


def test_what_another_orchestrator_may_be_writing_is_not_cleared(store):
    half = store.root / "curves" / f".{a_cell().id}.parquet.1.tmp"
    with store.writing():
        half.parent.mkdir()
        half.write_text("half")
        with Store(store.root).writing():
            assert half.exists()
    with store.writing():
        assert not half.exists()


def _hold_and_die(root):
    with Store(root).writing():
        os._exit(9)


def test_a_dead_orchestrator_holds_nothing(store):
    child = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(store.root,))
    child.start()
    child.join()
    assert child.exitcode == 9
    with store.writing():
        pass


def test_what_one_left_that_died_beside_another_is_cleared_by_that_at_its_end(store):
    half = store.root / "curves" / f".{a_cell().id}.parquet.1.tmp"
    with store.writing() as leases:
        child = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(store.root,))
        child.start()
        child.join()
        half.parent.mkdir()
        half.write_text("half")
        leases.take([a_cell().id])
        assert half.exists()
    assert not half.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"), Store(tmp_path / "file" / "in").writing():
        pass
    cell = a_cell()
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file").commit(cell, a_run(cell, []), [])


def test_a_place_that_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    def exists(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.Path, "exists", exists)
    with pytest.raises(StoreError, match="Permission denied"), Store(tmp_path / "x").writing():
        pass


def test_schemas_are_what_version_1_says():
    """A change of a column's name or type needs a new VERSION; a new nullable column does not."""
    assert module.VERSION == 1
    assert str(CURVES.field("train_error").type) == "double"
    assert str(RUNS.field("drops").type) == "list<item: int64>"
    assert str(RUNS.field("started").type) == "timestamp[us, tz=UTC]"
    assert len(RUNS) == len(set(RUNS.names))


def test_times_are_utc(store):
    cell = a_cell()
    run = dataclasses.replace(a_run(cell, []), started=datetime(2015, 12, 10, 12, tzinfo=UTC))
    store.commit(cell, run, [])
    assert store.runs()["started"].to_pylist()[0].isoformat() == "2015-12-10T12:00:00+00:00"


@pytest.mark.parametrize("run_id", ["x/../../..", "../y", "a-b/c", "", "."])
def test_a_row_of_anothers_making_leads_nowhere(store, tmp_path, run_id):
    cell = a_cell()
    with pytest.raises(StoreError, match="not the ids of a run"):
        store.net(cell.id, run_id)
    with pytest.raises(StoreError, match="not the ids of a run"):
        store.commit_slices(cell.id, run_id, [SlicePoint(1, 0.0, None, 1.0, 0.5, 10, 0)])
    assert not list(tmp_path.rglob("*.parquet"))
