"""Damaged files: each is found and named, and set aside with its run, and nothing else is."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import a_cell, a_curve, a_host, a_run, some_layers

from bench import store as module
from bench.analysis import SlicePoint
from bench.errors import StoreError
from bench.parts import DamagedError
from bench.store import Store

TABLES = ("curves", "layers", "runs", "slices")


@pytest.fixture
def cells():
    return [a_cell(seed=seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path, cells):
    store = Store(tmp_path / "results")
    store.add_host(a_host())
    for cell in cells:
        record(store, cell)
    return store


def record(store, cell):
    result = a_run(cell, a_curve(cell))
    store.commit(cell, result, a_curve(cell), some_layers(cell))
    store.commit_slices(cell.id, result.run_id, [SlicePoint(1, 0.0, None, 1.0, 0.5, 10, 0)])
    store.net(cell.id, result.run_id).parent.mkdir(exist_ok=True)
    store.net(cell.id, result.run_id).write_text(cell.id)


def flip(path, bit=None):
    content = bytearray(path.read_bytes())
    bit = random.Random(path.name).randrange(8 * len(content)) if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return bytes(content)


def of(store, name, cell):
    (path,) = (store.root / name).glob(f"{cell.id}*")
    return path


def files(store):
    found = {path.relative_to(store.root): path for path in store.root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name.parts[0] != ".packing.lock"}


def test_a_whole_folder_has_none(store, cells):
    assert store.damaged() == store.damaged({cells[0].id}) == Store(store.root / "none").damaged() == []
    for path in store.root.glob("*/*.parquet"):
        assert store.set_aside(path) is None
    assert store.set_aside(store.root / "runs" / "gone.parquet") is None
    assert not (store.root / "damaged").exists()


@pytest.mark.parametrize("name", TABLES)
def test_what_is_damaged_is_named_and_set_aside_with_its_run_alone(store, cells, name):
    before = files(store)
    victim = of(store, name, cells[1])
    harmed = flip(victim)
    (found,) = store.damaged()
    assert found.path == victim
    reads = {"runs": store.runs}.get(name, lambda: getattr(store, name)(store.runs()))
    with pytest.raises(DamagedError, match=rf"{victim.name}: damaged .*resbench run STUDY.*doctor --fix"):
        reads()
    aside, again = store.set_aside(found.path)
    assert again == 1
    assert aside.read_bytes() == harmed and aside.name == victim.name
    lost = {path for path in before if cells[1].id in path.name}
    assert len(lost) == len(TABLES) + 1
    kept = {path: content for path, content in before.items() if path not in lost}
    moved = {aside.parent.parent.relative_to(store.root) / path: before[path] for path in lost}
    assert files(store) == kept | moved | {aside.relative_to(store.root): harmed}
    assert store.damaged() == []
    assert store.recorded() == {cells[0].id, cells[2].id}
    reads()
    record(store, cells[1])
    flip(of(store, name, cells[1]))
    again, _ = store.set_aside(of(store, name, cells[1]))  # what was set aside before stays
    assert aside.read_bytes() == harmed and again != aside


def test_a_curve_that_is_gone_is_missed_and_its_run_can_be_withdrawn(store, cells):
    gone = of(store, "curves", cells[1])
    assert store.lacking() == {}
    gone.unlink()
    assert store.lacking() == store.lacking({cells[1].id}) == {cells[1].id: gone}
    assert store.lacking({cells[0].id}) == {}
    with pytest.raises(StoreError, match=rf"{gone.name}: missing, though a row is there; `resbench run STUDY`"):
        store.curves(store.runs())
    assert len(store.curves(store.runs({cells[0].id})))
    assert store.withdraw({cell.id for cell in cells}) == ([gone], store.root / "damaged" / "1")
    assert store.withdraw({cells[1].id})[0] == []  # run again, or withdrawn by another
    assert store.lacking() == {} and store.recorded() == {cells[0].id, cells[2].id}
    store.curves(store.runs())


def test_of_many_one_is_named_and_all_are_withdrawn_at_once(store, cells):
    for cell in cells[:2]:
        of(store, "curves", cell).unlink()
    with pytest.raises(StoreError, match=r"parquet and 1 more: missing"):
        store.curves(store.runs())
    gone, where = store.withdraw({cell.id for cell in cells})
    assert len(gone) == 2 and len(list(where.glob("runs/*"))) == 2
    assert store.recorded() == {cells[2].id} and store.lacking() == {}


def test_a_reader_whose_rows_are_replaced_meanwhile_is_told_to_try_again(store, cells):
    rows = store.runs()
    of(store, "curves", cells[1]).unlink()
    store.withdraw({cells[1].id})
    with pytest.raises(StoreError, match="changed while it was read; try again"):
        store.curves(rows)


def test_a_diverged_cell_needs_its_curve(store):
    cell = a_cell(seed=9)
    store.commit(cell, a_run(cell, a_curve(cell), outcome="diverged"), a_curve(cell))
    assert store.lacking() == {}
    of(store, "curves", cell).unlink()
    assert store.lacking().keys() == {cell.id}


def test_a_cell_that_failed_needs_no_curve(store):
    cell = a_cell(seed=9)
    store.commit(cell, a_run(cell, [], outcome="failed", error="it did"), [])
    assert store.lacking() == {}
    store.curves(store.runs())


def test_parts_are_looked_at_of_the_cells_asked_for_and_rows_of_all(store, cells):
    for name in TABLES:
        flip(of(store, name, cells[0]))
    assert {found.path.parent.name for found in store.damaged({cells[0].id})} == set(TABLES)
    assert {found.path.parent.name for found in store.damaged({cells[1].id})} == {"runs"}


def test_a_damaged_machine_is_set_aside_alone(store, cells):
    flip(store.root / "hosts" / f"{a_host().id}.parquet")
    (found,) = store.damaged({cells[0].id})
    store.set_aside(found.path)
    assert store.hosts() == {} and len(store.recorded()) == 3
    store.add_host(a_host())
    assert store.hosts() == {a_host().id: a_host()}


def test_the_history_is_looked_at_where_all_is(store, cells):
    (store.root / "samples").mkdir()
    (store.root / "samples" / "x.parquet").write_text("hello")
    assert store.damaged({cells[0].id}) == []
    (found,) = store.damaged()
    store.set_aside(found.path)
    assert store.damaged() == [] and len(store.recorded()) == 3


def test_no_part_is_cleared_while_a_row_is_damaged(store, cells):
    flip(of(store, "runs", cells[1]))
    before = files(store)
    with store.writing():
        after = files(store)
        assert {path for path in after if path.parts[0][0] != "."} == set(before)


@pytest.mark.parametrize("name", [*TABLES, "hosts"])
def test_one_file_of_a_newer_version_is_named_and_never_set_aside(store, cells, name):
    path = of(store, name, cells[1]) if name != "hosts" else next(store.root.glob("hosts/*"))
    table = pq.read_table(path)
    others = ["schema_version", "cell_id", "run_id", "host_id"]
    changed = pa.table({n: table[n] if n in others else pa.array([["x"]] * len(table)) for n in table.schema.names})
    newer = changed.set_column(0, "schema_version", pa.array([module.VERSION + 1] * len(table)))
    pq.write_table(newer, path)
    assert store.damaged() == []
    reads = {"runs": store.runs, "hosts": store.hosts}.get(name, lambda: getattr(store, name)(store.runs()))
    with pytest.raises(StoreError, match=rf"{path.name}: of schema version 2, and this resbench reads up to 1"):
        reads()
    content = path.read_bytes()
    if name == "runs":
        with pytest.raises(StoreError, match="of schema version 2"), store.writing():
            pass
        with pytest.raises(StoreError, match="of schema version 2"):
            store.commit(cells[1], a_run(cells[1], []), [])
    assert path.read_bytes() == content


def test_a_damaged_row_is_not_lost_when_it_is_replaced(store, cells):
    harmed = flip(of(store, "runs", cells[1]))
    store.commit(cells[1], a_run(cells[1], a_curve(cells[1])), a_curve(cells[1]))
    assert len(store.runs()) == 3
    (aside,) = store.root.glob("damaged/*/runs/*")
    assert aside.read_bytes() == harmed


def test_a_file_that_may_not_be_read_is_not_damaged(store, cells):
    path = of(store, "curves", cells[1])
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=rf"{path.name}: Is a directory"):
        store.damaged()
