"""Cells as jobs of a real Slurm on this machine's loopback, where it can be started; and what needs none."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import clusters
import pytest
from conftest import ROOT
from test_sweep import RECIPE, SOURCES, Recorder, a_cell, run

from bench import onslurm, shared
from bench.errors import DeviceError, InputError
from bench.kept import Kept
from bench.shared import Shared
from bench.slots import Slot
from bench.source import Source
from bench.store import Store
from bench.sweep import Options, sweep
from bench.task import Task
from bench.where import Wanted, Where

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'resbench[slurm]'")


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Programs in place of Slurm's, which write down their calls; what squeue prints is in a file."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "queue").write_text("")
    for name in ("sbatch", "squeue", "scancel", "srun"):
        program = tmp_path / "bin" / name
        says = f"cat {tmp_path}/queue" if name == "squeue" else "echo Submitted batch job 7"
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/calls\n{says}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(onslurm, "POLL_SECONDS", 0.0)
    return tmp_path


def an_engine(folder, where=Where("slurm")):  # noqa: B008
    wanted = Wanted("auto", None, 1, 5, folder, folder / "witness")
    return onslurm.OnSlurm(where, wanted, Kept(Shared(str(folder / "shared"))), print)


def a_task(cell):
    job = Slot("cpu").job(cell, Source("digits"), "ab") | {"net": None, "loading": {"loaders": None}}
    return Task(cell.id, "children:echo", job, Path("log"))


def test_cells_are_submitted_as_one_array_each_noted_before(scripted):
    where = Where("slurm", partition="short", time_limit="2:00:00", options={"mem": "1G", "exclusive": ""})
    engine = an_engine(scripted, where)
    cells = [a_cell(seed=seed) for seed in range(3)]
    for cell in cells:
        engine.start(a_task(cell))
    assert engine.wait(0) == [] and len(engine) == 3
    notes = [json.loads(Shared(str(scripted / "shared")).read(shared.job(cell.id))) for cell in cells]
    assert [note["index"] for note in notes] == [0, 1, 2] and len({note["name"] for note in notes}) == 1
    calls = (scripted / "calls").read_text()
    assert calls.count("sbatch ") == 1
    text = next(Path(notes[0]["folder"]).glob("*.sh")).read_text()
    assert f"--job-name={notes[0]['name']}" in text
    for option in ("array=0-2%3", "time=120", "partition=short", "mem=1G", "exclusive\n", "signal=USR2@90"):
        assert f"#SBATCH --{option}" in text


def test_a_slurm_that_does_not_answer_is_told_before_anything_is_submitted(scripted):
    (scripted / "bin" / "squeue").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(DeviceError, match="--on slurm: Slurm does not answer on this machine"):
        an_engine(scripted)


def test_a_job_that_still_waits_or_runs_is_not_submitted_again(scripted):
    cell = a_cell()
    engine = an_engine(scripted)
    engine.start(a_task(cell))
    engine.wait(0)
    name = json.loads(Shared(str(scripted / "shared")).read(shared.job(cell.id)))["name"]
    (scripted / "queue").write_text(f"7|N/A|{name}\n")
    again = an_engine(scripted)
    again.start(a_task(cell))
    again.wait(0)
    assert (scripted / "calls").read_text().count("sbatch ") == 1
    (scripted / "queue").write_text("")
    third = an_engine(scripted)  # by then it is gone, and left nothing
    third.start(a_task(cell))
    third.wait(0)
    assert (scripted / "calls").read_text().count("sbatch ") == 2


def test_a_job_that_ends_before_it_began_is_told_with_its_log(scripted, monkeypatch):
    engine = an_engine(scripted)
    engine.start(a_task(a_cell()))
    assert engine.wait(0) == []
    monkeypatch.setattr(onslurm, "QUEUE_SECONDS", 0.0)
    note = json.loads(Shared(str(scripted / "shared")).read(shared.job(a_cell().id)))
    (Path(note["folder"]) / "7_0_log.out").write_text("no such interpreter\n")
    (died,) = engine.wait(0)
    assert (died.cause, died.reason) == ("error", "its job ended before it began to work")
    assert died.log == "no such interpreter"


def test_where_there_is_no_slurm_or_no_folder_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match="--on slurm: there is no sbatch on this machine"):
        an_engine(tmp_path)
    from objects import store

    wanted = Wanted("auto", None, 1, 1, tmp_path, tmp_path)
    with pytest.raises(InputError, match="with --on slurm a folder that all machines see"):
        onslurm.OnSlurm(Where("slurm", shared="s3://x/y"), wanted, Kept(store(tmp_path)[0]), print)


# On a real Slurm.

LONG = dataclasses.replace(RECIPE, iterations=1200, drops=(600,), eval_every=40)


@pytest.fixture(scope="module")
def cluster():
    if why := clusters.why_no_slurm():
        pytest.skip(f"Slurm cannot be started: {why}")
    with clusters.slurm() as folder:
        yield folder


@pytest.fixture
def quick(cluster, monkeypatch):  # noqa: ARG001
    """A driver that looks often, and jobs that can import the tests' children."""
    monkeypatch.setattr(onslurm, "POLL_SECONDS", 0.5)
    monkeypatch.setattr(onslurm, "QUEUE_SECONDS", 3.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


def queued(states="PENDING,RUNNING"):
    command = ["squeue", "--noheader", "--array", f"--states={states}", "--format=%i|%T|%j|%r"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [line.strip().split("|") for line in found.splitlines()]


class Interrupting(Recorder):
    """At the first evaluation, does something to the jobs that run."""

    def __init__(self, interrupt):
        super().__init__()
        self.interrupt, self.points, self.hit = interrupt, [], []

    def evaluated(self, cell, evaluation):
        self.points.append((cell.id, evaluation.iteration))
        if not self.hit:
            self.hit = [job for job, state, *_ in queued() if state == "RUNNING"]
            self.interrupt(self.hit)


def tell_that_time_is_over(jobs):
    """By the signal that Slurm sends before a job's limit."""
    subprocess.run(["scancel", "--signal=USR2", *jobs], check=True, timeout=60)


def preempt(_):
    """Slurm ends both, and queues them again, for a job that goes first and takes the whole node."""
    first = ["sbatch", "--partition=urgent", "--cpus-per-task=4", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(first, check=True, timeout=60, capture_output=True)


def kill(jobs):
    """With all of their processes, at once: their cells are submitted again."""
    subprocess.run(["scancel", "--signal=KILL", "--full", *jobs], check=True, timeout=60)


@pytest.mark.engines
@pytest.mark.timeout(280)
@pytest.mark.parametrize("interrupt", [tell_that_time_is_over, preempt, kill])
def test_interrupted_jobs_go_on_and_tables_are_those_of_this_machine(tmp_path, quick, interrupt):  # noqa: ARG001
    cells = [a_cell(seed=seed, recipe=LONG) for seed in range(2)]
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run(cells, here)
    watcher = Interrupting(interrupt)
    options = Options(where=Where("slurm", time_limit="30"), retries=0)
    outcomes = sweep(cells, SOURCES, there, options, watcher)
    assert outcomes == {"done": 2}, there.runs().select(["error", "log"]).to_pylist()
    assert clusters.results(here) == clusters.results(there)
    assert watcher.hit and len(watcher.points) > len(set(watcher.points))  # told again when it went on
    by_us = [note for note in watcher.notes if "submitted again" in note]  # else by Slurm
    assert len(by_us) == (2 if interrupt is kill else 0)
    assert set(there.runs()["attempts"].to_pylist()) == {1} and there.hosts() == here.hosts()
    assert not list(there.root.glob("shared/*/*"))


@pytest.mark.engines
@pytest.mark.timeout(280)
def test_a_driver_that_is_killed_finds_its_jobs_again(tmp_path, quick):  # noqa: ARG001
    cells = [a_cell(seed=seed, recipe=LONG) for seed in range(2)]
    store = Store(tmp_path / "results")
    driver = subprocess.Popen([sys.executable, __file__, str(store.root)], start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not any(state == "RUNNING" for _, state, *_ in queued()) and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    before = {name for _, _, name, _ in queued()}
    assert len(before) == 1
    outcomes, watcher = sweep(cells, SOURCES, store, Options(where=Where("slurm")), found := Recorder()), found
    assert outcomes == {"done": 2} and len(watcher.ends) == 2
    jobs = [job for job, _, name, _ in queued("all") if name in before]
    assert len(jobs) == 2 and not queued()
    assert not list(store.root.glob("shared/*/*"))


@pytest.mark.engines
def test_a_job_that_fails_is_a_failed_cell_with_its_reason(tmp_path, quick):  # noqa: ARG001
    store = Store(tmp_path / "results")
    options = Options(where=Where("slurm"), entry="children:trouble_by_depth", retries=0)
    assert sweep([a_cell(14)], SOURCES, store, options, Recorder()) == {"failed": 1}
    (row,) = store.runs().to_pylist()
    assert row["error"] == "ZeroDivisionError: of the test" and "Traceback" in row["log"]


@pytest.mark.engines
def test_what_slurm_does_not_take_is_told(tmp_path, quick):  # noqa: ARG001
    with pytest.raises(DeviceError, match=r"--on slurm: not submitted: .*Invalid partition"):
        sweep([a_cell()], SOURCES, Store(tmp_path), Options(where=Where("slurm", partition="none")), Recorder())


if __name__ == "__main__":  # the driver that is killed
    cells = [a_cell(seed=seed, recipe=LONG) for seed in range(2)]
    sweep(cells, SOURCES, Store(Path(sys.argv[1])), Options(where=Where("slurm")), Recorder())
