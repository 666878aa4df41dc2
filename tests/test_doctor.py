"""What is wrong with a folder is found, what can be mended is mended, and nothing else is touched."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from synthetic import a_cell, a_curve, a_host, a_run

from bench import cli, doctor, host, surroundings
from bench.errors import EXIT_OK, EXIT_UNSOUND, DataError
from bench.host import Gpu, Toolkit
from bench.store import Store

CELLS = [a_cell(seed=seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    for cell in CELLS:
        store.commit(cell, a_run(cell, a_curve(cell)), a_curve(cell))
    for host_id in {row["host_id"] for row in store.runs().to_pylist()}:
        found = a_host()
        store._write(
            store.table("hosts").file(host_id), [{"host_id": host_id} | vars(found)], store.table("hosts").schema
        )
    return store


def diagnose(store, *words):
    return cli.main(["doctor", "--results", str(store.root), *words])


def files(store):
    return {path: path.read_bytes() for path in store.root.rglob("*.p*") if path.is_file()}


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def part(store, name, cell):
    (path,) = store.root.glob(f"{name}/{cell.id}*")
    return path


def checkpoint(store, cell):
    path = store.checkpoint(cell.id)
    path.parent.mkdir(exist_ok=True)
    torch.save({"weights": torch.arange(1000.0)}, path)
    return path


def break_everything(store):
    """Each trouble once; what names it."""
    spoil(part(store, "curves", CELLS[0]))
    orphan = store.root / "curves" / "0123456789abcdef-0123456789ab.parquet"
    orphan.write_bytes(part(store, "curves", CELLS[2]).read_bytes())
    part(store, "curves", CELLS[1]).unlink()
    spoil(checkpoint(store, CELLS[1]))
    half = store.root / "runs" / ".x.parquet.7.tmp"
    half.write_text("half")
    return orphan, half


@pytest.mark.usefixtures("sound_surroundings")
def test_a_sound_folder_is_sound(store, capsys):
    assert diagnose(store) == EXIT_OK
    assert "3 cells recorded: 3 done\n" in capsys.readouterr().out


@pytest.fixture
def sound_surroundings(monkeypatch):
    monkeypatch.setattr(surroundings, "facts", lambda _: iter([surroundings.Fact("all is well")]))


@pytest.mark.usefixtures("sound_surroundings")
def test_what_is_wrong_is_named_and_nothing_is_changed_unasked(store, capsys):
    break_everything(store)
    before = files(store)
    assert diagnose(store) == EXIT_UNSOUND
    said = capsys.readouterr().out
    assert f"curves/{part(store, 'curves', CELLS[0]).name}: damaged" in said
    assert f"checkpoints/{CELLS[1].id}.pt: damaged (" in said
    assert "with --fix: set aside" in said
    assert files(store) == before


@pytest.mark.usefixtures("sound_surroundings")
def test_everything_is_mended_in_one_go_and_said(store, capsys):
    orphan, half = break_everything(store)
    assert diagnose(store, "--fix") == EXIT_OK
    said = capsys.readouterr().out
    assert said.count("✓ " + str(store.root)) >= 3
    assert "missing, though a row is there" in said  # found after the damaged file was set aside
    assert not orphan.exists() and not half.exists()
    assert store.recorded() == {CELLS[2].id}  # the two that lack their curve are pending
    assert store.checkpoint(CELLS[1].id).with_suffix(".damaged").exists()
    assert len(list(store.root.glob("damaged/*/runs/*.parquet"))) == 2  # nothing was deleted
    assert diagnose(store) == EXIT_OK
    assert "damaged has what was set aside (2)" in capsys.readouterr().out


@pytest.mark.usefixtures("sound_surroundings")
def test_what_cannot_be_mended_is_left_and_said(store, capsys):
    path = part(store, "runs", CELLS[0])
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "schema_version", pa.array([99])), path)
    for known in store.root.glob("hosts/*"):
        known.unlink()
    before = files(store)
    assert diagnose(store, "--fix") == EXIT_UNSOUND
    assert "upgrade resbench" in capsys.readouterr().out
    assert files(store) == before
    path.unlink()
    assert diagnose(store) == EXIT_UNSOUND
    assert "missing, and runs name it" in capsys.readouterr().out


@pytest.mark.usefixtures("sound_surroundings")
def test_what_another_is_writing_is_no_leftover(store, capsys):
    with store.writing() as leases:
        leases.take([CELLS[0].id])
        half = store.root / "curves" / ".x.parquet.7.tmp"
        half.write_text("half")
        assert diagnose(store, "--fix") == EXIT_OK
        assert half.exists()
        assert "process" in capsys.readouterr().out


def test_no_folder_is_no_fault(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(surroundings, "facts", lambda _: iter([surroundings.Fact("torch is gone", sound=False)]))
    assert diagnose(Store(tmp_path / "nothing")) == EXIT_UNSOUND
    assert "✗ torch is gone" in capsys.readouterr().out
    assert list(doctor.examine(Store(tmp_path / "nothing"))) == []
    assert not (tmp_path / "nothing").exists()


# The surroundings.


def told(monkeypatch, *, gpus=(), toolkit=None, error=None):
    def call(*_):
        if error:
            raise error
        return {"toolkit": toolkit or Toolkit("2.15.0", None, None, cuda_available=False)}

    monkeypatch.setattr(surroundings.pool, "call", call)
    monkeypatch.setattr(host, "gpus", lambda: list(gpus))


def unsound(path):
    return [fact.says for fact in surroundings.facts(path) if not fact.sound]


def test_sound_surroundings(monkeypatch, tmp_path):
    told(monkeypatch)
    assert unsound(tmp_path / "a" / "b") == []


def test_a_results_folder_that_is_a_file_is_told(monkeypatch, tmp_path):
    told(monkeypatch)
    (tmp_path / "file").write_text("")
    assert unsound(tmp_path / "file") == [f"{tmp_path / 'file'} is no folder; --results names one"]


def test_a_results_folder_where_nobody_can_write_is_told(monkeypatch):
    told(monkeypatch)
    says, _ = unsound(Path("/proc"))  # the other: it has no room
    assert says.startswith("/proc/ cannot be written (")


def test_each_trouble_is_told(monkeypatch, tmp_path):
    gpu = Gpu("GPU-a", "H200", 2**37, 700.0, "580")
    told(monkeypatch, gpus=[gpu])
    assert unsound(tmp_path) == ["1 GPUs, but this torch does not use them: its build or the driver does not fit"]
    told(monkeypatch, error=DataError("operator torchvision::nms does not exist"))
    assert unsound(tmp_path) == ["torch cannot be used: operator torchvision::nms does not exist"]
    told(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path / "file" / "cache"))
    (says,) = unsound(tmp_path)
    assert "cannot be written (Not a directory)" in says
    monkeypatch.delenv("RESBENCH_CACHE")
    monkeypatch.setattr(surroundings, "LEAST_FREE", 2**80)
    (says,) = unsound(tmp_path)
    assert "GiB free for" in says
