"""Cells as jobs of Slurm, in arrays that submitit submits. A job that is preempted or runs out of time goes on later.

The driver polls, and may be killed: what ran meanwhile is left in the shared folder, and jobs that still run or wait
are found again by the name that was noted before they were submitted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import host, remote, shared
from bench.answer import Answer, Place
from bench.errors import DataError, DeviceError, InputError, in_a_line
from bench.kept import Kept, event
from bench.pool import Died, Event, Returned, Sent, Task, log_end
from bench.remote import Storage
from bench.slots import Slot
from bench.where import Wanted, Where

POLL_SECONDS = 2.0  # between two looks into the shared folder
QUEUE_SECONDS = 10.0  # between two questions to Slurm, and from a job's end to its answer at most
END_SECONDS = 35.0  # for jobs that are cancelled: Slurm gives them 30 to save their state
MOST_JOBS = 1000  # in an array: Slurm's own limit, unless configured
RESUBMISSIONS = 8  # of a cell whose job began and was lost
SAVE_SECONDS = 90  # before the time limit a job is told to save its state
DEFAULT_LIMIT = "1:00:00"
PACKAGE = Path(__file__).parents[1]


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
        self._parameters = _parameters(where, self._device, wanted.devices)
        slot = Slot("cuda:0" if self._device == "cuda" else "cpu", devices=wanted.devices)
        self.slots = [slot] * min(wanted.workers or MOST_JOBS, wanted.cells)
        self.label = "Slurm" + (f", partition {where.partition}" if where.partition else "")
        self._errands: dict[str, _Errand] = {}
        self._alive: dict[tuple[str, int | None], str] = {}  # ids of jobs that wait or run
        self._asked = self._looked = float("-inf")
        self._ask()

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
            _call(["scancel", *ids])
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
            raise DeviceError(f"--on slurm: not submitted: {_reason(error)}") from None
        for errand in errands.values():
            errand.since = time.monotonic()

    def _ask(self) -> None:
        """Ask Slurm which jobs wait or run; where it does not answer, what it said last is taken to hold."""
        out = _call(["squeue", "--me", "--noheader", "--array", "--format=%F|%K|%j"])
        if out is None:
            for errand in self._errands.values():
                errand.since = time.monotonic()
            return
        self._asked = time.monotonic()
        self._alive = {}
        for line in out.splitlines():
            number, index, name = line.strip().split("|", 2)
            array = index.isdecimal()
            self._alive[name, int(index) if array else None] = f"{number}_{index}" if array else number

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


class Errand:
    """What a job calls. Told to stop, by Slurm or by `scancel`, it saves its cell's state first."""

    def __call__(self, order: str, said: str) -> None:
        """Carry out an order, saying in the file `said`, as lines of JSON, what is told meanwhile."""
        from submitit.core.job_environment import JobEnvironment

        again = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]  # what Slurm sends before a job's time is over
        asked: list[int] = []
        requeue = signal.signal(again, signal.SIG_IGN)  # Slurm sends it to all processes of the job,
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and the template of children is to ignore it
        with contextlib.suppress(DataError):
            remote.toolkit()
        for number in (again, signal.SIGTERM):  # the other is for a job that is preempted, or cancelled
            signal.signal(number, lambda number, _: asked.append(number))
        Path(said).parent.mkdir(parents=True, exist_ok=True)
        with Path(said).open("a") as file:

            def tell(told: dict[str, Any]) -> None:
                file.write(json.dumps(told) + "\n")
                file.flush()

            answer = remote.carry_out(order, tell, lambda: bool(asked))
        if answer and answer.death:
            print(answer.death["reason"])  # for who reads the job's log
        if answer is None and again in asked and callable(requeue):
            requeue(again, None)  # submitit's, which calls `checkpoint`, puts the job into the queue again, and exits

    def checkpoint(self, order: str, said: str) -> Any:
        """What the job is to do when it runs again: the same, from the cell's checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order, said)


def _parameters(where: Where, device: str, devices: int) -> dict[str, Any]:
    """For submitit's executor."""
    limit = minutes(where.time_limit or DEFAULT_LIMIT)
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    found: dict[str, Any] = {
        "time": limit,
        "signal_delay_s": min(SAVE_SECONDS, limit * 15),
        "stderr_to_stdout": True,
        "cpus_per_task": devices,
        "array_parallelism": MOST_JOBS,
        "setup": [f"export PYTHONPATH={shlex.quote(path)}"],
        "additional_parameters": {key: value or True for key, value in where.options.items()},
    }
    if where.partition:
        found["partition"] = where.partition
    if device == "cuda":
        found["gpus_per_node"] = devices
    return found


def minutes(text: str) -> int:
    """A time as sbatch takes it, in whole minutes: MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS[:…].

    Raises:
        InputError: for another.
    """
    found = re.fullmatch(r"(?:(\d{1,3})-(\d+)(?::(\d+))?(?::(\d+))?|(?:(\d+):)?(\d+)(?::(\d+))|(\d+))", text)
    seconds = 0
    if found:
        days, hours, mins, secs, h, m, s, alone = (int(group or 0) for group in found.groups())
        seconds = ((days * 24 + hours + h) * 60 + mins + m + alone) * 60 + secs + s
    if not seconds:
        raise InputError(
            f"--time-limit {text}: allowed: MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, as 90 or 1:30:00"
        )
    return -(-seconds // 60)


def _call(command: list[str]) -> str | None:
    """What a program of Slurm prints; None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _reason(error: Exception) -> str:
    """What sbatch said, or else the error."""
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[-1].strip() if lines else in_a_line(error)
