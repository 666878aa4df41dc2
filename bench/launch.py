"""One cell over several devices: a process a device, started and watched by torchrun's agent.

A pool's child is the agent: it forks a process a rank, of which rank 0 alone speaks to the child's caller and writes.
That one process goes is the end of all; what comes after is a matter of whoever asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from bench.child import answer
from bench.pool import out_of_memory_kills
from bench.task import Caller, Failure
from bench.team import joined

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.1  # between two looks of the agent at its processes, and of ours at what they say
HELD_SECONDS = 1.0  # that a process which raised stays: where another was killed, the agent is to see that one first
PR_SET_PDEATHSIG = 1


def run(job: dict[str, Any], caller: Caller) -> Any:
    """What `job["entry"]` ("module:function") returns on rank 0, called with the job and its team on every rank.

    `job`: that of a cell (`bench.worker.run_cell`), and `devices`, how many processes: on GPUs rank 3 has "cuda:3" for
    its `device`, and the others their number. What rank 0 sends is passed on; asked to stop, all are.

    Raises:
        Failure: of the process that ended first: killed by which signal, or what it raised.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    kills = out_of_memory_kills()
    with _Exchange(job["devices"], caller) as exchange:
        try:
            return _launch(job, exchange)[0]
        except ChildFailedError as error:
            failed, how = error.get_first_failure()
            first = failed, how.exitcode
    raise _failure(*first, exchange.last_words, out_of_memory_kills() > kills)


def _launch(job: dict[str, Any], exchange: _Exchange) -> dict[int, Any]:
    """What each rank returns."""
    if "cell" in job:
        import torch._dynamo  # noqa: F401 - DistributedDataParallel imports it: once here, or a second in each process
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with _nameless():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=job["devices"],
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{LOOPBACK}:0",  # a port that is free
            local_addr=LOOPBACK,
            max_restarts=0,  # the sweep's business
            monitor_interval=POLL_SECONDS,
            start_method="fork",  # of this process, which has torch imported and has not touched a device
            signals_to_handle="SIGHUP",  # SIGTERM is the pool's request to stop, and no end
            logs_specs=DefaultLogsSpecs(log_dir=os.devnull),  # all write to the task's own log
        )
        return elastic_launch(config, _rank)(job, exchange)


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    """Within, this host has no name to look up, as the agent would at every event, wherever the answer comes from."""
    before, socket.getfqdn = socket.getfqdn, lambda name="": name or "localhost"
    try:
        yield
    finally:
        socket.getfqdn = before


def _rank(job: dict[str, Any], exchange: _Exchange) -> Any:
    """One process's work."""
    _die_with(os.getppid())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # from the agent, when another process is gone
    rank = int(os.environ["RANK"])
    device = f"cuda:{rank}" if torch.device(job["device"]).type == "cuda" else job["device"]
    module, _, function = job["entry"].partition(":")

    def work() -> Any:
        entry = getattr(importlib.import_module(module), function)
        with joined(torch.device(device)) as team:
            return entry(job | {"device": device}, exchange.caller(rank), team=team)

    kind, body = answer(work)
    if kind == "returned":
        return body
    sys.stderr.flush()
    exchange.tell(rank, (kind, body))
    time.sleep(HELD_SECONDS)
    sys.exit(1)


def _die_with(parent: int) -> None:
    """Be killed when this process's parent ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _failure(rank: int, exit_code: int, last_words: dict[int, tuple[str, str]], killed_for_memory: bool) -> Failure:
    if exit_code == -signal.SIGKILL and killed_for_memory:
        return Failure("out-of-memory", f"rank {rank} killed by the kernel's out-of-memory killer")
    if exit_code < 0:
        return Failure("error", f"rank {rank} killed by {signal.Signals(-exit_code).name}")
    cause, reason = last_words.get(rank, ("error", f"exited with status {exit_code}"))
    return Failure(cause, reason if cause == "refused" else f"rank {rank}: {reason}")


class _Exchange:
    """Between the ranks and the caller: a pipe from each, and a flag to all that says whether to stop."""

    def __init__(self, ranks: int, caller: Caller) -> None:
        self.last_words: dict[int, tuple[str, str]] = {}
        self._caller = caller
        context = multiprocessing.get_context("fork")
        self._pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
        self._stop = context.RawValue(ctypes.c_bool, False)  # without a lock, which a killed process would keep
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ranks", daemon=True)

    def __enter__(self) -> _Exchange:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _, far in self._pipes:
            far.close()  # so that half a message of a killed process has an end
        self._over.set()
        self._thread.join()

    def caller(self, rank: int) -> Caller:
        """The caller, as a rank sees it."""
        return _Rank(self._pipes[rank][1], self._stop)

    def tell(self, rank: int, message: Any) -> None:
        """Say something of a rank to this process."""
        self._pipes[rank][1].send(message)

    def _serve(self) -> None:
        ends = {end: rank for rank, (end, _) in enumerate(self._pipes)}
        over = False
        while not over:
            over = self._over.is_set()  # asked before the pipes are emptied: all that was said is there
            self._stop.value = self._caller.stopping()
            for end in wait(ends, 0 if over else POLL_SECONDS):
                try:
                    while end.poll():
                        self._take(ends[end], *end.recv())
                except (EOFError, OSError):
                    del ends[end]

    def _take(self, rank: int, kind: str, body: Any) -> None:
        if kind == "sent":
            self._caller.send(body)
        else:
            self.last_words[rank] = body


class _Rank:
    def __init__(self, connection: Connection, stop: Any) -> None:
        self._connection, self._stop = connection, stop

    def send(self, message: Any) -> None:
        self._connection.send(("sent", message))

    def stopping(self) -> bool:
        return self._stop.value
