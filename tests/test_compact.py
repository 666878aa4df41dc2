"""Compaction: not one value changes, whoever reads or runs beside it and wherever it is killed."""

import contextlib
import math
import multiprocessing
import random
import shutil
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import a_cell, a_curve, a_host, a_run, some_layers

from bench import cli, compact, index, packed, parts, salvage
from bench.analysis import SlicePoint
from bench.errors import InputError, StoreError
from bench.packed import same_bits
from bench.parted import Parted
from bench.parts import DamagedError
from bench.store import Store

TABLES = ("curves", "layers", "slices", "runs")


def record(store, cell, error=0.25, **fields):
    curve = a_curve(cell, error)
    result = a_run(cell, curve, a_host(), **fields)
    store.commit(cell, result, curve, some_layers(cell))
    points = [SlicePoint(1, a, None, 1 / 3 + cell.seed, 0.5, 10, 0) for a in (-1.0, 0.0)]
    store.commit_slices(cell.id, result.run_id, points)
    return result


def filled(root, seeds):
    store = Store(root)
    store.add_host(a_host())
    for seed in seeds:
        record(store, a_cell(seed=seed), error=1 / (3 + seed))
    return store


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Forty cells that have ended and one that failed, to be copied."""
    store = filled(tmp_path_factory.mktemp("recorded") / "results", range(40))
    failed = a_cell(seed=40)
    store.commit(failed, a_run(failed, []), [])
    return store


@pytest.fixture
def store(recorded, tmp_path):
    shutil.copytree(recorded.root, tmp_path / "results")
    return Store(tmp_path / "results")


@pytest.fixture
def small(monkeypatch):
    """Blocks and packs so small that there are several."""
    monkeypatch.setattr(packed, "BLOCK_ROWS", 10)
    monkeypatch.setattr(compact, "PACK_ROWS", 100)


def tables(store):
    runs = store.runs()
    return {"runs": runs, **{name: getattr(store, name)(runs) for name in TABLES[:3]}}


def assert_same(found, truth):
    for name, table in truth.items():
        assert same_bits(found[name], table), name


def own(store, name):
    return store.table(name).listing()[0]


def test_no_value_changes_and_few_files_are_left(store):
    truth = tables(store)
    outcomes = {outcome.table: outcome for outcome in compact.compact(store)}
    assert outcomes == {name: compact.Outcome(name, 40, 0, 1) for name in TABLES}
    assert_same(tables(store), truth)
    assert own(store, "runs") == {f"{a_cell(seed=40).id}.parquet"}  # it failed: it is run again
    assert not own(store, "curves") | own(store, "layers") | own(store, "slices")
    assert store.recorded() == {a_cell(seed=seed).id for seed in range(41)}
    assert store.damaged() == [] and len(store.data_checksums()) == 1
    some = [a_cell(seed=seed).id for seed in (3, 17, 40)]
    assert same_bits(store.curves(store.runs(some)), Store(store.root).curves(truth["runs"].filter(
        pa.compute.is_in(truth["runs"]["cell_id"], pa.array(some)))))  # fmt: skip
    assert store.runs(some, ["seed"])["seed"].to_pylist() == store.runs(some)["seed"].to_pylist()
    runs, curves = (f"'{store.root}/{name}/*.parquet'" for name in ("runs", "curves"))
    counted = duckdb.sql(f"select count(*) from {runs} join {curves} using (cell_id, run_id)").fetchall()
    assert counted == [(len(truth["curves"]),)]


def test_an_orchestrator_clears_no_pack(store):
    truth = tables(store)
    list(compact.compact(store))
    with store.writing():
        assert_same(tables(store), truth)


@pytest.mark.usefixtures("small")
def test_what_comes_later_counts_before_what_is_packed(store):
    list(compact.compact(store))
    cell = a_cell(seed=3)
    again = record(store, cell, error=0.75)
    record(store, a_cell(seed=41))
    truth = tables(store)
    assert len(truth["runs"]) == 42 and store.runs([cell.id])["run_id"].to_pylist() == [again.run_id]
    for _ in range(2):
        list(compact.compact(store))
        assert_same(tables(store), truth)
    points = [SlicePoint(1, 0.5, None, 7.0, 0.5, 10, 0)]
    store.commit_slices(cell.id, again.run_id, points)
    for _ in range(2):
        assert store.slices(store.runs([cell.id]))["loss"].to_pylist() == [7.0]
        list(compact.compact(store))


@pytest.mark.usefixtures("small")
def test_packs_stay_few(tmp_path):
    """Twenty rounds of two cells: as many packs as powers of two, and full ones."""
    store, seeds = Store(tmp_path / "results"), iter(range(1000))
    store.add_host(a_host())
    for _ in range(20):
        for _ in range(2):
            cell = a_cell(seed=next(seeds))
            store.commit(cell, a_run(cell, a_curve(cell)), a_curve(cell))
        list(compact.compact(store))
    rows = len(store.curves(store.runs()))
    assert rows == 40 * len(a_curve(a_cell()))
    assert len(store.table("curves").listing()[1]) <= 6 + rows / 50
    assert len(store.runs()) == 40
    footers = {path.name for path in store.root.glob(".footers/*")}
    assert footers == {path.name for path in store.root.glob("*/packed-*")}


def test_a_file_with_unknown_columns_is_left(store):
    path = store.root / "curves" / sorted(own(store, "curves"))[5]
    pq.write_table(pq.read_table(path).append_column("later", pa.array([["x"]] * 4)), path)
    content = path.read_bytes()
    outcomes = {outcome.table: outcome for outcome in compact.compact(store)}
    assert outcomes["curves"] == compact.Outcome("curves", 39, 1, 1)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_or_newer_file_is_named_and_all_stays(store, name):
    path = store.root / name / sorted(own(store, name))[5]
    whole = path.read_bytes()
    table = pq.read_table(path)
    path.write_bytes(whole[:-9] + bytes(9))
    before = {path: path.read_bytes() for path in (store.root / name).iterdir()}
    with pytest.raises(DamagedError, match=rf"{path.name}: damaged"):
        list(compact.compact(store))
    pq.write_table(table.set_column(0, "schema_version", pa.array([2] * len(table))), path)
    with pytest.raises(StoreError, match=rf"{path.name}: of schema version 2"):
        list(compact.compact(store))
    path.write_bytes(whole)
    assert {path: path.read_bytes() for path in (store.root / name).iterdir()} == before | {path: whole}


def test_one_at_a_time(store):
    with salvage.packing(store.root), pytest.raises(StoreError, match="another resbench compacts or repairs it"):
        list(compact.compact(store))
    with pytest.raises(InputError, match="no such folder"):
        list(compact.compact(Store(store.root / "none")))


def test_the_command(store, capsys):
    assert cli.main(["compact", "--results", str(store.root)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: 40 files packed; packs: 1" for name in TABLES]
    assert cli.main(["compact", "--results", str(store.root / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_pack_that_reads_otherwise_is_not_kept(store, monkeypatch):
    truth = tables(store)
    real = packed.write

    def lie(path, blocks, schema):
        real(path, [(rows, _changed(table)) for rows, table in blocks], schema)

    monkeypatch.setattr(packed, "write", lie)
    with pytest.raises(StoreError, match="not what was written there, so nothing is removed"):
        list(compact.compact(store))
    assert_same(tables(store), truth)
    assert len(own(store, "curves")) == 40 and not list(store.root.glob("*/packed-*"))


def _changed(table):
    """One value, in its last bit."""
    column = table.schema.get_field_index("train_error")
    first, *others = table["train_error"].to_pylist()
    return table.set_column(column, table.schema.field(column), pa.array([math.nextafter(first, 1.0), *others]))


# Failures and kills.


@contextlib.contextmanager
def failing(monkeypatch, at):
    """The operation on files number `at`, of those that change what is there, fails; yields their count."""
    count = [0]

    def counted(real):
        def operation(*args, **kwargs):
            count[0] += 1
            if count[0] == at:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return operation

    with monkeypatch.context() as patch:
        for name in ("unlink", "rename", "replace", "write_bytes"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        patch.setattr(parts, "sync", counted(parts.sync))
        patch.setattr(packed, "write", counted(packed.write))
        yield count


@pytest.mark.usefixtures("small")
def test_a_failure_at_any_operation_loses_and_doubles_nothing(tmp_path, monkeypatch):
    made = filled(tmp_path / "made", range(4))
    list(compact.compact(made))
    record(made, a_cell(seed=4))
    record(made, a_cell(seed=2), error=0.5)
    truth, at = tables(made), 0
    while True:
        at += 1
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        shutil.copytree(made.root, tmp_path / "results")
        store = Store(tmp_path / "results")
        with failing(monkeypatch, at) as count:
            try:
                list(compact.compact(store))
            except (StoreError, OSError) as error:
                assert "No space left" in str(error)
        assert_same(tables(store), truth)
        if count[0] < at:
            break
        if at % 4 == 0:
            list(compact.compact(store))
            assert_same(tables(store), truth)
            assert not own(store, "runs") | own(store, "curves")
    assert at > 40


def _compact(root, ready):
    ready.set()
    packed.BLOCK_ROWS, compact.PACK_ROWS = 10, 100
    list(compact.compact(Store(root)))


def test_kills_at_random_moments_lose_and_double_nothing(recorded, tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork server would stay, and be that of all later pools
    truth, moments, interrupted = tables(recorded), random.Random(7), 0
    root = tmp_path / "results"
    for _ in range(5):
        if not root.exists() or not own(Store(root), "curves"):
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(recorded.root, root)
        ready = context.Event()
        child = context.Process(target=_compact, args=(root, ready))
        child.start()
        ready.wait()
        time.sleep(moments.uniform(0, 0.6))
        child.kill()
        child.join()
        interrupted += child.exitcode == -9
        assert_same(tables(Store(root)), truth)
    assert interrupted
    list(compact.compact(Store(root)))
    assert_same(tables(Store(root)), truth)
    assert len(own(Store(root), "runs")) == 1


# Others beside it.


def test_a_reader_whose_files_go_reads_the_pack(store, monkeypatch):
    """Between its listing and its reading everything is packed; between the next two, packed again."""
    truth, left = tables(store), [2]
    real = parts.read

    def late(paths, schema, newest):
        if left[0] and paths:
            left[0] -= 1
            monkeypatch.setattr(parts, "read", real)
            record(store, a_cell(seed=50 + left[0]))
            list(compact.compact(store))
            monkeypatch.setattr(parts, "read", late)
        return real(paths, schema, newest)

    monkeypatch.setattr(parts, "read", late)
    found = store.runs([a_cell(seed=seed).id for seed in range(41)])
    assert left[0] < 2
    assert same_bits(found, truth["runs"])


@pytest.mark.parametrize("many", [10, 1000])
def test_a_reader_that_listed_both_pack_and_files_misses_nothing(store, monkeypatch, many):
    """Its listing has the pack already, and files that are gone when it reads: by the copy of many files, or each."""
    monkeypatch.setattr(index, "MANY", many)
    truth = tables(store)
    real, before = Parted.listing, {name: own(store, name) for name in TABLES}
    list(compact.compact(store))

    def early(self):
        files, packs = real(self)
        return files | before.pop(self.name, set()), packs

    monkeypatch.setattr(Parted, "listing", early)
    assert_same(tables(store), truth)
    assert not before


def test_a_listing_that_misses_files_and_their_pack_does_not_count(store, monkeypatch):
    truth = tables(store)
    real, calls = type(store.table("runs")).listing, []

    def torn(self):
        calls.append(self.name)
        if len(calls) == 1:
            names, packs = real(self)
            list(compact.compact(Store(store.root)))
            return set(sorted(names)[:7]), packs  # read slowly: the pack was not there yet, the files no longer
        return real(self)

    monkeypatch.setattr(type(store.table("runs")), "listing", torn)
    assert same_bits(store.runs(), truth["runs"])


@pytest.mark.usefixtures("small")
def test_readers_and_a_writer_beside_it_notice_nothing(store):
    truth, stop, wrong = tables(store), threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                found = tables(Store(store.root))
                ids = truth["runs"]["cell_id"]
                kept = {name: table.filter(pa.compute.is_in(table["cell_id"], ids)) for name, table in found.items()}
                assert_same(kept, truth)
            except BaseException as error:
                wrong.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    with Store(store.root).writing() as leases:
        for seed in range(60, 66):
            with leases.held():
                record(store, a_cell(seed=seed))
            list(compact.compact(store))
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(store.runs()) == 47


def test_what_is_used_just_now_is_left(store):
    busy = a_cell(seed=5)
    with Store(store.root).writing() as leases:
        leases.take([busy.id])
        outcomes = {outcome.table: outcome for outcome in compact.compact(store)}
    assert outcomes["slices"] == compact.Outcome("slices", 39, 1, 1)
    assert {name[:16] for name in own(store, "slices")} == {busy.id}


# Damaged packs.


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("name", TABLES)
def test_of_a_damaged_pack_only_the_damaged_block_is_lost(store, monkeypatch, name):
    monkeypatch.setattr(packed, "BLOCK_ROWS", 10)  # but one pack
    truth = tables(store)
    list(compact.compact(store))
    (path,) = store.root.glob(f"{name}/packed-*")
    with packed.Pack(path) as pack:
        block = pack.blocks[2]
    flip(path, block.start + block.length // 2)
    harmed = path.read_bytes()
    lost = {stem[:16] for stem in block.rows}
    assert [found.path for found in store.damaged()] == [path]
    if name != "runs":
        assert store.damaged({cell_id for cell_id in store.recorded() if cell_id not in lost}) == []
    with pytest.raises(DamagedError, match=rf"{path.name}: damaged \(block"):
        tables(store)
    aside, again = store.set_aside(path)
    assert again == len(lost) and aside.read_bytes() == harmed and store.damaged() == []
    assert store.recorded() == set(truth["runs"]["cell_id"].to_pylist()) - lost and 0 < len(lost) < 40
    kept = {n: t.filter(pa.compute.invert(pa.compute.is_in(t["cell_id"], pa.array(lost)))) for n, t in truth.items()}
    assert_same(tables(store), kept)
    for seed in range(40):
        if a_cell(seed=seed).id in lost:
            record(store, a_cell(seed=seed))
    list(compact.compact(store))
    assert len(store.runs()) == 41 and len(store.curves(store.runs())) == len(truth["curves"])


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_footer_costs_nothing(store, name):
    truth = tables(store)
    list(compact.compact(store))
    (path,) = store.root.glob(f"{name}/packed-*")
    flip(path, path.stat().st_size - 300)
    aside, again = store.set_aside(path)
    assert again == 0 and aside.exists() and store.damaged() == []
    assert_same(tables(store), truth)


@pytest.mark.parametrize("name", ["runs", "curves"])
def test_without_a_footer_the_cells_are_pending(store, name):
    list(compact.compact(store))
    (path,) = store.root.glob(f"{name}/packed-*")
    (store.root / ".footers" / path.name).unlink()
    path.write_bytes(path.read_bytes()[:-1])
    aside = store.set_aside(path)
    assert aside.cells == (40 if name == "curves" else None) and "cannot be told" in f"{aside._replace(cells=None)}"
    assert store.recorded() == {a_cell(seed=40).id}
    assert len(tables(store)["curves"]) == 0
