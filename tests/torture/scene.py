"""A small study that is run for real, again and again, in a folder where things go wrong; and what must hold of it."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from bench.evaluation import MEASURED
from bench.store import Store

ROOT = Path(__file__).parents[2]
STUDY = """
title = "Tortured"
question = "Does anything get lost?"
[matrix]
data = "digits"
depth = [8]
shortcut = ["none", "A", "B"]
seeds = 2
width = 0.5
[recipe]
iterations = 60
batch = 32
lr = 0.05
drops = [30]
flip = false
crop_padding = 1
eval_every = 15
"""
CELLS = 6
DEADLINE = 300.0  # seconds, after which a run counts as hanging
MEASURED_COLUMNS = {*MEASURED, "run_id", "schema_version"}


class Violation(Exception):  # noqa: N818 - the name of what it is
    """Something that must hold did not."""


@dataclass
class Ended:
    """An orchestrator's exit code, negative for a signal, and what it said."""

    code: int
    said: str


@dataclass
class Scene:
    """A results folder, its disk where it has one of its own, and what was last found recorded in it.

    What the scene itself writes is on the `desk`, where nothing goes wrong.
    """

    folder: Path
    desk: Path
    reference: dict[str, Any]
    rng: random.Random
    disk: Path | None = None
    known: dict[str, str] = field(default_factory=dict)  # run id by cell id

    @property
    def store(self) -> Store:
        """The tables."""
        return Store(self.folder / "results")

    def start(self, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start an orchestrator."""
        self.desk.mkdir(parents=True, exist_ok=True)
        study = self.desk / "tortured.toml"
        study.write_text(STUDY)
        how = ["--checkpoint-every", "0.05", "--workers", "1", "--retries", "3"]
        return self.command("run", str(study), *how, *options, environment=environment)

    def command(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command on this folder."""
        command = [sys.executable, "-m", "bench.cli", *words, "--results", str(self.store.root)]
        variables = os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {})
        output = self.desk / f"{time.monotonic_ns()}.out"
        with output.open("w") as file:
            process = subprocess.Popen(
                command, env=variables, stdout=file, stderr=subprocess.STDOUT, text=True, cwd=ROOT
            )
        process.output = output  # type: ignore[attr-defined]
        return process

    def end(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for its end, and its children's."""
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Violation(f"no end within {DEADLINE:.0f} s: {_said(process)}") from None
        said = _said(process)
        process.output.unlink()  # type: ignore[attr-defined]
        if "Traceback (most recent call last)" in said:
            raise Violation(f"a traceback: {said}")
        return Ended(process.returncode, said)

    def run(self, *options: str, environment: dict[str, str] | None = None) -> Ended:
        """Run an orchestrator to its end."""
        return self.end(self.start(*options, environment=environment))

    def moment(self, process: subprocess.Popen[str], ready: Callable[[], Any] = lambda: True) -> Any:
        """A random moment of its life at which `ready` gives something, which is returned; None once it has ended."""
        rows, deadline = self.rows(), time.monotonic() + DEADLINE
        if self.rng.random() < 0.4:  # while it starts, or at once
            time.sleep(self.rng.uniform(0.0, 3.0))
        else:  # after a row more, or a checkpoint
            what = self.rng.choice(["runs/*.parquet", "checkpoints/*.pt"])
            while process.poll() is None and time.monotonic() < deadline:
                if len(list(self.store.root.glob(what))) > (rows if what.startswith("runs") else 0):
                    break
                time.sleep(0.01)
            time.sleep(self.rng.uniform(0.0, 0.5))
        while process.poll() is None and time.monotonic() < deadline:
            if found := ready():
                return found
            time.sleep(0.01)
        return None

    def rows(self) -> int:
        """How many cells have a file of their own in `runs`."""
        return len(list(self.store.root.glob("runs/*.parquet")))

    def facts(self) -> dict[str, Any]:
        """By cell: all that two runs of it on one host have in common."""
        runs = self.store.runs()
        runs = runs.filter(pc.equal(runs["outcome"], "done"))
        found: dict[str, list[Any]] = {cell_id: [] for cell_id in runs["cell_id"].to_pylist()}
        for row in self.store.curves(runs).to_pylist() + self.store.layers(runs).to_pylist():
            found[row["cell_id"]].append({k: row[k] for k in row if k not in MEASURED_COLUMNS})
        return found

    def check(self, lost: set[str] = frozenset()) -> None:
        """That nothing recorded is gone but `lost`, nothing is twice, nothing was run again, and each bit is right.

        Raises:
            Violation: saying what does not hold.
        """
        rows = [row for row in self.store.runs().to_pylist() if row["outcome"] == "done"]
        runs = {row["cell_id"]: row["run_id"] for row in rows}
        if len(runs) != len(rows):
            raise Violation(f"{len(rows)} rows of {len(runs)} cells")
        if gone := self.known.keys() - runs.keys() - lost:
            raise Violation(f"lost: {sorted(gone)}")
        if again := {cell for cell, run in self.known.items() if cell not in lost and runs[cell] != run}:
            raise Violation(f"run again: {sorted(again)}")
        for cell, found in self.facts().items():
            if found != self.reference[cell]:
                raise Violation(f"other values of {cell}")
        self.known = runs

    @property
    def complete(self) -> bool:
        """Whether all cells are done."""
        return len(self.known) == CELLS

    def check_end(self) -> None:
        """That of a complete study everything is there, and nothing else.

        Raises:
            Violation: saying what does not hold.
        """
        if self.facts() != self.reference:
            raise Violation("the end is another than the undisturbed one")
        names = {f"{cell}-{run}" for cell, run in self.known.items()}
        stray = [path for path in self.store.root.glob("[clr]*/*") if path.suffix in (".pt", ".tmp")]
        stray += [path for path in self.store.root.glob("curves/*.parquet") if not _named(path, names)]
        if stray:
            raise Violation(f"left over: {stray}")


def _named(path: Path, names: set[str]) -> bool:
    return path.stem in names or path.stem.startswith("packed-")


def _said(process: subprocess.Popen[str]) -> str:
    return process.output.read_text(errors="replace")  # type: ignore[attr-defined]


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that train: children of the server that forks them."""
    return [pid for server in _children(process.pid) for pid in _children(server)]


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def signalled(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def starve(pid: int) -> None:
    """Let a process have no more memory than it has now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        data = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")) * 1024
        resource.prlimit(pid, resource.RLIMIT_DATA, (data, data))
    except (OSError, StopIteration):
        return


@contextmanager
def small_disk(path: Path, size: str = "96m") -> Iterator[Path | None]:
    """A file system of its own, in memory; None where this user may not mount one."""
    path.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True)
    if mounted.returncode:
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


STOP, GO, KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL
