"""What NVML tells of a GPU: clocks, heat, power, what slows it, memory and its errors, who else is there.

Asked through nvidia-ml-py, by UUID, read-only. What is absent, denied, unsupported or lost is None, with the reason in
`unread`; nothing here raises. Units are NVIDIA's, scaled to base units: milliwatts, millijoules, nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import in_a_line

FIRST_PID_NAMESPACE = "pid:[4026531836]"  # Linux's PROC_PID_INIT_INO: elsewhere NVML's process ids may be others

# Reasons with a field, whose number is the same in all drivers, and a policy of the older call.
POLICIES = {
    "software power cap": ("NVML_FI_DEV_PERF_POLICY_POWER", "NVML_PERF_POLICY_POWER"),
    "sync boost": ("NVML_FI_DEV_PERF_POLICY_SYNC_BOOST", "NVML_PERF_POLICY_SYNC_BOOST"),
    "board limit": ("NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT", "NVML_PERF_POLICY_BOARD_LIMIT"),
    "reliability": ("NVML_FI_DEV_PERF_POLICY_RELIABILITY", "NVML_PERF_POLICY_RELIABILITY"),
}
THERMAL = {"thermal slowdown": ("NVML_FI_DEV_PERF_POLICY_THERMAL", "NVML_PERF_POLICY_THERMAL")}  # of any kind

# Reasons with a field alone. Their fields were renumbered: 251 to 253 in the driver 580.65, 269 to 271 in the headers
# of CUDA 13; each driver has settings of power smoothing under the other's numbers. So it is asked for all, and the
# numbering under which it has counters of 64 bits is its own.
SLOWDOWNS = ("software thermal slowdown", "hardware thermal slowdown", "hardware power brake")
SLOWDOWN_FIELDS = tuple(
    f"NVML_FI_DEV_CLOCKS_EVENT_REASON_{n}_SLOWDOWN" for n in ("SW_THERM", "HW_THERM", "HW_POWER_BRAKE")
)
NUMBERINGS = ((269, 270, 271), (251, 252, 253))

Seconds = tuple[dict[str, float], dict[str, str]]  # by reason; and why there are none, likewise


@dataclass(frozen=True)
class Reading:
    """One look at a GPU; what was not to be had is None, and `unread` says why, by field or `slowdowns: reason`.

    `energy_joules` counts from when the driver was loaded, `slowdowns` (seconds in which a reason held the clocks
    down) and the ECC errors likewise; the driver brings counters up to date now and then, not at each call. Of a MIG
    instance, memory and processes are its own, all else is the whole GPU's. Memory is device-wide: drivers differ in
    whether used includes reserved, which is the system's own. `other_processes` have a context there and are not one's
    own; `other_computing` are those that may compute. From within a container they are at least so many.
    """

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    energy_joules: float | None = None
    slowdowns: Mapping[str, float] | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    ecc_enabled: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    mig: bool | None = None
    other_processes: int | None = None
    other_computing: int | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


NAMES = tuple(f.name for f in fields(Reading) if f.name != "unread")


def ask(question: Callable[[], Any]) -> tuple[Any, str | None]:
    """The answer and None, or None and why there is none.

    Whatever is raised is a reason: an NVMLError, an AttributeError where nvidia-ml-py is too old to know the function,
    one of ctypes, or of its own where the driver's library is too old.
    """
    try:
        answer = question()
    except Exception as error:
        return None, in_a_line(error)
    return answer.decode() if isinstance(answer, bytes) else answer, None


class Gauge:
    """Asks NVML about one GPU, or one MIG instance, as often as one likes; `open_gauge` makes it.

    `absent` says why there is nothing to ask, None where there is.
    """

    def __init__(self, library: Any, device: Any, instance: Any, absent: str | None = None) -> None:
        self._library, self._device, self._instance, self.absent = library, device, instance, absent
        self._slowdowns = self._choose_counters() if absent is None else None

    def read(self, own_pids: Set[int] = frozenset(), names: Sequence[str] = NAMES) -> Reading:
        """Look at the GPU now, at these fields of a `Reading`; processes in `own_pids` are not counted as others."""
        if self.absent is not None:
            return Reading(unread=dict.fromkeys(names, self.absent))
        found: dict[str, Any] = {}
        unread: dict[str, str] = {}
        for group, question in self._questions(own_pids).items():
            wanted = [name for name in group if name in names]
            if not wanted:
                continue
            answers, reason = ask(question)
            if reason is not None:
                unread |= dict.fromkeys(wanted, reason)
                continue
            found |= dict(zip(group, answers if len(group) > 1 else (answers,), strict=True))
        if found.get("slowdowns") is not None:
            found["slowdowns"], missing = found["slowdowns"]
            unread |= {f"slowdowns: {reason}": why for reason, why in missing.items()}
        return Reading(**{name: found[name] for name in names if name in found}, unread=unread)

    def _questions(self, own: Set[int]) -> dict[tuple[str, ...], Callable[[], Any]]:
        nvml, device, instance = self._library, self._device, self._instance

        def memory() -> tuple[int, int, int, int]:
            info = nvml.nvmlDeviceGetMemoryInfo(instance, version=nvml.nvmlMemory_v2)
            return info.total, info.used, info.free, info.reserved

        def errors(kind: int) -> int:
            return nvml.nvmlDeviceGetTotalEccErrors(device, kind, nvml.NVML_VOLATILE_ECC)

        def computing() -> set[int]:
            return {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(instance)}

        def drawing() -> set[int]:
            return {process.pid for process in nvml.nvmlDeviceGetGraphicsRunningProcesses(instance)}

        return {
            ("sm_clock_mhz",): lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
            ("memory_clock_mhz",): lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM),
            ("max_sm_clock_mhz",): lambda: nvml.nvmlDeviceGetMaxClockInfo(device, nvml.NVML_CLOCK_SM),
            ("temperature_celsius",): self._temperature,
            ("power_watts",): lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1000,
            ("power_limit_watts",): lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1000,
            ("energy_joules",): lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1000,
            ("slowdowns",): self._slowdowns,
            ("memory_total_bytes", "memory_used_bytes", "memory_free_bytes", "memory_reserved_bytes"): memory,
            ("ecc_enabled",): lambda: bool(nvml.nvmlDeviceGetEccMode(device)[0]),
            ("ecc_corrected",): lambda: errors(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            ("ecc_uncorrected",): lambda: errors(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
            ("mig",): lambda: bool(nvml.nvmlDeviceGetMigMode(device)[0]),
            ("other_processes",): lambda: _others(computing() | drawing(), own),
            ("other_computing",): lambda: _others(computing(), own),
        }

    def _temperature(self) -> int:
        nvml = self._library
        value, reason = ask(lambda: nvml.nvmlDeviceGetTemperatureV(self._device, nvml.NVML_TEMPERATURE_GPU))
        # the older call, which newer libraries are to lose
        return value if reason is None else nvml.nvmlDeviceGetTemperature(self._device, nvml.NVML_TEMPERATURE_GPU)

    def _choose_counters(self) -> Callable[[], Seconds]:
        """The best way to ask for slowdowns that this driver answers."""
        known, _ = ask(lambda: tuple(getattr(self._library, name) for name in SLOWDOWN_FIELDS))
        numberings = dict.fromkeys((known, *NUMBERINGS) if known else NUMBERINGS)
        ways: list[Callable[[], Seconds]] = [partial(self._fields, ids) for ids in numberings]
        ways += [self._fields, self._policies]
        return next((way for way in ways if ask(way)[1] is None), ways[-1])

    def _fields(self, ids: Sequence[int] | None = None) -> Seconds:
        """All in one call, `ids` being the numbers of `SLOWDOWNS`; without, those fields that have one number."""
        nvml = self._library
        known = POLICIES if ids else POLICIES | THERMAL
        numbers = {reason: getattr(nvml, name) for reason, (name, _) in known.items()}
        numbers |= zip(SLOWDOWNS, ids, strict=True) if ids else ()
        values = nvml.nvmlDeviceGetFieldValues(self._device, list(numbers.values()))
        answers = {reason: ask(partial(self._counter, value)) for reason, value in zip(numbers, values, strict=True)}
        return _sorted(answers, needed=SLOWDOWNS[:2] if ids else ())  # not every GPU has a power brake

    def _counter(self, value: Any) -> float:
        nvml = self._library
        if value.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(value.nvmlReturn)
        if value.valueType != nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
            raise LookupError("not a counter")
        return value.value.ullVal / 1e9

    def _policies(self) -> Seconds:
        """By the call of older drivers, one a reason."""
        nvml = self._library

        def seconds(policy: str) -> float:
            return nvml.nvmlDeviceGetViolationStatus(self._device, getattr(nvml, policy)).violationTime / 1e9

        known = POLICIES | THERMAL
        return _sorted({reason: ask(partial(seconds, policy)) for reason, (_, policy) in known.items()})


def _sorted(answers: Mapping[str, tuple[float, str | None]], needed: Sequence[str] = ()) -> Seconds:
    """What was answered and what was not; raises where nothing was, or something needed was not."""
    missing = {reason: why for reason, (_, why) in answers.items() if why is not None}
    if len(missing) == len(answers) or any(reason in missing for reason in needed):
        raise LookupError(next(iter(missing.values())))
    seconds = {reason: value for reason, (value, why) in answers.items() if why is None}
    return seconds, missing | {reason: "no such counter" for reason in SLOWDOWNS if reason not in answers}


def _others(listed: set[int], own: Set[int]) -> int:
    others = listed - own
    namespace, _ = ask(lambda: str(Path("/proc/self/ns/pid").readlink()))
    if listed & own or namespace in (None, FIRST_PID_NAMESPACE):
        return len(others)
    return max(0, len(others) - len(own))  # ids may be those outside the container: some of them may be one's own


@contextmanager
def open_gauge(uuid: str | None, library: Any = None) -> Iterator[Gauge]:
    """A gauge of the GPU or MIG instance with this UUID (`GPU-…`, `MIG-…`), None: of no GPU.

    `library` stands in for the pynvml module in tests. Where NVML or the GPU is absent the gauge says so of each field.
    """
    if uuid is None:
        yield Gauge(None, None, None, "no GPU is used")
        return
    if library is None:
        import pynvml as library
    _, reason = ask(library.nvmlInit)
    if reason is not None:
        yield Gauge(library, None, None, reason)
        return
    try:
        handle, reason = ask(lambda: library.nvmlDeviceGetHandleByUUID(uuid))
        device = handle
        if reason is None and uuid.startswith("MIG"):
            whole, denied = ask(lambda: library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
            device = handle if denied else whole
        yield Gauge(library, device, handle, reason and f"{uuid}: {reason}")
    finally:
        ask(library.nvmlShutdown)
