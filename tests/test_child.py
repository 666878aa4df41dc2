"""The child's side of a pool. (What its parent hears of it: test_pool.)"""

import subprocess
import sys

from conftest import ROOT

from bench import child
from bench.errors import DataError, StoreError
from bench.task import Failure

STARVED = """
import os, resource, sys, time
from pathlib import Path
from bench import child
from bench.task import Task

def data():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    return 1024 * int(line.split()[1])

class Nobody:
    def send(self, end): pass
    def close(self): pass

stack = 8 << 20
for spare in range(stack - (64 << 10), stack + (320 << 10), 4096):
    pid = os.fork()
    if not pid:
        room = data() + spare
        resource.setrlimit(resource.RLIMIT_DATA, (room, room))
        try:
            child.main(Nobody(), Task("key", "builtins:print", None, Path(os.devnull)))
        finally:
            os._exit(0)
    deadline = time.monotonic() + 5
    while not (ended := os.waitpid(pid, os.WNOHANG)[0]) and time.monotonic() < deadline:
        time.sleep(0.001)
    if not ended:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        sys.exit(f"hangs with {spare:,} bytes to spare")
"""


def test_it_never_hangs_for_want_of_memory():
    """Whatever the first thing that it gets no memory for is, the thread that looks after its parent or its work."""
    command = ["bash", "-c", 'ulimit -s 8192; exec "$@"', "-", sys.executable, "-c", STARVED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr


def test_an_answer_tells_how_it_ended():
    def raising(error):
        def task():
            raise error

        return task

    assert child.answer(lambda: 3) == ("returned", 3)
    assert child.answer(raising(DataError("no images"))) == ("died", ("refused", "no images"))
    assert child.answer(raising(StoreError("full"))) == ("died", ("unwritable", "full"))
    assert child.answer(raising(Failure("timed-out", "late"))) == ("died", ("timed-out", "late"))
    assert child.answer(raising(MemoryError())) == ("died", ("out-of-memory", "MemoryError"))
    assert child.answer(raising(RuntimeError("CUDA out of memory. Tried"))) == (
        "died",
        ("out-of-memory", "RuntimeError: CUDA out of memory. Tried"),
    )
    assert child.answer(raising(ValueError("a\nb"))) == ("died", ("error", "ValueError: a"))
