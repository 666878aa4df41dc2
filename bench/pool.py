"""Child processes for tasks: one fresh process a task, forked from a template that has imported torch.

The pool knows nothing of cells. A task names a function, `"module:function"`, which is called with a payload and a
`Caller` in the child; what it sends and returns, how it failed or died, come back as events.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.child import TEMPLATE, main
from bench.errors import DataError
from bench.task import Died, Event, Returned, Sent, Task

# in this order: the last looks after what the others took
PRELOADED = ["bench.worker", "bench.surveyor", "bench.pool", "bench.template"]
LOG_LINES = 40  # of a failed task's output kept in its event
GRACE_SECONDS = 10.0  # from asking a child to stop to killing it


class Pool:
    """Runs tasks side by side; the caller decides how many."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._children: dict[str, _Child] = {}
        atexit.register(self.stop, grace=0.0)  # before multiprocessing's own handler, which waits for children

    def __len__(self) -> int:
        return len(self._children)

    def start(self, task: Task) -> None:
        """Start a task now."""
        self._children[task.key] = _Child(self._context, task)

    def wait(self, seconds: float) -> list[Event]:
        """The events of the next moment; empty after `seconds` without any."""
        for child in self._children.values():
            child.enforce_deadline()
        handles = [h for child in self._children.values() for h in child.handles]
        ready = set(wait(handles, min([seconds, *(c.remaining for c in self._children.values())])))
        events: list[Event] = []
        for child in list(self._children.values()):
            if ready.intersection(child.handles):
                events += child.collect()
            if child.over:
                del self._children[child.task.key]
        return events

    def stop(self, grace: float = GRACE_SECONDS) -> list[Event]:
        """Ask every child to stop, give it `grace` seconds to save its state, then kill it."""
        for child in self._children.values():
            child.ask_to_stop(grace)
        events: list[Event] = []
        while self._children:
            events += self.wait(0.2)
        return events


def outcome(task: Task, told: Callable[[Any], None]) -> Returned | Died:
    """Run one task alone and wait for its end; `told` gets what it sends."""
    pool = Pool()
    pool.start(task)
    try:
        while True:
            for event in pool.wait(1.0):
                if not isinstance(event, Sent):
                    return event
                told(event.message)
    finally:
        pool.stop(grace=0)


def call(
    entry: str,
    payload: Any,
    log: Path,
    told: Callable[[Any], None],
    environment: tuple[tuple[str, str], ...] = (),
) -> Any:
    """What one task returns; `told` gets what it sends. One that dies is tried once more.

    Raises:
        DataError: with the reason, when it ended otherwise.
    """
    task = Task("call", entry, payload, log, environment)
    end = outcome(task, told)
    if isinstance(end, Died) and end.cause in ("error", "out-of-memory"):
        end = outcome(task, told)
    if isinstance(end, Returned):
        return end.value
    where = "" if end.cause in ("refused", "unwritable") else f"; its output is in {log}"
    raise DataError(f"{end.reason}{where}")


class _Child:
    def __init__(self, context: Any, task: Task) -> None:
        self.task = task
        self.over = False
        task.log.parent.mkdir(parents=True, exist_ok=True)
        self._deadline = time.monotonic() + task.timeout if task.timeout else float("inf")
        self._killed_for: str | None = None
        self._answer: Returned | Died | None = None
        self._kills = out_of_memory_kills()
        self._connection, far = context.Pipe()
        # not a daemon, which may have no children of its own; that it ends with this process: Pool and _die_with_parent
        self._process = context.Process(target=main, args=(far, task), name=task.key, daemon=False)
        with _environment(TEMPLATE), _without_main():
            self._process.start()
        far.close()

    @property
    def handles(self) -> list[Any]:
        return [self._process.sentinel] if self._connection.closed else [self._connection, self._process.sentinel]

    @property
    def remaining(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def enforce_deadline(self) -> None:
        if self.remaining == 0.0 and self._process.is_alive():
            self._killed_for = self._killed_for or "timed-out"
            self._process.kill()

    def ask_to_stop(self, grace: float) -> None:
        self._killed_for = "stopped"
        self._deadline = min(self._deadline, time.monotonic() + grace)
        self._process.terminate()

    def collect(self) -> list[Event]:
        events: list[Event] = []
        dead = not self._process.is_alive()  # asked before the pipe is emptied: what a dead child sent is all there
        try:
            while not self._connection.closed and self._connection.poll():
                kind, body = self._connection.recv()
                if kind == "sent":
                    events.append(Sent(self.task.key, body))
                elif kind == "returned":
                    self._answer = Returned(self.task.key, body)
                else:
                    self._answer = Died(self.task.key, *body, log=log_end(self.task.log))
        except (EOFError, OSError):
            self._connection.close()
        if dead and not self.over:
            self._process.join()
            self._connection.close()
            self.over = True
            events.append(self._answer or self._died())
        return events

    def _died(self) -> Died:
        code = self._process.exitcode
        how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exited with status {code}"
        if self._killed_for == "timed-out":
            cause, how = "timed-out", f"no end after {self.task.timeout:g} s"
        elif self._killed_for:
            cause = self._killed_for
        elif code == -signal.SIGKILL and out_of_memory_kills() > self._kills:
            cause, how = "out-of-memory", "killed by the kernel's out-of-memory killer"
        else:
            cause = "error"
        return Died(self.task.key, cause, how, log_end(self.task.log))


def log_end(log: Path) -> str:
    """The last lines of a task's output."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Within, children do not import this process's main module, which may be a cluster's and import much."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory since it started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
