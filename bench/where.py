"""Where the cells of a sweep are to run, as a command line says it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import InputError

LOCAL, RAY, SLURM = "local", "ray", "slurm"
ENGINES = (LOCAL, RAY, SLURM)


@dataclass(frozen=True)
class Where:
    """Which engine, and what was said of it.

    `address` is of a Ray cluster, None for one of this machine alone. `shared` is storage that all machines see, None
    for the results folder. `partition`, `time_limit` (as sbatch takes it) and further `options` of sbatch are Slurm's.
    """

    on: str = LOCAL
    address: str | None = None
    shared: str | None = None
    partition: str | None = None
    time_limit: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Whether that can be.

        Raises:
            InputError: for what another engine takes, or an engine that is not installed.
        """
        takers = {
            "address": (RAY,),
            "shared": (RAY, SLURM),
            "partition": (SLURM,),
            "time_limit": (SLURM,),
            "options": (SLURM,),
        }
        for name, engines in takers.items():
            if getattr(self, name) and self.on not in engines:
                option = "slurm" if name == "options" else name.replace("_", "-")
                raise InputError(f"--{option}: only with --on {' or --on '.join(engines)}")
        for engine, module, name in ((RAY, "ray", "Ray"), (SLURM, "submitit", "submitit")):
            if self.on == engine and importlib.util.find_spec(module) is None:
                raise InputError(f"--on {engine} needs {name}: pip install 'resbench[{engine}]'")


@dataclass(frozen=True)
class Wanted:
    """What a sweep asks of an engine.

    `device` is auto, cpu or cuda; `workers` cells at a time, None for as many as there is room for; `devices` for each;
    `cells` in all. `results` is the driver's folder, `witness` a file that no other folder has.
    """

    device: str
    workers: int | None
    devices: int
    cells: int
    results: Path
    witness: Path
