"""The child's side of a pool: a task's function is called, and what it returned or raised is the answer."""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.errors import ResbenchError, StoreError, is_out_of_memory
from bench.task import Failure, Task

# The template is forked, and a fork copies one thread and no CUDA context: no library may start either in it.
TEMPLATE = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # freed memory is kept: giving it back and asking again made up to a tenth of an evaluation
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}


class _Caller:
    def __init__(self, connection: Connection, stop: threading.Event) -> None:
        self._connection, self._stop = connection, stop

    def send(self, message: Any) -> None:
        self._connection.send(("sent", message))

    def stopping(self) -> bool:
        return self._stop.is_set()


def main(connection: Connection, task: Task) -> None:
    """The child: call the task's function and answer with what it returned or raised."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    _redirect_output(task.log)
    os.environ.update(TEMPLATE | dict(task.environment))  # whoever started the template
    # not by `threading`, which waits for a thread to tell that it runs: for want of memory it may never do so
    _thread.start_new_thread(_die_with_parent, ())
    module, _, function = task.entry.partition(":")
    caller = _Caller(connection, stop)
    end = answer(lambda: getattr(importlib.import_module(module), function)(task.payload, caller))
    with contextlib.suppress(OSError):  # a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    connection.send(end)
    connection.close()


def answer(task: Callable[[], Any]) -> tuple[str, Any]:
    """What to tell the parent of a call: ("returned", its value), or ("died", (cause, reason)) as in `Died`."""
    try:
        return "returned", task()
    except StoreError as error:
        return "died", ("unwritable", str(error))
    except ResbenchError as error:
        return "died", ("refused", str(error))
    except Failure as failure:
        return "died", (failure.cause, failure.reason)
    except Exception as error:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return "died", ("out-of-memory" if is_out_of_memory(error) else "error", _one_line(error))


def _redirect_output(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    faulthandler.enable()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _one_line(error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
