"""A stand-in for the pynvml module that answers as scripted; names and constants are those of the real one."""

# ruff: noqa: N802, N815 -- names are the real ones

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pynvml

NEW, OLD = (269, 270, 271), (251, 252, 253)  # numbers of the software and hardware thermal and power brake counters


class FakeNvml:
    """One driver with some GPUs.

    `failing` calls raise an NVMLError (Not Supported, or of the code given), `missing` names are unknown to the module,
    `fields` are the numbers under which the driver has counters: nanoseconds, which tests set in `counters`. `lost`
    makes every call on a GPU raise.
    """

    def __init__(
        self,
        uuids: Iterable[str] = ("GPU-a",),
        failing: Iterable[str] | Mapping[str, int] = (),
        missing: Iterable[str] = (),
        slowdowns: tuple[int, ...] = NEW,
    ) -> None:
        self.uuids, self.missing = list(uuids), set(missing)
        self.failing = (
            failing if isinstance(failing, Mapping) else dict.fromkeys(failing, pynvml.NVML_ERROR_NOT_SUPPORTED)
        )
        self.counters = dict.fromkeys((74, 75, 76, 77, 79, *slowdowns), 0)
        self.settings: dict[int, int] = {}  # fields that are no counters
        self.computing, self.drawing, self.lost, self.opened = [], [], False, 0
        self.millijoules, self.uncorrected, self.clock, self.celsius = 5_000_000, 0, 1980, 60

    def __getattr__(self, name: str) -> Any:
        if name in self.missing:
            raise AttributeError(f"module 'pynvml' has no attribute '{name}'")
        real = getattr(pynvml, name)
        if not name.startswith("nvml") or not callable(real):
            return real

        def call(*args: Any, **more: Any) -> Any:
            if name in self.failing:
                raise pynvml.NVMLError(self.failing[name])
            if self.lost and name.startswith("nvmlDevice"):
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            return getattr(self, f"_{name}")(*args, **more)

        return call

    def _nvmlInit(self):
        self.opened += 1

    def _nvmlShutdown(self):
        self.opened -= 1

    def _nvmlSystemGetDriverVersion(self):
        return "580.1"

    def _nvmlDeviceGetCount(self):
        return len(self.uuids)

    def _nvmlDeviceGetHandleByIndex(self, index):
        return self.uuids[index]

    def _nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def _nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _):
        return "GPU-whole"

    def _nvmlDeviceGetUUID(self, handle):
        return handle.encode()

    def _nvmlDeviceGetName(self, _):
        return "NVIDIA H200"

    def _nvmlDeviceGetMemoryInfo(self, handle, version=None):
        total = (141 if handle.startswith("GPU") else 18) * 2**30
        if version is None:
            return SimpleNamespace(total=total, used=3 * 2**30, free=total - 3 * 2**30)
        assert version == 0x02000028
        return SimpleNamespace(total=total, reserved=2**29, used=2**30, free=total - 2**30 - 2**29)

    def _nvmlDeviceGetPowerManagementLimit(self, _):
        return 700_000

    def _nvmlDeviceGetEnforcedPowerLimit(self, _):
        return 650_000

    def _nvmlDeviceGetPowerUsage(self, handle):
        assert handle.startswith("GPU")
        return 412_500

    def _nvmlDeviceGetTotalEnergyConsumption(self, _):
        return self.millijoules

    def _nvmlDeviceGetClockInfo(self, _, kind):
        return {pynvml.NVML_CLOCK_SM: self.clock, pynvml.NVML_CLOCK_MEM: 2619}[kind]

    def _nvmlDeviceGetMaxClockInfo(self, _, kind):
        return {pynvml.NVML_CLOCK_SM: 1980}[kind]

    def _nvmlDeviceGetTemperatureV(self, _, sensor):
        return {pynvml.NVML_TEMPERATURE_GPU: self.celsius}[sensor]

    _nvmlDeviceGetTemperature = _nvmlDeviceGetTemperatureV

    def _nvmlDeviceGetEccMode(self, _):
        return [1, 1]

    def _nvmlDeviceGetTotalEccErrors(self, _, kind, since):
        assert since == pynvml.NVML_VOLATILE_ECC
        return {
            pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED: 7,
            pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED: self.uncorrected,
        }[kind]

    def _nvmlDeviceGetMigMode(self, _):
        return [0, 0]

    def _nvmlDeviceGetComputeRunningProcesses(self, _):
        return [SimpleNamespace(pid=pid) for pid in self.computing]

    def _nvmlDeviceGetGraphicsRunningProcesses(self, _):
        return [SimpleNamespace(pid=pid) for pid in self.drawing]

    def _nvmlDeviceGetViolationStatus(self, _, policy):
        number = {0: 74, 1: 75, 2: 76, 3: 77, 5: 79}[policy]
        return SimpleNamespace(referenceTime=0, violationTime=self.counters[number])

    def _nvmlDeviceGetFieldValues(self, _, numbers):
        return [self._field(number) for number in numbers]

    def _field(self, number):
        if number in self.settings:
            return _value(pynvml.NVML_SUCCESS, pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, self.settings[number])
        if number not in self.counters:
            return _value(pynvml.NVML_ERROR_NOT_SUPPORTED, 0, 0)
        return _value(pynvml.NVML_SUCCESS, pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, self.counters[number])


def _value(code: int, kind: int, number: int) -> SimpleNamespace:
    return SimpleNamespace(nvmlReturn=code, valueType=kind, value=SimpleNamespace(ullVal=number))
