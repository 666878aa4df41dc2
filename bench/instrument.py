"""The instrument: a process that times benchmarks of one checkout, told on its standard input what to do.

It is run by path (`python -P bench/instrument.py`) with a checkout first on PYTHONPATH, and imports nothing of
resbench but that checkout's `bench.works`: so one instrument measures two checkouts. Each benchmark is measured in a
child of its own, forked before torch has started a thread or touched a device. A child is killed when whoever tells
the instrument what to do is gone.

A message and its answer are a line of JSON each:

    (at the start)                        {"torch", "cuda", "cudnn", "cuda_available", "package"}
    {"prepare": fields, "source", …}      {"images", "parameters", …, "warm_up": [seconds, …], "steady", "call"}
    {"window": calls, "slowdown": 0.0}    {"seconds", "cpu_seconds"}
    {"end": true}                         {"allocated", "reserved", "resident", "base"} in bytes
    {"ceilings": device, "threads"}       {"bandwidth", "rates"}

What cannot be done is answered with {"failed": why, "cause": "refused" | "out-of-memory" | "error" | "died"}. After
that, and after the answer to an end, the child is gone; then nothing but "prepare" and "ceilings" is answered.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

WARM_UP_SECONDS = 0.1  # a window of the warm-up
STEADY_WITHIN = 0.02  # of the windows before: the work is warm
GROUP = 3  # windows that are compared with as many before them
MOST_WARM_UPS = 30  # windows
MOST_SAID = 500  # letters of why something failed: last words are told in one piece


class Clock:
    """Seconds of calls on a device: by its events on a GPU, else by the wall clock; and of this process's CPU time."""

    def __init__(self, work: Any, device: str) -> None:
        self._work, self._on_gpu = work, device.startswith("cuda")

    def seconds(self, calls: int, slowdown: float = 0.0) -> dict[str, float]:
        """What so many calls take. `slowdown` makes them take longer by that share: on a CPU by waiting busily, on a
        GPU by more calls."""
        cpu = time.process_time()
        took = self._on_device(round(calls * (1 + slowdown))) if self._on_gpu else self._here(calls, slowdown)
        return {"seconds": took, "cpu_seconds": time.process_time() - cpu}

    def _here(self, calls: int, slowdown: float) -> float:
        start = time.perf_counter()
        self._work.repeat(calls)
        if slowdown:
            until = start + (time.perf_counter() - start) * (1 + slowdown)
            while time.perf_counter() < until:
                pass
        return time.perf_counter() - start

    def _on_device(self, calls: int) -> float:
        import torch

        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with self._work.stream():
            begin.record()
            self._work.repeat(calls)
            end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000


def warm_up(seconds: Callable[[int], float]) -> tuple[list[float], bool, float]:
    """Call until a call's time no longer drifts: a call's seconds in each window, whether it got steady, and the least.

    Steady is where the medians of the last `GROUP` windows and of those before them agree.
    """
    first = [seconds(1) for _ in range(5)]  # of which on a GPU the fourth is captured
    call, windows = max(min(first[1:]), 1e-7), []
    while len(windows) < MOST_WARM_UPS:
        calls = max(1, round(WARM_UP_SECONDS / call))
        call = seconds(calls) / calls
        windows.append(call)
        if len(windows) >= 2 * GROUP:
            last, before = statistics.median(windows[-GROUP:]), statistics.median(windows[-2 * GROUP : -GROUP])
            if abs(last / before - 1) < STEADY_WITHIN:
                return windows, True, min(windows)
    return windows, False, min(windows)


class Child:
    """What measures one benchmark, and ends."""

    def __init__(self, hear: Callable[[], Any], say: Callable[[Any], None]) -> None:
        self._hear, self._say = hear, say

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Prepare, warm up, and time windows until told to end; the peaks of memory."""
        import torch

        from bench import works

        device, base = job["device"], _resident()
        _set_up(job["threads"])
        work = works.prepare(job["prepare"], job["source"], device)
        clock = Clock(work, device)
        windows, steady, call = warm_up(lambda calls: clock.seconds(calls)["seconds"])
        told = ("images", "parameters", "multiply_adds", "call_bytes", "call_multiply_adds")
        self._say({name: getattr(work, name) for name in told} | {"warm_up": windows, "steady": steady, "call": call})
        while (message := self._hear()) and "window" in message:
            self._say(clock.seconds(message["window"], message.get("slowdown", 0.0)))
        peaks = [None, None]
        if device.startswith("cuda"):
            peaks = [torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)]
        return {"allocated": peaks[0], "reserved": peaks[1], "resident": _resident(), "base": base}

    def ceilings(self, job: dict[str, Any]) -> dict[str, Any]:
        """What the device can do at best."""
        from bench import works

        _set_up(job["threads"])
        return works.ceilings(job["ceilings"])


def _set_up(threads: int) -> None:
    """As cells are trained (`bench.worker.prepare`)."""
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def _resident() -> int | None:
    """The peak of the resident set in bytes; None where there is no /proc that tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _failure(error: BaseException) -> dict[str, str]:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = next(iter(str(error).splitlines()), "")[:MOST_SAID] or type(error).__name__
    if "ResbenchError" in kinds:
        return {"failed": text, "cause": "refused"}
    lacks = any(words in text.lower() for words in ("not enough memory", "can't allocate memory", "out of memory"))
    cause = "out-of-memory" if lacks or isinstance(error, MemoryError) else "error"
    return {"failed": f"{type(error).__name__}: {text}", "cause": cause}


def _in_a_child(task: Callable[[], Any], driver: int) -> Any:
    """What a task returns in a fork of this process, or how it failed, once that is gone.

    None where nobody is left at the other end of `driver`: the child is then killed, whatever it does.
    """
    ending, last = os.pipe()
    if not (child := os.fork()):
        _do(task, last)
    os.close(last)
    watched = select.poll()
    watched.register(ending, select.POLLIN)
    watched.register(driver, 0)  # no event but its end: what arrives there is the child's to read
    if left := driver in dict(watched.poll()):
        os.kill(child, signal.SIGKILL)
    with open(ending, "rb") as words:  # noqa: PTH123 - a descriptor
        said = words.read()
    _, status = os.waitpid(child, 0)
    if left:
        return None
    if said:
        return json.loads(said)
    code = os.waitstatus_to_exitcode(status)
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
    return {"failed": how, "cause": "died"}


def _do(task: Callable[[], Any], last: int) -> None:
    """Do a task, write what it returns to `last`, and end this process."""
    try:
        try:
            said = task()
        except BaseException as error:
            traceback.print_exc()
            said = _failure(error)
        os.write(last, json.dumps(said).encode())
        sys.stderr.flush()
    finally:
        os._exit(0)


def _toolkit() -> dict[str, Any]:
    import torch

    import bench

    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cuda_available": torch.cuda.is_available(),
        "package": str(Path(bench.__file__).parent),
    }


def serve(lines: int, answers: int) -> None:
    """Answer messages until their end. Nothing is buffered, for a child reads on where its parent stopped."""
    source, target = open(lines, "rb", buffering=0), open(answers, "wb", buffering=0)  # noqa: SIM115

    def hear() -> Any:
        line = source.readline()
        return json.loads(line) if line else None

    def say(answer: Any) -> None:
        if answer is not None:
            target.write(json.dumps(answer).encode() + b"\n")

    try:
        from bench import works  # noqa: F401 - so that no child needs to
    except Exception as error:
        say(_failure(error))
        return
    say(_in_a_child(_toolkit, lines))
    gc.collect()
    gc.freeze()
    child = Child(hear, say)
    while line := source.readline():
        try:
            message = json.loads(line)
        except ValueError:  # a child that was killed had begun to read it; its end was the answer
            continue
        if "prepare" in message:
            say(_in_a_child(partial(child.run, message), lines))
        elif "ceilings" in message:
            say(_in_a_child(partial(child.ceilings, message), lines))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the whole group; the parent decides
    answers = os.dup(1)
    os.dup2(2, 1)  # what is printed by others is no answer
    serve(os.dup(0), answers)
