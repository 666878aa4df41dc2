"""Processes of one cell: what they send and return, how they die together, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import alive
from conftest import ROOT

from bench import launch, pool
from bench.errors import DataError
from bench.pool import Pool
from bench.task import Died, Returned, Task


def task(entry: str, log: Path, **more: object) -> Task:
    return Task("key", "bench.launch:run", {"entry": f"teams:{entry}", "device": "cpu", "devices": 2} | more, log)


@pytest.fixture
def ended(tmp_path):
    """Run a team to its end; how it ended, and what it sent."""

    def run(entry: str, **more: object) -> tuple[Returned | Died, list[object]]:
        told = []
        return pool.outcome(task(entry, tmp_path / "log", **more), told.append), told

    return run


def test_a_refusal_is_told_in_its_own_words_and_an_error_with_its_rank(ended):
    end, told = ended("raise_on", rank=1, error=DataError("no such images"))
    assert (end.cause, end.reason) == ("refused", "no such images")
    assert told == ["here", "here"]
    end, _ = ended("raise_on", rank=0, error=MemoryError())
    assert (end.cause, end.reason) == ("out-of-memory", "rank 0: MemoryError")
    assert "Traceback" in end.log


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_named_and_ends_the_others_at_once(ended, rank):
    began = time.monotonic()
    end, _ = ended("be_killed", rank=rank, signal=signal.SIGKILL)
    assert (end.cause, end.reason) == ("error", f"rank {rank} killed by SIGKILL")
    assert time.monotonic() - began < 25  # the agent would wait 30 s for one that does not end


def test_a_kill_while_the_kernel_reports_one_for_memory_is_out_of_memory():
    told = launch._failure(1, -signal.SIGKILL, {}, True)
    assert (told.cause, str(told)) == ("out-of-memory", "rank 1 killed by the kernel's out-of-memory killer")


def test_a_process_asks_nvml_and_not_cuda_whether_there_are_gpus(ended):
    """torchrun's agent asks before it forks, and CUDA, once asked, does not survive that."""
    end, _ = ended("environment", name="PYTORCH_NVML_BASED_CUDA_CHECK")
    assert end.value == "1"


def test_asked_to_stop_all_do(tmp_path):
    children = Pool()
    children.start(task("wait", tmp_path / "log"))
    seen = []
    while len(seen) < 2:
        seen += children.wait(1.0)
    assert seen[0].message == seen[1].message  # the processes of both ranks
    assert children.stop() == [Returned("key", "stopped in order, 2")]
    assert not any(map(alive, seen[0].message))


PARENT = """
import sys
from pathlib import Path
from bench.pool import Pool
from bench.task import Task
children = Pool()
job = {"entry": "teams:hang", "device": "cpu", "devices": 2}
children.start(Task("key", "bench.launch:run", job, Path(sys.argv[1])))
while True:
    for event in children.wait(1.0):
        print(*event.message, flush=True)
"""


@pytest.mark.parametrize("killed", ["agent", "orchestrator"])
def test_no_process_outlives_its_agent_or_the_orchestrator(tmp_path, killed):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    *ranks, agent = map(int, parent.stdout.readline().split())
    assert all(map(alive, [*ranks, agent]))
    os.kill(agent if killed == "agent" else parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(alive, [*ranks, agent])) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = list(filter(alive, [*ranks, agent]))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert left == []
