"""Whether this machine can run cells: its packages, GPUs, disk, cache, and what it can tell of its code."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import host, pool, run
from bench.errors import DataError, DeviceError

LEAST_FREE = 2**30  # bytes; a study with kept nets and checkpoints soon takes as much


@dataclass(frozen=True)
class Fact:
    """Something that cells depend on, and whether it is as it should be."""

    says: str
    sound: bool = True


def facts(results: Path) -> Iterator[Fact]:
    """What cells whose tables are to be in `results` depend on; a process with torch is started for it."""
    code = run.provenance()
    yield Fact(f"resbench {code.resbench_version}, Python {code.python_version}")
    yield from _devices()
    yield _cache()
    yield from _disk(results)
    if code.commit is None:
        yield Fact("git tells no commit here: rows will not say which code ran")
    else:
        yield Fact(f"commit {code.commit[:12]}{', and code that differs from it' if code.dirty else ''}")


def _devices() -> Iterator[Fact]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            job = {"sources": [], "nets": []}
            toolkit = pool.call("bench.surveyor:survey", job, Path(folder) / "log", lambda _: None)["toolkit"]
    except DataError as error:
        yield Fact(f"torch cannot be used: {error}", sound=False)
        return
    code = run.provenance()
    cuda = f", CUDA {toolkit.cuda}" if toolkit.cuda else ""
    yield Fact(f"torch {toolkit.torch}{cuda}, torchvision {code.torchvision_version}, numpy {code.numpy_version}")
    try:
        gpus = host.gpus()
    except DeviceError as error:
        yield Fact(str(error), sound=False)
        return
    if gpus and not toolkit.cuda_available:
        yield Fact(
            f"{len(gpus)} GPUs, but this torch does not use them: its build or the driver does not fit", sound=False
        )
    elif gpus:
        yield Fact(f"{len(gpus)} GPUs: {', '.join(gpu.name for gpu in gpus)}; driver {gpus[0].driver}")
    else:
        yield Fact(f"no GPU; cells run on {host.cores()} cores of {host.cpu_model()}")


def _cache() -> Fact:
    trouble = host.cache_trouble()
    return Fact(trouble or f"the cache {host.cache_directory()} can be written", sound=not trouble)


def _disk(results: Path) -> Iterator[Fact]:
    if results.exists() and not results.is_dir():
        yield Fact(f"{results} is no folder; --results names one", sound=False)
        return
    if trouble := host.unwritable(results):
        yield Fact(f"{results}/ cannot be written ({trouble}): no cell can be recorded there", sound=False)
    place = next(folder for folder in (results.absolute(), *results.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    yield Fact(f"{free / 2**30:.1f} GiB free for {results}/", sound=free >= LEAST_FREE)
