"""What machine this is: NVML through a scripted stand-in, and its real absence."""

import dataclasses

import pynvml
import pytest
from fakenvml import FakeNvml
from synthetic import a_host

from bench import host
from bench.errors import DeviceError
from bench.host import Gpu, Toolkit

TOOLKIT = Toolkit("2.11.0", "13.0", 91900, cuda_available=True)


def test_gpus_as_nvml_names_them():
    found = host.gpus(FakeNvml(["GPU-a", "GPU-b"]), {})
    assert found[0] == Gpu("GPU-a", "NVIDIA H200", 141 * 2**30, 700.0, "580.1")
    assert [gpu.uuid for gpu in found] == ["GPU-a", "GPU-b"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0", "a"),
        ("2,0", "ca"),
        ("", ""),
        ("-1", ""),
        ("0,-1,1", "a"),
        ("GPU-b", "b"),
        ("GPU-", ""),
        ("1,1", "b"),
        ("9", ""),
        (" 0 , 1", "ab"),
    ],
)
def test_cuda_visible_devices_is_honoured(visible, expected):
    found = host.gpus(FakeNvml(["GPU-a", "GPU-b", "GPU-c"]), {"CUDA_VISIBLE_DEVICES": visible})
    assert "".join(gpu.uuid[-1] for gpu in found) == expected


def test_what_nvml_does_not_tell_is_none():
    failing = ("nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetMemoryInfo", "nvmlSystemGetDriverVersion")
    (gpu,) = host.gpus(FakeNvml(["GPU-a"], failing), {})
    assert (gpu.memory_bytes, gpu.power_limit_watts, gpu.driver) == (None, None, None)


def test_no_driver_is_no_gpu_and_a_broken_one_is_an_error():
    assert host.gpus(FakeNvml(["GPU-a"], ("nvmlInit",)), {}) == []
    with pytest.raises(DeviceError, match="NVML cannot list"):
        host.gpus(FakeNvml(["GPU-a"], ("nvmlDeviceGetCount",)), {})


def test_this_machine():
    try:
        import pynvml

        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert host.gpus() == []
    else:
        assert host.gpus(environment={}) != []
        pynvml.nvmlShutdown()


def test_a_cpu_cells_host_has_no_gpu_fields_and_a_gpu_cells_has():
    cpu, gpu = (
        host.describe(TOOLKIT, None),
        host.describe(TOOLKIT, Gpu("GPU-a", "NVIDIA H200", 141 * 2**30, 700.0, "580")),
    )
    assert (cpu.gpu, cpu.cuda, cpu.cudnn) == (None, None, None)
    assert (gpu.gpu, gpu.gpu_memory_gib, gpu.cuda) == ("NVIDIA H200", 141, "13.0")
    assert gpu.label == "NVIDIA H200" and "core" in cpu.label
    assert cpu.id != gpu.id and cpu.cores >= 1 and cpu.memory_gib >= 1


def test_every_field_is_part_of_the_id():
    base = a_host()
    for field in dataclasses.fields(base):
        assert dataclasses.replace(base, **{field.name: "another"}).id != base.id


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("RESBENCH_CACHE", str(tmp_path))
    assert host.cache_directory() == tmp_path
    monkeypatch.delenv("RESBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert host.cache_directory() == tmp_path / "x" / "resbench"


def test_machines_of_one_name_and_other_instructions_are_two_hosts(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2 avx fma clzero\n")
    assert host.instructions(info) == "avx avx2 fma"
    assert host.instructions(tmp_path / "none") is None
    here = host.describe(TOOLKIT, None)
    assert here.instructions == host.instructions()
    other, older = (dataclasses.replace(here, instructions=text) for text in ("avx", None))
    assert len({here.id, other.id, older.id}) == 3


def test_a_host_recorded_before_instructions_were_keeps_its_id():
    host_then = host.Host("AMD EPYC", 2, 24, "Linux x86_64", None, None, None, None, "2.15.0+cu132", None, None, None)
    assert host_then.id == "c92272e6f442"


def test_what_tells_two_hosts_apart():
    gpu = {"gpu": "NVIDIA H200", "driver": "550.1", "gpu_power_limit_watts": 700.0}
    one, other = a_host(**gpu, torch="2.14"), a_host(**gpu | {"driver": "560.2"}, torch="2.15")
    assert host.differences(one, other) == [("driver", "550.1", "560.2"), ("torch", "2.14", "2.15")]
    assert host.unlike(one, other) == "driver 550.1 against 560.2; torch 2.14 against 2.15"
    assert host.differences(one, one) == [] and host.unlike(one, one) == ""


def test_an_unlike_field_is_named_as_one_says_it():
    one, other = a_host(gpu_power_limit_watts=700.0), a_host(gpu="NVIDIA H200", cudnn=91900)
    words = "GPU unknown against NVIDIA H200; GPU power limit watts 700 against unknown; cuDNN unknown against 91900"
    assert host.unlike(one, other) == words


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(host.Host)])
def test_hosts_differ_where_their_ids_do(field):
    one = a_host(instructions="avx2")
    other = dataclasses.replace(one, **{field: "another"})
    assert [name for name, *_ in host.differences(one, other)] == [field] and one.id != other.id


def test_the_memory_that_is_available(tmp_path):
    assert host.available_memory(tmp_path) is None
    for folder in ("proc", "sys/fs/cgroup"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  4096 kB\nMemFree:  1 kB\nMemAvailable:  2048 kB\n")
    assert host.available_memory(tmp_path) == 2 * 2**20
    group = tmp_path / "sys/fs/cgroup"
    (group / "memory.current").write_text("1000000\n")
    (group / "memory.max").write_text("max\n")
    assert host.available_memory(tmp_path) == 2 * 2**20
    (group / "memory.max").write_text("1500000\n")
    assert host.available_memory(tmp_path) == 500_000


@pytest.mark.parametrize(
    ("nvml", "there"),
    [
        (FakeNvml(("GPU-a", "GPU-b")), True),
        (FakeNvml(("GPU-b",)), False),
        (FakeNvml(failing={"nvmlDeviceGetHandleByUUID": pynvml.NVML_ERROR_GPU_IS_LOST}), False),
        (FakeNvml(failing={"nvmlDeviceGetHandleByUUID": pynvml.NVML_ERROR_NO_PERMISSION}), True),
        (FakeNvml(failing=["nvmlInit"]), False),
    ],
)
def test_whether_a_gpu_is_there_still(nvml, there):
    assert host.has_gpu("GPU-a", nvml) is there
    assert nvml.opened == 0
