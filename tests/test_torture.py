"""Torture: two faults that no other test injects for real, and that it sees what it looks for."""

import random

import pytest
from synthetic import a_cell, a_curve, a_run
from torture import faults
from torture.scene import CELLS, Scene, Violation, small_disk

AT_A_CHECKPOINT = 0  # a seed whose first moment is soon after the first checkpoint


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    scene = Scene(folder / "scene", folder, {}, random.Random(0))
    ended = scene.run()
    assert ended.code == 0, ended.said
    return scene.facts()


@pytest.fixture
def scene(undisturbed, tmp_path):
    return Scene(tmp_path / "scene", tmp_path, undisturbed, random.Random(AT_A_CHECKPOINT))


@pytest.mark.parametrize("room", [0, 32768])
def test_a_small_disk_that_is_full_loses_nothing(scene, tmp_path, room):
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("this user may not mount a file system")
        scene.disk, scene.folder = disk, disk / "scene"
        assert faults.disk_full(scene, room) == "exit code 5"
        scene.check()
        assert len(scene.known) < CELLS
        assert scene.run().code == 0
        scene.check()
        scene.check_end()


@pytest.mark.skipif(faults.FAKETIME is None, reason="needs libfaketime (Debian's faketime)")
def test_a_clock_that_steps_back_changes_nothing(scene):
    assert faults.clock_back(scene) == "went on"
    scene.check()
    scene.check_end()


@pytest.fixture
def complete(tmp_path):
    """A complete study that was checked once; nobody ran it."""
    scene = Scene(tmp_path / "scene", tmp_path, {}, random.Random(0))
    for seed in range(CELLS):
        cell = a_cell(seed=seed)
        scene.store.commit(cell, a_run(cell, a_curve(cell)), a_curve(cell))
    scene.reference = scene.facts()
    scene.check()
    assert scene.complete
    scene.check_end()
    return scene


def _a_file(scene, table):
    return min(scene.store.root.glob(f"{table}/*.parquet"))


def test_a_lost_row_is_seen(complete):
    _a_file(complete, "runs").unlink()
    with pytest.raises(Violation, match="lost"):
        complete.check()


def test_a_cell_that_was_run_again_is_seen(complete):
    cell = min(complete.known)
    complete.known[cell] = "an earlier run"
    with pytest.raises(Violation, match=f"run again: .*{cell}"):
        complete.check()


def test_another_value_is_seen(complete):
    cell = min(complete.reference)
    complete.reference[cell] = [{**complete.reference[cell][0], "train_error": 2.0}, *complete.reference[cell][1:]]
    with pytest.raises(Violation, match=f"other values of {cell}"):
        complete.check()


@pytest.mark.parametrize("name", ["checkpoints/0123456789abcdef.pt", "runs/x.tmp", "curves/0123456789abcdef-1.parquet"])
def test_what_is_left_over_is_seen(complete, name):
    path = complete.store.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(Violation, match="left over"):
        complete.check_end()
