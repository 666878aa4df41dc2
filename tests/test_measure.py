"""Clocks and memory, against what they should read."""

import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT

from bench.measure import Stopwatch, peak_memory

CPU = torch.device("cpu")


def test_a_stopwatch_adds_what_runs_within_it_and_nothing_else():
    watch = Stopwatch(CPU)
    for _ in range(2):
        with watch.running():
            time.sleep(0.05)
        time.sleep(0.05)
    assert 0.1 <= watch.seconds < 10
    before = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == before


GROW = """
from bench.measure import peak_memory
import torch
before = peak_memory(torch.device("cpu")).resident
block = torch.ones(2**26)  # 256 MiB, touched
del block
print(peak_memory(torch.device("cpu")).resident - before)
"""


def test_the_resident_peak_grows_by_what_was_touched_and_stays():
    answer = subprocess.run([sys.executable, "-c", GROW], check=True, capture_output=True, text=True, cwd=ROOT)
    assert int(answer.stdout) == pytest.approx(2**28, rel=0.1)


def test_a_cpu_has_no_device_memory():
    memory = peak_memory(CPU)
    assert (memory.allocated, memory.reserved) == (None, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_stopwatch_waits_for_the_work_and_memory_counts_it():
    device = torch.device("cuda")
    a = torch.randn(8192, 8192, device=device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    watch = Stopwatch(device)
    with watch.running():
        start.record()
        for _ in range(10):
            a @ a
        end.record()
    assert watch.seconds >= start.elapsed_time(end) / 1000
    assert peak_memory(device).allocated >= 2 * 8192 * 8192 * 4
