"""What NVML tells: through a scripted stand-in, and its real absence."""

import ctypes
import os

import pynvml
import pytest
from fakenvml import NEW, OLD, FakeNvml

from bench import nvml
from bench.nvml import NAMES, Reading, open_gauge

CALLS = {  # what each field is asked with
    "nvmlDeviceGetClockInfo": ("sm_clock_mhz", "memory_clock_mhz"),
    "nvmlDeviceGetMaxClockInfo": ("max_sm_clock_mhz",),
    "nvmlDeviceGetPowerUsage": ("power_watts",),
    "nvmlDeviceGetEnforcedPowerLimit": ("power_limit_watts",),
    "nvmlDeviceGetTotalEnergyConsumption": ("energy_joules",),
    "nvmlDeviceGetMemoryInfo": tuple(f"memory_{part}_bytes" for part in ("total", "used", "free", "reserved")),
    "nvmlDeviceGetEccMode": ("ecc_enabled",),
    "nvmlDeviceGetTotalEccErrors": ("ecc_corrected", "ecc_uncorrected"),
    "nvmlDeviceGetMigMode": ("mig",),
    "nvmlDeviceGetComputeRunningProcesses": ("other_processes", "other_computing"),
    "nvmlDeviceGetGraphicsRunningProcesses": ("other_processes",),
}
IN_A_CONTAINER = "pid:[4026532999]"


def read(library, own=frozenset(), uuid="GPU-a"):
    with open_gauge(uuid, library) as gauge:
        return gauge.read(own)


def test_a_whole_reading():
    library = FakeNvml()
    library.counters |= {74: 12_500_000_000, 270: 250_000_000}
    library.computing, library.drawing = [10, 11], [11, 12]
    reading = read(library, {10})
    assert reading == Reading(
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        max_sm_clock_mhz=1980,
        temperature_celsius=60,
        power_watts=412.5,
        power_limit_watts=650.0,
        energy_joules=5000.0,
        slowdowns={
            **{"software power cap": 12.5, "sync boost": 0.0, "board limit": 0.0, "reliability": 0.0},
            **{"software thermal slowdown": 0.0, "hardware thermal slowdown": 0.25, "hardware power brake": 0.0},
        },
        memory_total_bytes=141 * 2**30,
        memory_used_bytes=2**30,
        memory_free_bytes=141 * 2**30 - 2**30 - 2**29,
        memory_reserved_bytes=2**29,
        ecc_enabled=True,
        ecc_corrected=7,
        ecc_uncorrected=0,
        mig=False,
        other_processes=2,
        other_computing=1,
    )
    assert library.opened == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, "Not Supported"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, "Function Not Found"),
    ],
)
def test_a_call_that_fails_leaves_its_fields_none_with_the_reason(call, code, words):
    reading = read(FakeNvml(failing={call: code}))
    assert reading.unread == dict.fromkeys(CALLS[call], words)
    assert [name for name in NAMES if getattr(reading, name) is None] == [n for n in NAMES if n in CALLS[call]]


@pytest.mark.parametrize("call", CALLS)
def test_a_function_that_the_module_lacks_is_a_reason_too(call):
    reading = read(FakeNvml(missing=[call]))
    assert set(reading.unread) == set(CALLS[call])
    assert all(call in reason for reason in reading.unread.values())


@pytest.mark.parametrize("constant", ["nvmlMemory_v2", "NVML_CLOCK_SM", "NVML_VOLATILE_ECC"])
def test_so_is_a_missing_constant(constant):
    reading = read(FakeNvml(missing=[constant]))
    assert reading.unread and all(constant in reason for reason in reading.unread.values())


@pytest.mark.parametrize("error", [ctypes.ArgumentError("of the test"), OSError("of the test"), ValueError()])
def test_whatever_a_binding_raises_is_a_reason(error, monkeypatch):
    def fails(*_):
        raise error

    library = FakeNvml()
    monkeypatch.setattr(library, "_nvmlDeviceGetPowerUsage", fails, raising=False)
    reading = read(library)
    assert reading.power_watts is None and reading.unread == {"power_watts": str(error) or "ValueError"}


def test_the_temperature_by_the_older_call():
    assert read(FakeNvml(failing=["nvmlDeviceGetTemperatureV"])).temperature_celsius == 60
    neither = read(FakeNvml(failing=["nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"]))
    assert neither.unread == {"temperature_celsius": "Not Supported"}


@pytest.mark.parametrize(("mine", "others"), [(NEW, OLD), (OLD, NEW)])
def test_counters_are_found_under_the_drivers_own_numbers(mine, others):
    """Under the others' it has settings: small numbers, which are no nanoseconds."""
    library = FakeNvml(slowdowns=mine)
    library.settings = dict.fromkeys(others, 1)
    library.counters |= dict(zip(mine, (1_000_000_000, 2_000_000_000, 3_000_000_000), strict=True))
    slowdowns = read(library).slowdowns
    assert [slowdowns[reason] for reason in nvml.SLOWDOWNS] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("failing", [(), ("nvmlDeviceGetFieldValues",)])
def test_an_older_driver_tells_of_thermal_slowdown_as_one(failing):
    library = FakeNvml(slowdowns=(), failing=failing)
    library.counters |= {75: 500_000_000, 74: 1_000_000_000}
    reading = read(library)
    assert reading.slowdowns == {
        **{"software power cap": 1.0, "sync boost": 0.0, "board limit": 0.0, "reliability": 0.0},
        "thermal slowdown": 0.5,
    }
    assert reading.unread == {f"slowdowns: {reason}": "no such counter" for reason in nvml.SLOWDOWNS}


def test_one_counter_that_is_not_supported():
    library = FakeNvml()
    del library.counters[76]
    reading = read(library)
    assert "sync boost" not in reading.slowdowns and reading.unread == {"slowdowns: sync boost": "Not Supported"}


def test_no_counters_at_all():
    reading = read(FakeNvml(failing=["nvmlDeviceGetFieldValues", "nvmlDeviceGetViolationStatus"]))
    assert reading.slowdowns is None and reading.unread == {"slowdowns": "Not Supported"}
    assert read(FakeNvml(missing=["nvmlDeviceGetFieldValues", "nvmlDeviceGetViolationStatus"])).slowdowns is None


def test_a_gpu_lost_between_two_readings():
    library = FakeNvml()
    with open_gauge("GPU-a", library) as gauge:
        assert gauge.read().unread == {}
        library.lost = True
        assert gauge.read() == Reading(unread=dict.fromkeys(NAMES, "GPU is lost"))
        library.lost = False
        assert gauge.read().unread == {}


def test_a_gpu_lost_from_the_start():
    library = FakeNvml()
    library.lost = True
    reading = read(library)
    assert reading == Reading(unread=dict.fromkeys(NAMES, "GPU-a: GPU is lost")) and library.opened == 0


def test_of_a_mig_instance_memory_is_its_own_and_the_rest_the_whole_gpus():
    reading = read(FakeNvml(["MIG-1"]), uuid="MIG-1")
    assert (reading.memory_total_bytes, reading.power_watts) == (18 * 2**30, 412.5)


def test_some_fields_alone():
    with open_gauge("GPU-a", FakeNvml(failing=["nvmlDeviceGetMigMode"])) as gauge:
        assert gauge.read(names=["sm_clock_mhz"]) == Reading(sm_clock_mhz=1980)
        assert gauge.read(names=["mig"]) == Reading(unread={"mig": "Not Supported"})
        assert gauge.read(names=["memory_used_bytes"]) == Reading(memory_used_bytes=2**30)


@pytest.mark.parametrize(
    ("listed", "namespace", "others"),
    [
        ([], nvml.FIRST_PID_NAMESPACE, 0),
        ([5], nvml.FIRST_PID_NAMESPACE, 0),
        ([5, 6, 7], nvml.FIRST_PID_NAMESPACE, 2),
        ([6], nvml.FIRST_PID_NAMESPACE, 1),
        ([5, 6], IN_A_CONTAINER, 1),  # ids are those inside, for one's own is among them
        ([70_001], IN_A_CONTAINER, 0),  # it may be one's own, as it is called outside
        ([70_001, 70_002], IN_A_CONTAINER, 1),
    ],
)
def test_others_on_the_gpu(listed, namespace, others, monkeypatch):
    monkeypatch.setattr(nvml.Path, "readlink", lambda _: namespace)
    library = FakeNvml()
    library.computing = listed
    assert read(library, {5}).other_computing == others


def test_absent_ones():
    assert read(FakeNvml(failing={"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED})) == Reading(
        unread=dict.fromkeys(NAMES, "Driver Not Loaded")
    )
    library = FakeNvml()
    assert read(library, uuid="GPU-z") == Reading(unread=dict.fromkeys(NAMES, "GPU-z: Not Found"))
    assert library.opened == 0
    assert read(library, uuid=None) == Reading(unread=dict.fromkeys(NAMES, "no GPU is used"))


def test_this_machine():
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        assert read(None) == Reading(unread=dict.fromkeys(NAMES, str(error)))
    else:
        uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
        reading = read(None, {os.getpid()}, uuid)
        assert reading.memory_total_bytes > 0 and reading.temperature_celsius > 0
        pynvml.nvmlShutdown()
