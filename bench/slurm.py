"""Slurm's programs and submitit's parameters for them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from bench.errors import InputError, in_a_line
from bench.where import Where

MOST_JOBS = 1000  # in an array: Slurm's own limit, unless configured
SAVE_SECONDS = 90  # before the time limit a job is told to save its state
DEFAULT_LIMIT = "1:00:00"
PACKAGE = Path(__file__).parents[1]


def parameters(where: Where, device: str, devices: int) -> dict[str, Any]:
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


def queue() -> dict[tuple[str, int | None], str] | None:
    """The ids of the user's jobs that wait or run, by name and index in their array; None where Slurm does not say."""
    out = call(["squeue", "--me", "--noheader", "--array", "--format=%F|%K|%j"])
    if out is None:
        return None
    alive: dict[tuple[str, int | None], str] = {}
    for line in out.splitlines():
        number, index, name = line.strip().split("|", 2)
        array = index.isdecimal()
        alive[name, int(index) if array else None] = f"{number}_{index}" if array else number
    return alive


def call(command: list[str]) -> str | None:
    """What a program of Slurm prints; None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def reason(error: Exception) -> str:
    """What sbatch said, or else the error."""
    lines = [line for line in str(error).splitlines() if "error:" in line]
    return lines[-1].strip() if lines else in_a_line(error)
