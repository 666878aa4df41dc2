"""Where benchmarks are measured: the host is described by the torch of the checkout, the GPU by NVML."""

from dataclasses import asdict

import fakeworks
import pytest
from fakenvml import FakeNvml

from bench import host, nvml, rig
from bench.errors import DeviceError, InputError
from bench.host import Gpu, Toolkit
from bench.sampling import Setting
from bench.source import Source

SOURCES = {"digits": Source.parse("digits")}
CUDA_TORCH = fakeworks.TORCH.replace("return False", "return True").replace("cuda = None", "cuda = '12.8'")


@pytest.fixture
def fake(tmp_path):
    return fakeworks.write(tmp_path / "fake")


def test_on_a_cpu(fake):
    setting = Setting(threads=2, windows=3)
    with rig.opened("cpu", setting, fake, SOURCES) as found:
        assert found.setting == Setting(threads=2, windows=3, sources=SOURCES)
        assert found.host == host.describe(Toolkit("0.fake", None, None, False), None)
        assert found.gauge.read().unread["power_watts"] == "no GPU is used"


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as a scripted library tells."""
    library = FakeNvml(uuids=["GPU-a", "GPU-b"])
    monkeypatch.setattr(
        host, "gpus", lambda: [Gpu(uuid, "NVIDIA H200", 2**37, 700.0, "580.1") for uuid in library.uuids]
    )
    real = nvml.open_gauge
    monkeypatch.setattr(rig.nvml, "open_gauge", lambda uuid: real(uuid, library))
    return library


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_on_a_gpu_it_is_the_first_by_its_uuid(fake, gpus, device):
    (fake.root / "torch.py").write_text(CUDA_TORCH)
    with rig.opened(device, Setting(), fake, SOURCES) as found:
        assert (found.setting.device, found.setting.gpu_uuid) == ("cuda:0", "GPU-a")
        assert (found.host.gpu, found.host.driver, found.host.cuda) == ("NVIDIA H200", "580.1", "12.8")
        assert found.gauge.read().power_watts == 412.5 and gpus.opened == 1
        assert asdict(found.setting)["gpu_uuid"] == "GPU-a"
    assert gpus.opened == 0


def test_a_torch_that_does_not_use_the_gpu_measures_on_the_cpu_or_says_so(fake, gpus):  # noqa: ARG001
    with rig.opened("auto", Setting(), fake, SOURCES) as found:
        assert (found.setting.device, found.host.gpu) == ("cpu", None)
    with (
        pytest.raises(DeviceError, match=r"--device cuda: torch 0\.fake does not use the GPU"),
        rig.opened("cuda", Setting(), fake, SOURCES),
    ):
        pass


def test_a_checkout_that_cannot_be_measured_is_named(tmp_path):
    old = fakeworks.write(tmp_path / "old", "raise ImportError('too old')\n")
    with pytest.raises(InputError, match=r"^fake \(a{12}\): .*too old"), rig.opened("cpu", Setting(), old, SOURCES):
        pass
