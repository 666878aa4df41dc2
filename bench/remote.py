"""A cell run for a driver on another machine: what an engine calls there, and what it is told. JSON both ways.

The cell runs in a fresh child of a pool as ever, so that its ends are told apart as they are on one machine.
"""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import child, host, pool, run, shared
from bench.answer import Answer, Place
from bench.cell import Cell
from bench.errors import DataError, InputError, StoreError
from bench.pool import Pool
from bench.shared import Shared
from bench.slots import CONNECTIONS, VISIBLE, check_gpus, choose_gpus
from bench.task import Died, Event, Returned, Sent, Task

LOOK_SECONDS = 0.5  # between two looks at whether to stop, and whether there is a new checkpoint
SURVEY = {"sources": [], "nets": []}


@dataclass(frozen=True)
class Storage:
    """Where cells under way are kept: `where` as `Shared` takes it; with `witness`, a file that the driver holds there,
    it counts only on machines that see that."""

    where: str
    witness: str | None = None


def order(task: Task, storage: Storage, device: str, devices: int) -> str:
    """What the other side is told of a task that runs one cell, as JSON."""
    job = task.payload
    told = {
        "cell_id": Cell.from_flat(job["cell"]).id,
        "entry": task.entry,
        "job": job,
        "timeout": task.timeout,
        "device": device,
        "devices": devices,
        "storage": asdict(storage),
    }
    return json.dumps(told)


def carry_out(order: str, tell: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]) -> Answer | None:
    """Run the cell of an order; how it ended, None where it was asked to stop and saved its state.

    `tell` gets what may be said meanwhile: first `{"place": ...}`, then `{"sent": what the cell sends}`. The answer is
    left in shared storage before this returns, if it can be; a value that an earlier attempt left is returned at once.
    """
    told = json.loads(order)
    cell_id, data, began = told["cell_id"], told["job"]["data_sha256"], time.monotonic()
    place: Place | None = None

    def answered(**end: Any) -> Answer:
        return Answer(cell_id, data, **end, place=place and replace(place, seconds=time.monotonic() - began))

    def work() -> Answer | None:
        nonlocal place
        kept = _storage(**told["storage"])
        if found := _left(kept, cell_id, data):
            return found
        _check(told, kept)
        place, environment = _here(told["device"], told["devices"])
        tell({"place": place.plain()})
        end = _run(told, kept, environment, tell, stopping)
        if end is None:
            return None
        if isinstance(end, Died):
            return answered(death={"cause": end.cause, "reason": end.reason, "log": end.log})
        answer = answered(value=end.value)
        kept.write(shared.answer(cell_id), answer.packed())  # what cannot be left ends the sweep: it would be lost
        return answer

    kind, body = child.answer(work)
    answer = body if kind == "returned" else answered(death={"cause": body[0], "reason": body[1], "log": ""})
    if answer and answer.death:
        with contextlib.suppress(StoreError, InputError):
            _storage(**told["storage"]).write(shared.answer(cell_id), answer.packed())
    return answer


def _check(told: dict[str, Any], kept: Shared) -> None:
    if Cell.from_flat(told["job"]["cell"]).id != told["cell_id"]:
        raise DataError(
            f"{platform.node()} has another version of resbench, to which this cell is another; install one"
        )
    if told["job"]["net"] and kept.where != told["storage"]["where"]:
        raise DataError(f"{platform.node()} does not see the results folder: --keep-nets needs --shared")


def _storage(where: str, witness: str | None) -> Shared:
    """Shared storage; where this machine does not see it, a folder of this machine alone."""
    if witness and not Path(witness).exists():
        return Shared(str(host.cache_directory() / "elsewhere"))
    return Shared(where)


def _left(kept: Shared, cell_id: str, data_sha256: str | None) -> Answer | None:
    """The value that an attempt left whose machine ended before it could hand it over."""
    content = kept.read(shared.answer(cell_id))
    if content is None:
        return None
    try:
        found = Answer.unpacked(content, cell_id, data_sha256)
    except DataError:
        return None
    return found if found.value is not None else None


def _here(device: str, devices: int) -> tuple[Place, tuple[tuple[str, str], ...]]:
    """This machine as the cell sees it, and what its child is to find set: the GPUs that the engine assigned.

    Raises:
        DeviceError: where they are not there.
    """
    known = toolkit()
    gpus = choose_gpus(device, known)[:devices]
    check_gpus(gpus)
    place = Place(host.describe(known, gpus[0] if gpus else None), run.provenance(), datetime.now(UTC), 0.0)
    if not gpus:
        return place, ()
    return place, ((VISIBLE, ",".join(gpu.uuid for gpu in gpus)), CONNECTIONS)


@functools.cache
def toolkit() -> host.Toolkit:
    """This machine's, as a child tells, by which the template of all children is started.

    Raises:
        DataError: where none can be.
    """
    with tempfile.TemporaryDirectory() as folder:
        return pool.call("bench.surveyor:survey", SURVEY, Path(folder) / "log", lambda _: None)["toolkit"]


def _run(
    told: dict[str, Any],
    kept: Shared,
    environment: tuple[tuple[str, str], ...],
    tell: Callable[[dict[str, Any]], None],
    stopping: Callable[[], bool],
) -> Returned | Died | None:
    """Run the cell in a child; its end, None where it was stopped."""
    cell_id, job = told["cell_id"], told["job"]
    with tempfile.TemporaryDirectory(prefix="resbench-") as folder:
        here = kept.folder or Path(folder)
        state, net = here / shared.checkpoint(cell_id), here / shared.net(cell_id)
        copies = _Copies(kept, shared.checkpoint(cell_id), state)
        job |= {"checkpoint": str(state), "net": str(net) if job["net"] else None, "loading": _loading(told)}
        task = Task(cell_id, told["entry"], job, Path(folder) / "log", environment, told["timeout"])
        children = Pool()
        children.start(task)
        try:
            while True:
                for happened in _happened(children, stop=stopping()):
                    if isinstance(happened, Sent):
                        tell({"sent": happened.message})
                        continue
                    copies.update()
                    if _is_stopped(happened) or (isinstance(happened, Died) and stopping()):
                        return None
                    if net.exists() and not kept.folder:
                        kept.put(net, shared.net(cell_id))
                    return happened
                copies.update()
        finally:
            children.stop(grace=0)


def _happened(children: Pool, *, stop: bool) -> list[Event]:
    return children.stop() if stop else children.wait(LOOK_SECONDS)


def _is_stopped(end: Returned | Died) -> bool:
    return end.cause == "stopped" if isinstance(end, Died) else end.value["curve"] is None


def _loading(told: dict[str, Any]) -> dict[str, Any]:
    """How images are read: by so many processes as asked for, else by this GPU's share of this machine's cores."""
    loading = told["job"]["loading"]
    if loading["loaders"] is None:
        gpus = len(host.gpus(environment={})) if told["device"] == "cuda" else 0
        loading |= {"loaders": max(1, host.cores() // gpus) if gpus else 0}
    return loading


class _Copies:
    """A checkpoint on this machine, and its copy in shared storage where that is no folder of this machine's."""

    def __init__(self, kept: Shared, name: str, path: Path) -> None:
        self._kept, self._name, self._path = kept, name, path
        if not kept.folder:
            kept.fetch(name, path)
        self._seen = self._changed

    @property
    def _changed(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def update(self) -> None:
        """Copy it if it is another than before."""
        changed = self._changed
        if self._kept.folder or changed in (None, self._seen):
            return
        self._kept.put(self._path, self._name)
        self._seen = changed
