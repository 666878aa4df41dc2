"""Cells as tasks of a Ray cluster. That a node or a worker dies is Ray's to mend; what a cell's child does is ours."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before it is imported
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it will be: a task without GPUs is told nothing

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench import remote
from bench.answer import Answer, Place
from bench.errors import DeviceError, in_a_line
from bench.host import cores
from bench.kept import Kept, event
from bench.pool import GRACE_SECONDS
from bench.remote import Storage
from bench.slots import Slot
from bench.task import Died, Event, Returned, Sent, Task
from bench.where import Wanted, Where

SYSTEM_RETRIES = 8  # of a cell whose worker process or node died
ASK_SECONDS = 1.0  # between two questions of a task whether it is to stop
SAFE_SECONDS = 5.0  # to hand over, after those of grace
PACKAGE = Path(__file__).parents[1]


class OnRay:
    """An engine (`bench.engines.Engine`): a cluster by its address, or one of this machine alone.

    Raises:
        DeviceError: where it cannot be reached, or has not what is wanted.
    """

    def __init__(self, where: Where, wanted: Wanted, kept: Kept, said: Callable[[str], None]) -> None:
        _connect(where.address, wanted)
        self.kept = kept
        self._storage = Storage(kept.storage.where, None if where.shared else str(wanted.witness.absolute()))
        if not where.shared:
            said("checkpoints are in the results folder where a node sees it, else on that node alone (--shared)")
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        self._device = "cuda" if wanted.device == "cuda" or (wanted.device == "auto" and gpus) else "cpu"
        self._devices = wanted.devices
        units = gpus if self._device == "cuda" else int(there.get("CPU", 0))
        if units < wanted.devices:
            kind = "GPU" if self._device == "cuda" else "CPU"
            raise DeviceError(f"--on ray: the cluster has {units} {kind}s, and a cell is to have {wanted.devices}")
        slot = Slot("cuda:0" if self._device == "cuda" else "cpu", devices=wanted.devices)
        self.slots = [slot] * min(wanted.workers or units // wanted.devices, wanted.cells)
        nodes = sum(node["Alive"] for node in ray.nodes())
        of = f"{nodes} nodes" if nodes > 1 else "one node"
        self.label = f"Ray, {units} {'GPU' if self._device == 'cuda' else 'CPU'}s of {of}"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mail = ray.remote(_Mail).options(num_cpus=0, scheduling_strategy=here).remote()
        self._tasks: dict[Any, str] = {}
        self._places: dict[str, Place] = {}
        self._data: dict[str, str | None] = {}
        gpu = {"num_gpus": wanted.devices} if self._device == "cuda" else {}
        self._errand = ray.remote(_errand).options(num_cpus=wanted.devices, max_retries=SYSTEM_RETRIES, **gpu)

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, task: Task) -> None:
        """Start a task that runs one cell."""
        self._data[task.key] = task.payload["data_sha256"]
        self._places.pop(task.key, None)
        order = remote.order(task, self._storage, self._device, self._devices)
        self._tasks[self._errand.remote(task.key, order, self._mail)] = task.key

    def wait(self, seconds: float) -> list[Event]:
        """The events of the next moment; empty after `seconds` without any.

        Raises:
            DeviceError: where a node cannot run cells at all, or the cluster is gone.
        """
        if not self._tasks:
            time.sleep(seconds)
            return []
        waiting = list(self._tasks)
        try:
            ray.wait(waiting, timeout=seconds)
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)  # all there are
            events = self._heard()  # what a task sent is there before its end is
        except RayError as error:
            raise DeviceError(f"--on ray: the cluster is gone ({in_a_line(error)}); run again to continue") from None
        return events + [self._end(self._tasks.pop(reference), reference) for reference in ready]

    def stop(self) -> list[Event]:
        """Ask every task to stop, give it time to save its state, then end it; and leave the cluster."""
        try:
            return self._stop() if self._tasks else []
        except (RayError, DeviceError):
            return [Died(key, "stopped", "the cluster is gone", "") for key in self._tasks.values()]
        finally:
            self._tasks.clear()
            ray.shutdown()

    def _stop(self) -> list[Event]:
        began = ray.get(self._mail.stop.remote())
        for reference, key in self._tasks.items():
            if key not in began:
                ray.cancel(reference)  # it may have begun in this moment: then it has nothing to lose
        events: list[Event] = []
        deadline = time.monotonic() + GRACE_SECONDS + SAFE_SECONDS
        while self._tasks and time.monotonic() < deadline:
            events += self.wait(0.2)
        for reference, key in self._tasks.items():
            ray.cancel(reference, force=True)
            events.append(Died(key, "stopped", "did not stop when asked to", ""))
        return events

    def _heard(self) -> list[Event]:
        events: list[Event] = []
        under_way = set(self._tasks.values())
        for key, text in ray.get(self._mail.take.remote()):
            told = json.loads(text)
            if key not in under_way:
                continue  # of a node that was taken for dead, whose cell has ended elsewhere
            if "place" in told:
                self._places[key] = Place.of_plain(told["place"])
            else:
                events.append(Sent(key, told["sent"]))
        return events

    def _end(self, key: str, reference: Any) -> Returned | Died:
        place, data = self._places.pop(key, None), self._data.pop(key)
        try:
            content = ray.get(reference)
        except TaskCancelledError:
            return Died(key, "stopped", "stopped", "", place)
        except OutOfMemoryError as error:
            return Died(key, "out-of-memory", "killed by Ray's memory monitor", str(error), place)
        except RayTaskError as error:
            raise DeviceError(f"--on ray: a node cannot run cells: {in_a_line(error.cause or error)}") from None
        except RayError as error:
            return Died(key, "error", f"{type(error).__name__}: {in_a_line(error)}", "", place)
        if content is None:
            return Died(key, "stopped", "stopped", "", place)
        return event(key, Answer.unpacked(content, key, data))


def _connect(address: str | None, wanted: Wanted) -> None:
    """Join the cluster, or start one.

    Raises:
        DeviceError: where that cannot be.
    """
    if address and address.startswith("ray://"):
        raise DeviceError(f"--address {address}: HOST:PORT of a cluster that this machine is a node of, or auto")
    how: dict[str, Any] = {"address": address or "local"}
    if not address:
        room = max(cores(), (wanted.workers or 1) * wanted.devices)
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # the kernel ends a cell that takes too much
        how |= {"num_cpus": room, "include_dashboard": False}
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))  # where nodes share disks
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path}
    handler = signal.getsignal(signal.SIGTERM)
    logging.getLogger("ray").setLevel(logging.ERROR)  # which advises on each start
    ray.shutdown()  # what is left of a sweep that could not start
    try:
        ray.init(**how, runtime_env={"env_vars": environment}, log_to_driver=False, configure_logging=False)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise DeviceError(f"--on ray: no cluster at {address or 'this machine'}: {in_a_line(error)}") from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray sets its own, which exits


class _Mail:
    """An actor beside the driver: letters to it, and whether it asks tasks to stop."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, str]] = []
        self._began: set[str] = set()
        self._stopping = False

    def put(self, key: str, text: str) -> None:
        self._began.add(key)
        self._letters.append((key, text))

    def take(self) -> list[tuple[str, str]]:
        letters, self._letters = self._letters, []
        return letters

    def stop(self) -> set[str]:
        self._stopping = True
        return self._began

    def stopping(self) -> bool:
        return self._stopping


def _errand(key: str, order: str, mail: Any) -> bytes | None:
    """On a node: carry out an order; the answer packed, None where it was stopped."""
    asked, stopping = 0.0, False
    last: list[Any] = []

    def tell(told: dict[str, Any]) -> None:
        last[:] = [mail.put.remote(key, json.dumps(told))]

    def ask() -> bool:
        nonlocal asked, stopping
        if not stopping and time.monotonic() - asked > ASK_SECONDS:
            with contextlib.suppress(GetTimeoutError, RayActorError):
                stopping = ray.get(mail.stopping.remote(), timeout=ASK_SECONDS)
            asked = time.monotonic()
        return stopping

    answer = remote.carry_out(order, tell, ask)
    with contextlib.suppress(GetTimeoutError, RayActorError):  # the driver hears all of it before the end
        ray.get(last, timeout=SAFE_SECONDS)
    return answer.packed() if answer else None
