"""Cells as jobs of Slurm, in arrays that submitit submits. A job that is preempted or runs out of time goes on later.

The driver polls, and may be killed: what ran meanwhile is left in the shared folder, and jobs that still run or wait
are found again by the name that was noted before they were submitted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import host, remote, shared, slurm
from bench.answer import Answer, Place
from bench.errand import Errand
from bench.errors import DataError, DeviceError, InputError
from bench.kept import Kept, event
from bench.pool import log_end
from bench.remote import Storage
from bench.slots import Slot
from bench.slurm import MOST_JOBS
from bench.task import Died, Event, Returned, Sent, Task
from bench.where import Wanted, Where

POLL_SECONDS = 2.0  # between two looks into the shared folder
QUEUE_SECONDS = 10.0  # between two questions to Slurm, and from a job's end to its answer at most
END_SECONDS = 35.0  # for jobs that are cancelled: Slurm gives them 30 to save their state
RESUBMISSIONS = 8  # of a cell whose job began and was lost


@dataclass(frozen=True)
class _Job:
    """A job by its name, which all of an array have, and its index there; `folder` has submitit's files."""

    name: str
    index: int | None
    folder: str

    @property
    def log(self) -> Path:
        """Its output."""
        which = "*" if self.index is None else f"*_{self.index}"
        return next(Path(self.folder).glob(f"{which}_0_log.out"), Path(self.folder) / "log.out")


@dataclass
class _Errand:
    """A cell under way: what its job is told, and what is known of it."""

    order: str
    data_sha256: str | None
    job: _Job | None = None  # None until it is submitted
    since: float = 0.0  # when it was, or last seen
    read: int = 0  # bytes of what it said
    place: Place | None = None
    lost: int = 0


class OnSlurm:
    """An engine (`bench.engines.Engine`).

    Raises:
        InputError: for storage that is no folder, a time limit that is none.
        DeviceError: where there is no Slurm.
    """

    def __init__(self, where: Where, wanted: Wanted, kept: Kept, said: Callable[[str], None]) -> None:
        if kept.storage.folder is None:
            raise InputError(f"--shared {where.shared}: with --on slurm a folder that all machines see")
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise DeviceError(f"--on slurm: there is no {program} on this machine")
        self.kept, self._said = kept, said
        self._folder = kept.storage.folder
        self._storage = Storage(str(self._folder))
        self._device = "cuda" if wanted.device == "cuda" else "cpu"
        self._devices = wanted.devices
        self._parameters = slurm.parameters(where, self._device, wanted.devices)
        slot = Slot("cuda:0" if self._device == "cuda" else "cpu", devices=wanted.devices)
        self.slots = [slot] * min(wanted.workers or MOST_JOBS, wanted.cells)
        self.label = "Slurm" + (f", partition {where.partition}" if where.partition else "")
        self._errands: dict[str, _Errand] = {}
        self._alive: dict[tuple[str, int | None], str] = {}  # ids of jobs that wait or run
        self._asked = self._looked = float("-inf")
        self._ask()
        if self._asked < 0:
            raise DeviceError("--on slurm: Slurm does not answer on this machine (`squeue --me` fails)")

    def __len__(self) -> int:
        return len(self._errands)

    def start(self, task: Task) -> None:
        """Start a task that runs one cell; if a job runs it already, for a driver that is no more, wait for that."""
        order = remote.order(task, self._storage, self._device, self._devices)
        errand = _Errand(order, task.payload["data_sha256"])
        job = self._noted(task.key)
        if job and (job.name, job.index) in self._alive:
            errand.job, errand.since = job, time.monotonic()
        else:
            self.kept.storage.remove(shared.said(task.key))
        self._errands[task.key] = errand

    def wait(self, seconds: float) -> list[Event]:
        """The events of the next moment; empty after `seconds` without any.

        Raises:
            DeviceError: where Slurm does not take a job.
        """
        self._submit({key: errand for key, errand in self._errands.items() if errand.job is None})
        if time.monotonic() - self._looked < POLL_SECONDS:
            time.sleep(seconds)
            return []
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            self._ask()
        self._looked = time.monotonic()
        events: list[Event] = []
        there = {entry.name: entry.stat().st_size for entry in self._listed()}
        for key, errand in list(self._errands.items()):
            if there.get(Path(shared.said(key)).name, 0) > errand.read:
                events += self._heard(key, errand)
            if Path(shared.answer(key)).name in there:
                events.append(self._ended(key, errand))
            elif self._is_lost(errand):
                events += self._lose(key, errand)
        return events

    def stop(self) -> list[Event]:
        """Cancel every job, which saves its cell's state; the events until all have ended."""
        events: list[Event] = []
        jobs = {(errand.job.name, errand.job.index) for errand in self._errands.values() if errand.job}
        self._ask()
        if ids := [self._alive[job] for job in jobs if job in self._alive]:
            slurm.call(["scancel", *ids])
        deadline = time.monotonic() + END_SECONDS
        while jobs & self._alive.keys() and time.monotonic() < deadline:
            time.sleep(1.0)
            self._ask()
        for key, errand in self._errands.items():
            if self.kept.storage.has(shared.answer(key)):
                events.append(self._event(key, errand))
            else:
                events.append(Died(key, "stopped", "stopped", "", errand.place))
        self._errands.clear()
        return events

    def _submit(self, errands: dict[str, _Errand]) -> None:
        keys = list(errands)
        for start in range(0, len(keys), MOST_JOBS):
            self._submit_together({key: errands[key] for key in keys[start : start + MOST_JOBS]})

    def _submit_together(self, errands: dict[str, _Errand]) -> None:
        from submitit import SlurmExecutor

        name = f"resbench-{uuid.uuid4().hex[:12]}"
        folder = host.cache_directory() / "slurm" / name
        for index, (key, errand) in enumerate(errands.items()):
            errand.job = _Job(name, index if len(errands) > 1 else None, str(folder))
            self.kept.storage.write(shared.job(key), json.dumps(asdict(errand.job)).encode())
        try:
            executor = SlurmExecutor(folder, max_num_timeout=1_000_000)
            executor.update_parameters(job_name=name, **self._parameters)
            with executor.batch():
                for key, errand in errands.items():
                    executor.submit(Errand(), errand.order, str(self._folder / shared.said(key)))
        except Exception as error:
            raise DeviceError(f"--on slurm: not submitted: {slurm.reason(error)}") from None
        for errand in errands.values():
            errand.since = time.monotonic()

    def _ask(self) -> None:
        """Ask Slurm which jobs wait or run; where it does not answer, what it said last is taken to hold."""
        alive = slurm.queue()
        if alive is None:
            for errand in self._errands.values():
                errand.since = time.monotonic()
        else:
            self._asked, self._alive = time.monotonic(), alive

    def _listed(self) -> Iterable[os.DirEntry[str]]:
        answers = self._folder / Path(shared.answer("x")).parent
        return list(os.scandir(answers)) if answers.is_dir() else []

    def _noted(self, key: str) -> _Job | None:
        """The job that was noted last for a cell."""
        with contextlib.suppress(ValueError, TypeError):
            return _Job(**json.loads(self.kept.storage.read(shared.job(key)) or b"null"))
        return None

    def _heard(self, key: str, errand: _Errand) -> list[Event]:
        """What a job said since."""
        with (self._folder / shared.said(key)).open("rb") as file:
            file.seek(errand.read)
            said = file.read()
        whole = said[: said.rfind(b"\n") + 1]
        errand.read += len(whole)
        events: list[Event] = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # cut short where a job was killed
                told = json.loads(line)
                if "place" in told:
                    errand.place = Place.of_plain(told["place"])
                else:
                    events.append(Sent(key, told["sent"]))
        return events

    def _ended(self, key: str, errand: _Errand) -> Returned | Died:
        del self._errands[key]
        end = self._event(key, errand)
        if errand.job and not any(e.job and e.job.name == errand.job.name for e in self._errands.values()):
            shutil.rmtree(errand.job.folder, ignore_errors=True)
        return end

    def _event(self, key: str, errand: _Errand) -> Returned | Died:
        try:
            content = self.kept.storage.read(shared.answer(key)) or b""
            return event(key, Answer.unpacked(content, key, errand.data_sha256))
        except DataError as error:
            return Died(key, "error", f"its answer is {error}", "", errand.place)

    def _is_lost(self, errand: _Errand) -> bool:
        """Whether its job is gone, and had time to leave an answer."""
        if errand.job is None:
            return False
        if (errand.job.name, errand.job.index) in self._alive:
            errand.since = time.monotonic()
            return False
        return self._asked > errand.since + QUEUE_SECONDS

    def _lose(self, key: str, errand: _Errand) -> list[Event]:
        """Submit a cell again whose job is gone; give up one whose job never began, or was lost too often."""
        if errand.place and errand.lost < RESUBMISSIONS:
            self._said(f"{key}: its job is gone; submitted again")
            errand.job, errand.lost = None, errand.lost + 1
            return []
        del self._errands[key]
        how = "its job ended without an answer" if errand.place else "its job ended before it began to work"
        return [Died(key, "error", how, log_end(errand.job.log) if errand.job else "", errand.place)]
