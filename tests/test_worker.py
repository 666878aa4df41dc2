"""The child's side of a cell: what it sends, saves and surveys. (How children die and resume: test_sweep.)"""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from synthetic import RECIPE, a_cell

from bench import pool, worker
from bench.cell import values
from bench.errors import DataError
from bench.evaluation import Evaluation


class Caller:
    """A parent that asks to stop after a number of looks."""

    def __init__(self, looks=10**9):
        self.sent, self.looks = [], looks

    def send(self, message):
        self.sent.append(message)

    def stopping(self):
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def job(tmp_path):
    cell = a_cell(recipe=RECIPE)
    return {
        "cell": cell.flat(),
        "source": "digits",
        "device": "cpu",
        "threads": 1,
        "checkpoint": str(tmp_path / "checkpoint.pt"),
        "checkpoint_seconds": 1000.0,
        "data_sha256": None,
        "analysis": True,
        "net": None,
    }


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def test_every_evaluation_is_sent_and_returned(job):
    caller = Caller()
    answer = worker.run_cell(job, caller)
    assert caller.sent == answer["curve"]
    assert [Evaluation(**point).iteration for point in answer["curve"]] == [25, 50, 75, 100]
    assert 1e8 < answer["base_rss_bytes"] <= answer["curve"][0]["peak_rss_bytes"]


def test_asked_to_stop_it_saves_and_returns_nothing_and_goes_on_later(job, tmp_path):
    first = Caller(looks=6)
    assert worker.run_cell(job, first) == {"curve": None}
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < state["counters"]["iteration"] < 100
    second = Caller()
    curve = worker.run_cell(job, second)["curve"]
    assert second.sent[: len(first.sent)] == first.sent  # what was measured before is not measured again
    assert len(curve) == 4


def test_a_finished_cell_whose_parent_died_is_not_trained_again(job, monkeypatch):
    curve = worker.run_cell(job, Caller())["curve"]
    monkeypatch.setattr(worker.Training, "_step", None)
    assert worker.run_cell(job, Caller())["curve"] == curve


def test_images_that_changed_since_are_refused(job):
    with pytest.raises(DataError, match="rename the folder"):
        worker.run_cell(job | {"data_sha256": "ab" * 32}, Caller())


def test_a_survey_tells_what_only_torch_knows():
    arch = a_cell(20, "A").arch
    answer = worker.survey(
        {"sources": ["digits"], "nets": [("cifar10", values(arch)), ("digits", values(arch))]}, Caller()
    )
    assert [parameters for parameters, _, _ in answer["costs"]] == [269_722, 269_722 - 288]
    assert answer["toolkit"].torch == torch.__version__
    assert set(answer["checksums"]) == {"digits"}  # cifar10's shape is known without its images


TEMPLATE = """
import os
import torch
def refuse(*_):
    raise RuntimeError("a CUDA call in the template")
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, refuse)
import bench.worker
print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized())
"""


def test_the_template_starts_no_thread_and_touches_no_device():
    """It is forked for each cell, and neither a thread nor a CUDA context survives that."""
    environment = os.environ | pool._TEMPLATE
    answer = subprocess.run(
        [sys.executable, "-c", TEMPLATE], check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert answer.stdout.split() == ["1", "False"]
