"""What one of two orchestrators hears of the other's cells."""

import pytest
from synthetic import a_cell, a_curve, a_run

from bench import elsewhere as module
from bench import run
from bench.elsewhere import Elsewhere
from bench.leases import Leases
from bench.store import Store

ONE, TWO, THREE = (a_cell(seed=seed) for seed in range(3))


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "results"
    root.mkdir()
    return Store(root)


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


def record(store, cell, **columns):
    store.commit(cell, a_run(cell, a_curve(cell), **columns), a_curve(cell))


@pytest.mark.usefixtures("no_pause")
def test_cells_of_another_are_waited_for_and_heard_of(store):
    mine, other = Leases(store.root), Leases(store.root)
    said = []
    with other.owned(), mine.owned():
        other.take([ONE.id, TWO.id])
        elsewhere = Elsewhere(store, mine, {}, said.append)
        assert elsewhere.claim([ONE, TWO, THREE]) == [THREE]
        assert len(elsewhere) == 2
        assert elsewhere.look() == ([], [])
        assert said[0].startswith("2 cells are run by another resbench (process")
        record(store, ONE)
        assert elsewhere.look() == ([(ONE, "done")], [])
        other.release([TWO.id])
        assert elsewhere.look() == ([], [])  # let go of in memory alone
        other.take([THREE.id[::-1]])
        assert elsewhere.look() == ([], [TWO])
        assert not elsewhere
        assert len(said) == 1


def test_what_ended_since_the_sweep_began_is_not_run_again(store):
    mine, other = Leases(store.root), Leases(store.root)
    with mine.owned():
        record(store, TWO, outcome=run.FAILED, attempts=2)
        record(store, THREE, outcome=run.FAILED, attempts=2)
        elsewhere = Elsewhere(store, mine, {TWO.id: 2, THREE.id: 2}, print)
        with other.owned():
            record(store, ONE)
            record(store, THREE, outcome=run.FAILED, attempts=4)
        assert elsewhere.claim([ONE, TWO, THREE]) == [TWO]  # the failed one that nobody tried meanwhile
        assert elsewhere.look() == ([(ONE, "done"), (THREE, "failed")], [])
        assert not elsewhere
        assert mine.take([ONE.id, TWO.id]) == {ONE.id, TWO.id}


def test_the_folder_is_not_looked_through_all_the_time(store, monkeypatch):
    looks = []
    monkeypatch.setattr(Store, "runs", lambda *_: looks.append(1))
    mine = Leases(store.root)
    with mine.owned():
        elsewhere = Elsewhere(store, mine, {}, print)
        assert elsewhere.claim([ONE]) == [ONE]
        assert elsewhere.look() == ([], [])
        assert not looks  # alone, there is nothing to hear of
