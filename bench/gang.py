"""Several cells at once in one process of a GPU, a stream each: small kernels leave most of its multiprocessors idle.

Processes that share a GPU take turns on it; streams of one process do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import torch

from bench import worker
from bench.child import answer
from bench.passes import EVALUATION_BATCH
from bench.task import Caller
from bench.train import Training

LARGEST = 16  # cells
GAIN = 1.05  # in images per second, for which a gang twice as large is worth its memory
MARGIN = 1.2  # of the memory expected to be needed
ROUNDS, STEPS = 20, 5  # of which a measurement is made
EVALUATED = 5 * EVALUATION_BATCH  # images: enough for an evaluation to have taken the memory it takes


class Turn:
    """Whose turn it is to talk to the device: one thread's at a time, first come, first served.

    A capture must not meet another thread's calls, and queueing work takes a hundredth of the time that the work does.
    A thread gives its turn away while it waits for its own stream.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._drawn = self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            ticket, self._drawn = self._drawn, self._drawn + 1
            while ticket != self._served:
                self._changed.wait()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()

    def wait(self, event: torch.cuda.Event) -> None:
        """Let others have their turn until the event has happened."""
        self.__exit__()
        try:
            event.synchronize()
        finally:
            self.__enter__()


class Member:
    """The parent process, as one cell of a gang sees it: what it sends is marked with the cell."""

    def __init__(self, caller: Caller, cell_id: str) -> None:
        self._caller, self._cell_id = caller, cell_id

    def send(self, message: Any) -> None:
        """Tell the parent something, which must know that memory is the whole gang's."""
        self._caller.send((self._cell_id, "sent", _without_memory(message)))

    def stopping(self) -> bool:
        """Whether the parent asked for an end."""
        return self._caller.stopping()


def run_cells(job: dict[str, Any], caller: Caller) -> None:
    """Train the cells of `job["jobs"]`, by id as `worker.run_cell` takes them, all at once.

    Each has a thread and a stream, and the bits that it would have alone wherever its kernels are deterministic. Sends
    (cell id, "sent", evaluation), and for each cell at its end (cell id, "returned", what `run_cell` returns) or (cell
    id, "died", (cause, reason)); a cell that raises ends alone. A GPU's memory is told of no cell.
    """
    turn = Turn()

    def run(cell_id: str, one: dict[str, Any]) -> None:
        with turn:
            kind, body = answer(lambda: worker.run_cell(one, Member(caller, cell_id), turn.wait))
            if kind == "returned" and body["curve"]:
                body = body | {"curve": [_without_memory(point) for point in body["curve"]]}
            caller.send((cell_id, kind, body))

    threads = [threading.Thread(target=run, args=pair, name=pair[0]) for pair in job["jobs"].items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _without_memory(point: dict[str, Any]) -> dict[str, Any]:
    if "iteration" not in point:
        return point  # something said
    return point | {"peak_allocated_bytes": None, "peak_reserved_bytes": None}


def best_size(job: dict[str, Any], caller: Caller) -> int:
    """How many cells of the net of `job`, a job of `worker.run_cell`, together train the most images a second.

    Gangs of 1, 2, 4 … are timed while each is faster than the last by 5 % and the next fits into free memory. Sends
    (cells, images a second) of each.
    """
    cell, images = worker.prepare(job)
    trainings: list[Training] = []
    best, rate, size = 1, 0.0, 1
    try:
        while size <= LARGEST and _fits(size - len(trainings), len(trainings)):
            while len(trainings) < size:
                trainings.append(Training(cell, images, job["device"]))
                trainings[-1].measure("train", EVALUATED)
            now = _rate(trainings)
            caller.send((size, now))
            if now < GAIN * rate:
                break
            best, rate, size = size, now, 2 * size
    except torch.OutOfMemoryError:
        pass  # the last that fitted it is
    return best


def _rate(trainings: list[Training]) -> float:
    """Images a second of all together."""
    advance_together(trainings)  # captures, and reaches a steady state
    began = time.perf_counter()
    steps = advance_together(trainings)
    return steps * trainings[0].cell.recipe.batch / (time.perf_counter() - began)


def advance_together(trainings: Sequence[Training]) -> int:
    """Take some steps of each, side by side, and wait for them; how many in all."""
    for _ in range(ROUNDS):
        for training in trainings:
            training.advance(training.iteration + STEPS)
    torch.cuda.synchronize()
    return len(trainings) * ROUNDS * STEPS


def _fits(more: int, have: int) -> bool:
    """Whether the memory that is free holds that many more cells, which need what those there are do."""
    if not have:
        return True
    free, _ = torch.cuda.mem_get_info()
    return MARGIN * more * torch.cuda.memory_reserved() / have < free
