"""What machine this is: the fields that decide whether two timings may be compared, and the GPUs there are."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import DeviceError
from bench.nvml import ask

VECTOR_FLAGS = ("avx", "fma", "amx", "asimd", "sve", "bf16")  # how the names of those that matter begin


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML names it; what NVML does not tell is None."""

    uuid: str
    name: str
    memory_bytes: int | None
    power_limit_watts: float | None
    driver: str | None


@dataclass(frozen=True)
class Toolkit:
    """The torch that runs the cells, as the process that imported it tells."""

    torch: str
    cuda: str | None
    cudnn: int | None
    cuda_available: bool


@dataclass(frozen=True)
class Host:
    """The stable facts that a measurement depends on. GPU fields are None for cells on a CPU."""

    cpu: str
    cores: int
    memory_gib: int
    system: str
    gpu: str | None
    gpu_memory_gib: int | None
    gpu_power_limit_watts: float | None
    driver: str | None
    torch: str
    cuda: str | None
    cudnn: int | None
    instructions: str | None = None  # None where not recorded

    @cached_property
    def id(self) -> str:
        """12 hexadecimal digits: SHA-256 of every field, but of `instructions` where they are not recorded."""
        fields = asdict(self)
        if self.instructions is None:
            del fields["instructions"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """The device in words: `NVIDIA H100 80GB HBM3`, `AMD EPYC, 2 cores`."""
        return self.gpu or f"{self.cpu}, {self.cores} core{'s' if self.cores > 1 else ''}"


def differences(left: Host, right: Host) -> list[tuple[str, Any, Any]]:
    """The fields in which two hosts differ, with the value of each; none of hosts with one id."""
    pairs = ((f.name, getattr(left, f.name), getattr(right, f.name)) for f in fields(Host))
    return [(name, mine, theirs) for name, mine, theirs in pairs if mine != theirs]


def unlike(left: Host, right: Host) -> str:
    """In words what tells two hosts apart: `driver 550.1 against 560.2; torch 2.14 against 2.15`."""
    return "; ".join(f"{_words(name)} {_shown(a)} against {_shown(b)}" for name, a, b in differences(left, right))


def _words(name: str) -> str:
    names = {"cpu": "CPU", "gpu": "GPU", "cuda": "CUDA", "cudnn": "cuDNN", "gib": "GiB"}
    return " ".join(names.get(word, word) for word in name.split("_"))


def _shown(value: Any) -> str:
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def describe(toolkit: Toolkit, gpu: Gpu | None) -> Host:
    """This machine, as cells on `gpu` (None: on the CPU) see it."""
    return Host(
        cpu=cpu_model(),
        cores=cores(),
        memory_gib=_gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        system=f"{platform.system()} {platform.machine()}",
        gpu=gpu.name if gpu else None,
        gpu_memory_gib=_gib(gpu.memory_bytes) if gpu and gpu.memory_bytes else None,
        gpu_power_limit_watts=gpu.power_limit_watts if gpu else None,
        driver=gpu.driver if gpu else None,
        torch=toolkit.torch,
        cuda=toolkit.cuda if gpu else None,
        cudnn=toolkit.cudnn if gpu else None,
        instructions=instructions(),
    )


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes can still take without others losing any; None where the system does not say.

    What the kernel says is available, and of a control group (a container) that is limited no more than it has left.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        left = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return None
    try:
        most, now = (int((root / "sys/fs/cgroup" / name).read_text()) for name in ("memory.max", "memory.current"))
        left.append(max(0, most - now))
    except (OSError, ValueError):  # the second: "max"
        pass
    return min(left, default=None)


def cache_directory() -> Path:
    """Where decoded data sets are kept: RESBENCH_CACHE, or `resbench` in the user's cache folder."""
    if chosen := os.environ.get("RESBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resbench"


def cache_trouble() -> str | None:
    """Why the cache cannot be written, and what that means; None where it can."""
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trouble = unwritable(folder)
    except OSError as error:
        trouble = error.strerror or str(error)
    if not trouble:
        return None
    why = f"the cache {folder} cannot be written ({trouble})"
    return f"{why}, so each process prepares its data anew; RESBENCH_CACHE names another"


def unwritable(folder: Path) -> str | None:
    """Why no file can be made in a folder; None where one can, and of a folder that is not there."""
    try:
        if folder.exists():
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def _gib(size: int) -> int:
    return round(size / 2**30)


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The vector instructions that the processor offers; None where the system does not say.

    Machines of a cloud may share a processor's name and not its instructions, by which libraries choose their kernels:
    with other kernels results have other bits, and another speed.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    chosen = [flag for flag in sorted(flags) if flag.startswith(VECTOR_FLAGS)]
    return " ".join(chosen) or None


def gpus(nvml: Any = None, environment: dict[str, str] | None = None) -> list[Gpu]:
    """The GPUs that CUDA programs started here would see, in order; none where there is no NVIDIA driver.

    `nvml` stands in for the pynvml module in tests. CUDA_VISIBLE_DEVICES is honoured: numbers count in PCI bus order,
    and as in CUDA the list ends at the first entry that names no device.

    Raises:
        DeviceError: when NVML is there but its list of devices cannot be read.
    """
    if nvml is None:
        import pynvml as nvml
    environment = os.environ if environment is None else environment
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    try:
        found = [_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        raise DeviceError(f"NVML cannot list the GPUs: {error}") from None
    finally:
        nvml.nvmlShutdown()
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return found
    return _visible(found, environment["CUDA_VISIBLE_DEVICES"])


def has_gpu(uuid: str, nvml: Any = None) -> bool:
    """Whether a GPU that was seen is there still: one that fell off its bus is not, nor any without a driver."""
    if nvml is None:
        import pynvml as nvml
    gone = {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_NOT_FOUND}
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return False
    try:
        return bool(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByUUID(uuid)))
    except nvml.NVMLError as error:
        return error.value not in gone  # what it does not tell of is not gone
    finally:
        nvml.nvmlShutdown()


def _visible(found: list[Gpu], listed: str) -> list[Gpu]:
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in listed.split(",")):
        if entry.isdecimal():
            matches = found[int(entry) : int(entry) + 1]
        else:
            matches = [gpu for gpu in found if entry and gpu.uuid.startswith(entry)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen += matches
    return chosen


def _gpu(nvml: Any, handle: Any) -> Gpu:
    def told(question: Callable[[], Any]) -> Any:
        return ask(question)[0]

    memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total)
    milliwatts = told(lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle))
    return Gpu(
        uuid=told(lambda: nvml.nvmlDeviceGetUUID(handle)) or "",
        name=told(lambda: nvml.nvmlDeviceGetName(handle)) or "unnamed GPU",
        memory_bytes=memory,
        power_limit_watts=None if milliwatts is None else milliwatts / 1000,
        driver=told(nvml.nvmlSystemGetDriverVersion),
    )
