"""What the tests' child processes run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

POINT = {
    **{"iteration": 100, "epoch": 2.5, "lr": 0.01, "images_per_second": 3200.0, "peak_rss_bytes": 500_000_000},
    **{"train_seconds": 0.0, "eval_seconds": 0.0, "peak_allocated_bytes": None, "peak_reserved_bytes": None},
    **{f"{part}_error": 0.25 for part in ("running", "train", "validation", "test")},
    **{f"{part}_loss": 0.5 for part in ("running", "train", "validation", "test")},
}


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Caller:
    """A parent that asks to stop after a number of looks."""

    def __init__(self, looks=10**9):
        self.sent, self.looks = [], looks

    def send(self, message):
        self.sent.append(message)

    def stopping(self):
        self.looks -= 1
        return self.looks < 0


def echo(payload: Any, caller: Any) -> Any:
    """Send the payload back, and return it."""
    caller.send(payload)
    return payload


def process(payload: Any, caller: Any) -> Any:  # noqa: ARG001
    """Who runs this, with which threads, environment and modules."""
    return {
        "pid": os.getpid(),
        "threads": threading.active_count(),
        "torch": "torch" in sys.modules,
        "environment": os.environ.get("RESBENCH_TEST"),
    }


def fail(payload: Any, caller: Any) -> Any:  # noqa: ARG001
    """Raise."""
    print("about to fail")
    raise payload


def die(payload: int, caller: Any) -> None:
    """Be killed by a signal."""
    caller.send("last words")
    os.kill(os.getpid(), payload)


def leave(payload: int, caller: Any) -> None:  # noqa: ARG001
    """Exit without a word."""
    os._exit(payload)


def delegate(payload: Any, caller: Any) -> Any:  # noqa: ARG001
    """Have a process of one's own double the payload."""
    import multiprocessing

    context = multiprocessing.get_context("fork")  # no Pool: its terminate waits for a SIGTERM that ours only notes
    here, there = context.Pipe()
    other = context.Process(target=_double, args=(payload, there))
    other.start()
    doubled = here.recv()
    other.join()
    return doubled


def _double(payload: Any, answer: Any) -> None:
    answer.send(2 * payload)


def hang(payload: Any, caller: Any) -> None:  # noqa: ARG001
    """Never end, whatever is asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    caller.send("hanging")
    while True:
        time.sleep(60)


def wait(payload: Any, caller: Any) -> str:  # noqa: ARG001
    """End when asked to stop."""
    caller.send("waiting")
    while not caller.stopping():
        time.sleep(0.01)
    return "stopped in order"


def allocate(payload: int, caller: Any) -> int:  # noqa: ARG001
    """Ask for more memory than this process may have."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (payload, payload))
    return len(bytearray(2 * payload))


def allocate_tensor(payload: int, caller: Any) -> int:  # noqa: ARG001
    """The same through torch."""
    import resource

    import torch

    resource.setrlimit(resource.RLIMIT_AS, (payload, payload))
    return torch.empty(2 * payload, dtype=torch.uint8).numel()


def train_and_die_once(job: dict[str, Any], caller: Any) -> Any:
    """Train a cell for real, but the first time be killed after its second evaluation."""
    from bench import worker

    marker = Path(job["checkpoint"]).with_suffix(".died")

    class Killing:
        sent = 0

        def send(self, message: Any) -> None:
            caller.send(message)
            self.sent += 1
            if self.sent == 2 and not marker.exists():
                marker.write_text("")
                os.kill(os.getpid(), signal.SIGKILL)

        def stopping(self) -> bool:
            return caller.stopping()

    return worker.run_cell(job | {"checkpoint_seconds": 0.0}, Killing())


def trouble_by_depth(job: dict[str, Any], caller: Any) -> Any:
    """14 layers raise, 20 are killed, 26 hang, 32 run out of memory; others train for real."""
    from bench import worker

    depth = job["cell"]["depth"]
    if depth == 14:
        return fail(ZeroDivisionError("of the test"), caller)
    if depth == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    if depth == 26:
        time.sleep(600)
    if depth == 32:
        raise MemoryError
    return worker.run_cell(job, caller)


def fill_the_disk(job: dict[str, Any], caller: Any) -> Any:
    """Find no space for the checkpoint."""
    import errno

    from bench import worker

    def save(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    worker.torch.save = save
    return worker.run_cell(job | {"checkpoint_seconds": 0.0}, caller)


def train_but_on_gpu_a(job: dict[str, Any], caller: Any) -> Any:
    """Train, but on one GPU fail as where it is lost."""
    from bench import worker

    if os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a":
        raise RuntimeError("CUDA error: device lost")
    return worker.run_cell(job, caller)


def die_after_one_of_a_gang(job: dict[str, Any], caller: Any) -> None:
    """Train the first cell of a gang, then be killed."""
    from bench import gang

    first = next(iter(job["jobs"]))
    gang.run_cells({"jobs": {first: job["jobs"][first]}}, caller)
    os.kill(os.getpid(), signal.SIGKILL)


def two(job: dict[str, Any], caller: Any) -> int:
    """The best size of any gang."""
    caller.send((job["cell"]["depth"], 1.0))
    return 2


def end_at_once(job: dict[str, Any], caller: Any) -> dict[str, Any]:  # noqa: ARG001
    """A cell that trains nothing and reports one evaluation, its last."""
    return {"curve": [POINT], "layers": None, "base_rss_bytes": None}


def train_where_nothing_is_reported(job: dict[str, Any], caller: Any) -> Any:
    """Train, or be killed, where Ray was told to report nothing of its use."""
    if os.environ.get("RAY_USAGE_STATS_ENABLED") != "0":
        raise AssertionError("Ray's usage would be reported")
    return trouble_by_depth(job, caller)
