"""Sweeps with real children: every way a cell can end is recorded, and no way of being killed loses or changes one."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import alive
from conftest import ROOT
from synthetic import a_cell as synthetic_cell
from synthetic import a_curve, a_run

from bench import host, sizing
from bench import sweep as module
from bench.cell import Arch, Cell, Recipe
from bench.errors import DataError, DeviceError, StoreError
from bench.evaluation import MEASURED
from bench.run import TESTS
from bench.slots import Slot
from bench.source import Source
from bench.store import Store
from bench.sweep import Options, sweep

RECIPE = Recipe(
    iterations=40, batch=32, lr=0.05, drops=(20,), crop_padding=1, flip=False, eval_every=10, split="holdout"
)
SOURCES = {"digits": Source("digits")}
MEASURED_COLUMNS = {*MEASURED, "run_id", "schema_version"}


def a_cell(depth: int = 8, shortcut: str = "A", seed: int = 0, recipe: Recipe = RECIPE) -> Cell:
    return Cell(Arch(depth=depth, shortcut=shortcut, width=0.5), recipe, "digits", seed)


class Recorder:
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.notes, self.starts, self.ends, self.begun = [], [], [], None

    def note(self, text):
        self.notes.append(text)

    def begin(self, cells, recorded, _costs, device):
        self.begun = (len(cells), len(recorded), device)

    def started(self, cell):
        self.starts.append(cell)

    def evaluated(self, cell, evaluation):
        pass

    def ended(self, _cell, result):
        self.ends.append(result)

    def ended_elsewhere(self, cell, outcome):
        pass

    def tick(self):
        pass


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def run(cells, store, **options):
    watcher = Recorder()
    return sweep(cells, SOURCES, store, Options(**options), watcher), watcher


def facts(store: Store) -> list[dict]:
    """All that two runs of the same cells on one host must have in common."""
    points = store.curves(store.runs()).to_pylist() + store.layers(store.runs()).to_pylist()
    return [{k: p[k] for k in p if k not in MEASURED_COLUMNS} for p in points]


def test_every_pending_cell_runs_once_and_its_row_is_complete(store):
    cells = [a_cell(shortcut=s, seed=seed) for s in ("none", "C") for seed in (0, 1)]
    outcomes, watcher = run(cells, store)
    assert outcomes == {"done": 4}
    assert len(watcher.starts) == len(watcher.ends) == 4
    assert watcher.starts[0].arch.shortcut == "C"  # the longest first
    rows = store.runs().to_pylist()
    assert {row["cell_id"] for row in rows} == {cell.id for cell in cells}
    for row in rows:
        empty = {name for name, value in row.items() if value is None}
        of_streams = {*TESTS, "data_seconds"}
        assert empty <= {"error", "log", "peak_allocated_bytes", "peak_reserved_bytes", "commit", "dirty", *of_streams}
        assert row["attempts"] == 1 and row["workers"] == min(4, host.cores())
        assert 1.0 <= row["sharing"] <= host.cores()
        assert row["iteration"] == 40 and row["images_per_second"] > 0 and row["peak_rss_bytes"] > 1e8
        assert row["host_id"] in store.hosts()
        assert row["finished"] >= row["started"]
    assert len(store.curves(store.runs())) == 4 * 4
    layers = store.layers(store.runs()).to_pylist()
    assert len(layers) == 4 * (1 + 4) * 7  # of depth 8, at iteration 0 and four evaluations
    assert {(row["layer"], row["name"]) for row in layers} >= {(1, "conv1"), (7, "layer3.0.conv2")}
    assert all((row["response_std"] is None) == (row["iteration"] == 0) for row in layers)
    assert not (store.root / "nets").exists()
    assert not list(store.root.glob("checkpoints/*")) and not list(store.root.glob("logs/????????????????.log"))
    outcomes, watcher = run(cells, store)
    assert outcomes == {"done": 4} and watcher.starts == []


def test_nets_are_kept_and_analysis_left_out_on_demand(store):
    run([a_cell()], store, keep_nets=True, analysis=False)
    (row,) = store.runs().to_pylist()
    assert [path.name for path in (store.root / "nets").iterdir()] == [f"{row['cell_id']}-{row['run_id']}.pt"]
    assert not (store.root / "layers").exists()
    with store.writing():
        assert store.net(row["cell_id"], row["run_id"]).exists()


def test_the_number_of_workers_changes_no_bit(tmp_path):
    cells = [a_cell(seed=seed) for seed in (0, 1, 2)]
    one, three = Store(tmp_path / "one"), Store(tmp_path / "three")
    run(cells, one, workers=1)
    run(cells, three, workers=3)
    assert facts(one) == facts(three) != []


def test_a_cell_killed_half_way_resumes_to_the_same_bits(tmp_path):
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    run([a_cell()], whole)
    _, watcher = run([a_cell()], killed, entry="children:train_and_die_once", checkpoint_seconds=0.0)
    assert "killed by SIGKILL; trying again" in watcher.notes[-1]
    assert killed.runs()["attempts"].to_pylist() == [2]
    assert facts(whole) == facts(killed) != []


def test_each_trouble_costs_its_own_cell_and_is_recorded_as_what_it_was(store):
    cells = [a_cell(depth) for depth in (8, 14, 20, 26, 32)]
    outcomes, _ = run(cells, store, entry="children:trouble_by_depth", retries=0, timeout=6.0)
    assert outcomes == {"done": 1, "failed": 2, "out-of-memory": 1, "timed-out": 1}
    rows = {row["depth"]: row for row in store.runs().to_pylist()}
    assert {depth: row["outcome"] for depth, row in rows.items()} == {
        8: "done", 14: "failed", 20: "failed", 26: "timed-out", 32: "out-of-memory",
    }  # fmt: skip
    assert rows[14]["error"] == "ZeroDivisionError: of the test" and "Traceback" in rows[14]["log"]
    assert rows[20]["error"] == "killed by SIGKILL"
    assert rows[26]["error"] == "no end after 6 s"
    assert rows[14]["final_train_error"] is None and rows[14]["parameters"] > 0
    outcomes, watcher = run(cells[:2], store, retries=0)  # without the trouble, the failed cell alone runs again
    assert outcomes == {"done": 2} and [cell.arch.depth for cell in watcher.starts] == [14]
    assert {row["depth"]: row["attempts"] for row in store.runs().to_pylist()}[14] == 2


def test_a_diverged_cell_is_a_finding_with_its_curve(store):
    recipe = dataclasses.replace(RECIPE, lr=100.0, momentum=1.0, weight_decay=1.0, iterations=400, eval_every=20)
    assert run([a_cell(recipe=recipe)], store)[0] == {"diverged": 1}
    (row,) = store.runs().to_pylist()
    assert row["outcome"] == "diverged" and 0 < row["iteration"] < 400
    assert store.curves(store.runs())["iteration"].to_pylist()[-1] == row["iteration"]
    assert run([a_cell(recipe=recipe)], store)[1].starts == []  # and is not run again


@pytest.mark.parametrize("spoil", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_set_aside_and_the_cell_starts_again(tmp_path, spoil):
    whole, spoiled = Store(tmp_path / "whole"), Store(tmp_path / "spoiled")
    run([a_cell()], whole)
    path = spoiled.checkpoint(a_cell().id)
    path.parent.mkdir(parents=True)
    if spoil is None:  # a whole checkpoint, but of another cell
        run([a_cell(seed=1)], spoiled, entry="children:train_and_die_once", checkpoint_seconds=0.0, retries=0)
        spoiled.checkpoint(a_cell(seed=1).id).rename(path)
        spoiled.root.joinpath("runs", f"{a_cell(seed=1).id}.parquet").unlink()
    else:
        path.write_bytes(spoil)
    assert run([a_cell()], spoiled)[0] == {"done": 1}
    assert facts(spoiled) == facts(whole)
    assert path.with_suffix(".damaged").exists()


def test_other_images_of_the_same_name_are_refused(store):
    cell = a_cell(seed=5)
    store.commit(cell, a_run(cell, a_curve(synthetic_cell()), data_sha256="cd" * 32), [])
    with pytest.raises(DataError, match=r"cdcdcdcdcdcd.*rename the folder"):
        run([a_cell()], store)
    assert len(store.runs()) == 1


def test_what_the_device_cannot_do_is_said_before_anything_runs(store):
    cell = a_cell(recipe=dataclasses.replace(RECIPE, precision="tf32"))
    with pytest.raises(DeviceError, match="tf32"):
        run([cell], store, device="cpu")
    with pytest.raises(DeviceError, match="--device cuda"):
        sweep([cell], SOURCES, store, Options(device="cuda"), Recorder())


def test_an_impossible_batch_fails_its_cell_in_plain_words(store):
    cell = a_cell(recipe=dataclasses.replace(RECIPE, batch=2000, last_batch="drop"))
    assert run([cell], store, retries=3)[0] == {"failed": 1}
    (row,) = store.runs().to_pylist()
    assert "batch = 2000 is not allowed; allowed: at most 1,197" in row["error"]
    assert row["attempts"] == 1  # trying again is no use


def test_a_cell_that_another_runs_is_waited_for_and_run_when_it_dies(store):
    cells = [a_cell(seed=seed) for seed in (0, 1)]
    with store.writing() as other:
        other.take([cells[0].id])

        class Ending(Recorder):
            def ended(self, cell, result):
                super().ended(cell, result)
                if cell is cells[1]:
                    other.release([cells[0].id])
                    other.take(["0" * len(cells[0].id)])

        watcher = Ending()
        outcomes = sweep(cells, SOURCES, Store(store.root), Options(), watcher)
    assert outcomes == {"done": 2}
    assert watcher.starts == [cells[1], cells[0]]


STUDY = """
title = "Killed"
question = "Does anything get lost?"
[matrix]
data = "digits"
depth = [8, 14]
shortcut = ["none", "B"]
seeds = 2
width = 0.5
[recipe]
iterations = 50
batch = 32
lr = 0.05
drops = [30]
flip = false
crop_padding = 1
eval_every = 10
"""


def _command(study, results):
    return [sys.executable, "-m", "bench.cli", "run", study, "--results", results, "--checkpoint-every", "0.05"]


def _environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What an undisturbed run of the study records."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "study.toml").write_text(STUDY)
    command = _command(folder / "study.toml", folder / "results")
    subprocess.run(command, check=True, env=_environment(), capture_output=True)
    return facts(Store(folder / "results"))


def test_killing_the_orchestrator_at_random_moments_loses_and_doubles_nothing(study_file, tmp_path, undisturbed):
    study, killed = study_file(STUDY), Store(tmp_path / "killed")
    rng = random.Random(7)
    kills = 0
    for _ in range(2):
        child = subprocess.Popen(_command(study, killed.root), env=_environment(), stdout=subprocess.DEVNULL)
        done_before = len(list(killed.root.glob("runs/*.parquet")))
        deadline, extra = time.monotonic() + 60, rng.random()
        while time.monotonic() < deadline and child.poll() is None:  # let it record a cell more, then a moment longer
            if len(list(killed.root.glob("runs/*.parquet"))) > done_before:
                time.sleep(extra)
                break
            time.sleep(0.02)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
        recorded = killed.runs().to_pylist()
        assert len(recorded) >= done_before
        assert len({row["cell_id"] for row in recorded}) == len(recorded)
    assert kills
    subprocess.run(_command(study, killed.root), check=True, env=_environment(), capture_output=True)
    assert facts(killed) == undisturbed
    assert len(facts(killed)) == 8 * 5 + 4 * (7 + 13) * (1 + 5)


def test_two_orchestrators_run_each_cell_once_though_one_is_killed(study_file, tmp_path, undisturbed):
    study, shared = study_file(STUDY), Store(tmp_path / "shared")
    command = [*_command(study, shared.root), "--workers", "1"]
    said = [tmp_path / "first", tmp_path / "second"]
    environment = _environment() | {"PYTHONUNBUFFERED": "1"}
    with said[0].open("w") as one, said[1].open("w") as other:
        first, second = (subprocess.Popen(command, env=environment, stdout=file) for file in (one, other))
    deadline = time.monotonic() + 60
    while ": done, training" not in said[0].read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second.wait(120)
    told, output = (file.read_text() for file in said)
    assert second.returncode == 0 and "8 cells: 8 done" in output, output
    ended = [line.partition(": done")[0] for line in (told + output).splitlines() if ": done, training" in line]
    assert len(ended) == len(set(ended)) > 6  # the killed one may have recorded one more than it told of
    assert ": done, run by another resbench" in output or "8 cells, 0 recorded before" not in output
    rows = shared.runs().to_pylist()
    assert len(rows) == len({row["cell_id"] for row in rows}) == 8
    assert facts(shared) == undisturbed


def test_ctrl_c_stops_within_seconds_and_a_rerun_continues(study_file, tmp_path):
    study = study_file(STUDY.replace("iterations = 50", "iterations = 3000"))
    store = Store(tmp_path / "results")
    child = subprocess.Popen(_command(study, store.root), env=_environment(), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(store.root.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert child.returncode == 130
    assert "run again to continue" in output
    assert list(store.root.glob("checkpoints/*.pt"))
    assert len(store.runs()) == 0


# Teams: one cell over several processes of the CPU.


def test_losing_any_process_of_a_team_costs_nothing_and_changes_no_bit(tmp_path):
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    outcomes, watcher = run([a_cell()], whole, devices=2, gang=3)
    assert outcomes == {"done": 1} and "--gang changes nothing" in watcher.notes[-1]
    assert "each over 2 devices" in watcher.begun[2]
    how = {"entry": "teams:train_and_lose_each_rank_once", "checkpoint_seconds": 0.0, "retries": 2}
    outcomes, watcher = run([a_cell()], killed, devices=2, **how)
    assert outcomes == {"done": 1}
    again = [note for note in watcher.notes if "trying again" in note]
    assert [f"rank {rank} killed by SIGKILL" in note for rank, note in enumerate(again)] == [True, True]
    (row,) = killed.runs().to_pylist()
    assert (row["attempts"], row["devices"], row["device"]) == (3, 2, "cpu")
    assert facts(whole) == facts(killed) and len(facts(whole)) == 4 + 5 * 7


def test_a_team_stops_in_order_with_a_checkpoint_and_leaves_no_process(study_file, tmp_path):
    study = study_file(STUDY.replace("iterations = 50", "iterations = 9000"))
    store = Store(tmp_path / "results")
    command = [*_command(study, store.root), "--devices", "2", "--only", "depth=8,shortcut=B,seed=0"]
    command[command.index("--checkpoint-every") + 1] = "1000"
    child = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)
    deadline, below = time.monotonic() + 60, []
    while len(below) < 5 and time.monotonic() < deadline:  # two servers of multiprocessing, the agent, its ranks
        time.sleep(0.05)
        below = _below(child.pid)
    time.sleep(1.0)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 130 and "run again to continue" in output
    assert len(list(store.root.glob("checkpoints/*.pt"))) == 1 and len(store.runs()) == 0
    deadline = time.monotonic() + 10
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(below) == 5 and not any(map(alive, below))


def _below(pid: int) -> list[int]:
    """The processes that one has started, and those that they have."""
    try:
        children = [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [below for child in children for below in _below(child)]


def test_cells_that_cannot_be_shared_are_refused_before_anything_starts(store):
    with pytest.raises(DeviceError, match="--devices 3: ResNet-8-A, seed 0 has batch = 32, no multiple of that"):
        run([a_cell()], store, devices=3)
    assert not list(store.root.glob("runs/*"))


# Gangs: several cells in one child. What a GPU would run the CPU does here, one cell after another.


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine that takes its CPU for a GPU."""
    gpu = host.Gpu("GPU-0", "a CPU in disguise", 80 * 2**30, 700.0, "580")
    monkeypatch.setattr(module, "choose_gpus", lambda *_: [gpu])
    monkeypatch.setattr(module, "slots", lambda *_: [Slot("cpu")])


def test_cells_of_a_gang_end_as_they_do_alone(tmp_path, one_gpu):  # noqa: ARG001
    cells = [a_cell(seed=seed) for seed in range(3)] + [a_cell(shortcut="none")]
    alone, together = Store(tmp_path / "alone"), Store(tmp_path / "together")
    assert run(cells, alone, gang=1)[0] == {"done": 4}
    outcomes, watcher = run(cells, together, gang=2)
    assert outcomes == {"done": 4} and len(watcher.starts) == len(watcher.ends) == 4
    assert sorted(map(str, facts(alone))) == sorted(map(str, facts(together)))
    memory = {row["cell_id"]: row["peak_rss_bytes"] for row in together.runs().to_pylist()}
    assert len(memory) == 4 and all(memory.values())


def test_a_gang_that_dies_is_tried_again_cell_by_cell(tmp_path, one_gpu, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(module, "RUN_GANG", "children:die_after_one_of_a_gang")
    store = Store(tmp_path / "results")
    cells = [a_cell(seed=seed) for seed in range(3)]
    outcomes, watcher = run(cells, store, gang=3)
    assert outcomes == {"done": 3}
    assert sorted(row["attempts"] for row in store.runs().to_pylist()) == [1, 2, 2]
    again = [note for note in watcher.notes if "trying again" in note]
    assert len(watcher.starts) == 5 and len(again) == 2 and "SIGKILL" in again[0]


def test_a_cell_that_raises_ends_alone(tmp_path, one_gpu):  # noqa: ARG001
    store = Store(tmp_path / "results")
    path = store.checkpoint(a_cell(seed=1).id)
    for folder in (path, path.with_suffix(".damaged") / "full"):  # where files should be, and cannot be moved to
        folder.mkdir(parents=True)
    outcomes, watcher = run([a_cell(seed=seed) for seed in range(3)], store, gang=3, retries=0)
    assert outcomes == {"done": 2, "failed": 1} and len(watcher.starts) == 3
    (row,) = (row for row in store.runs().to_pylist() if row["outcome"] == "failed")
    assert row["seed"] == 1 and row["error"]


def test_how_many_train_best_at_once_is_measured_for_each_net_with_several_cells(tmp_path, one_gpu, monkeypatch):  # noqa: ARG001
    asked = []
    measure = sizing.gang_sizes

    def gang_sizes(*args):
        found = measure(*args, entry="children:two")
        asked.append(found)
        return found

    monkeypatch.setattr(sizing, "gang_sizes", gang_sizes)
    cells = [a_cell(seed=seed) for seed in range(3)] + [a_cell(shortcut="none")]
    assert run(cells, Store(tmp_path / "results"))[0] == {"done": 4}
    assert asked == [{cells[0].net: 2}]


def test_a_disk_that_is_full_ends_the_sweep_and_is_no_cells_fault(store):
    with pytest.raises(StoreError, match=r"checkpoints/.*\.pt: No space left on device; what ended is recorded"):
        run([a_cell()], store, entry="children:fill_the_disk")
    assert len(store.runs()) == 0


def test_a_cache_that_cannot_be_written_is_told_and_changes_nothing(store, tmp_path, monkeypatch):
    whole = Store(tmp_path / "whole")
    run([a_cell()], whole)
    monkeypatch.setenv("RESBENCH_CACHE", "/dev/null/cache")
    outcomes, watcher = run([a_cell()], store)
    assert outcomes == {"done": 1} and facts(store) == facts(whole)
    assert "the cache /dev/null/cache cannot be written (Not a directory)" in watcher.notes[0]


# A GPU that falls away.


def _fragile(monkeypatch, *uuids):
    """Slots on GPUs by name (cells train on the CPU all the same), of which GPU-a is gone from the first death on."""
    pinned = [Slot("cpu", (("CUDA_VISIBLE_DEVICES", uuid),)) for uuid in uuids]
    monkeypatch.setattr(module, "slots", lambda *_: pinned)
    monkeypatch.setattr(host, "has_gpu", lambda uuid: uuid != "GPU-a")


def test_a_gpu_that_falls_away_costs_no_cell(store, monkeypatch):
    _fragile(monkeypatch, "GPU-a", "GPU-b")
    cells = [a_cell(seed=seed) for seed in range(4)]
    outcomes, watcher = run(cells, store, entry="children:train_but_on_gpu_a", retries=0)
    assert outcomes == {"done": 4}
    (note,) = [note for note in watcher.notes if "GPU" in note]
    assert note.startswith("GPU-a has fallen away: going on without it; ResNet-8-A, seed ")
    assert {row["attempts"] for row in store.runs().to_pylist()} == {1}  # it was not the cell's fault


def test_without_the_last_gpu_the_sweep_ends_and_says_so(store, monkeypatch):
    _fragile(monkeypatch, "GPU-a")
    with pytest.raises(DeviceError, match="GPU-a has fallen away and no other is left; what ended is recorded"):
        run([a_cell(), a_cell(seed=1)], store, entry="children:train_but_on_gpu_a")
    assert len(store.runs()) == 0


def test_an_error_on_a_gpu_that_is_there_is_the_cells(store, monkeypatch):
    _fragile(monkeypatch, "GPU-a")
    monkeypatch.setattr(host, "has_gpu", lambda _: True)
    assert run([a_cell()], store, entry="children:train_but_on_gpu_a", retries=1)[0] == {"failed": 1}
    (row,) = store.runs().to_pylist()
    assert (row["attempts"], row["error"]) == (2, "RuntimeError: CUDA error: device lost")


@pytest.mark.parametrize("name", ["runs", "curves"])
def test_a_damaged_file_is_told_of_set_aside_and_its_cell_run_again(store, name):
    cells = [a_cell(seed=seed) for seed in (0, 1)]
    run(cells, store)
    before = facts(store)
    (victim,) = store.root.glob(f"{name}/{cells[1].id}*")
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 4
    victim.write_bytes(content)
    outcomes, watcher = run(cells, store)
    assert outcomes == {"done": 2} and [cell.id for cell in watcher.starts] == [cells[1].id]
    (aside,) = store.root.glob(f"damaged/*/{name}/*")
    said = f"{victim}: damaged (its checksum is not that of its bytes); set aside as {aside}, 1 cell of it to run again"
    assert watcher.notes[0] == said
    assert aside.read_bytes() == content
    assert facts(store) == before


def test_a_curve_that_is_gone_is_told_of_and_its_cell_run_again(store):
    cells = [a_cell(seed=seed) for seed in (0, 1)]
    run(cells, store)
    before = facts(store)
    (victim,) = store.root.glob(f"curves/{cells[1].id}*")
    victim.unlink()
    outcomes, watcher = run(cells, store)
    assert outcomes == {"done": 2} and [cell.id for cell in watcher.starts] == [cells[1].id]
    assert watcher.notes[0].startswith(f"{victim}: missing, though a row was there; it is in ")
    assert len(list(store.root.glob(f"damaged/*/runs/{cells[1].id}*"))) == 1
    assert facts(store) == before
