"""What a batch takes in a process: peaks, and how a lack of memory is told."""

import pytest
import torch
from children import Caller
from fakenvml import FakeNvml

from bench import footprint, nvml
from bench.cell import Arch, Recipe, values
from bench.errors import DeviceError
from bench.fit import Footprint, in_process, on_device


def a_job(batch=4, limit=None, **more):
    arch, recipe = more.pop("arch", Arch(depth=8)), more.pop("recipe", Recipe())
    plain = {"arch": values(arch), "recipe": values(recipe), "batch": batch, "channels": 3, "size": 8, "classes": 5}
    where = {"inference": False, "device": "cpu", "uuid": None, "threads": 1, "limit": limit}
    return plain | where | more


@pytest.mark.usefixtures("torch_settings")
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", [Arch(depth=8), Arch("imagenet", 18, "B", width=1 / 16)])
def test_peaks_on_a_cpu(arch, precision, inference):
    job = a_job(arch=arch, recipe=Recipe(precision=precision, warmup="paper"), inference=inference, size=32)
    found = Footprint(**footprint.take(job, Caller()))
    assert found.resident > 0 and found.resident == on_device(found)
    assert (found.allocated, found.reserved, found.device, found.others) == (None, None, None, None)


@pytest.mark.usefixtures("torch_settings")
def test_a_training_takes_steps_of_the_batch_asked_for(monkeypatch):
    seen = []

    class Watched(footprint.Training):
        def __init__(self, cell, images, device):
            seen.append((cell.recipe.batch, images.train_images.shape, images.classes))
            super().__init__(cell, images, device)

        def advance(self, stop):
            super().advance(stop)
            seen.append(self.iteration)

    monkeypatch.setattr(footprint, "Training", Watched)
    footprint.take(a_job(batch=6, recipe=Recipe(split="holdout", drops=(10,))), Caller())
    assert seen == [(6, (6, 3, 8, 8), 5), footprint.STEPS["cpu"]]


@pytest.mark.usefixtures("torch_settings")
@pytest.mark.parametrize(
    "words", ["could not create a primitive", "CUDNN_STATUS_ALLOC_FAILED", "Unable to find a valid cuDNN algorithm"]
)
def test_what_libraries_say_where_memory_ran_out(words, monkeypatch):
    def fails(*_):
        raise RuntimeError(f"{words} to run\nwith more")

    monkeypatch.setattr(footprint, "_train", fails)
    with pytest.raises(MemoryError, match=f"{words} to run$"):
        footprint.take(a_job(), Caller())


@pytest.mark.usefixtures("torch_settings")
def test_other_errors_stay_what_they_are(monkeypatch):
    def fails(*_):
        raise RuntimeError("of the test")

    monkeypatch.setattr(footprint, "_train", fails)
    with pytest.raises(RuntimeError, match="of the test"):
        footprint.take(a_job(), Caller())


@pytest.mark.usefixtures("torch_settings")
def test_a_limit_below_what_the_process_holds():
    with pytest.raises(MemoryError, match="MiB before it does anything"):
        footprint.take(a_job(limit=2**20), Caller())


@pytest.mark.usefixtures("torch_settings")
def test_nvml_tells_the_whole_device(monkeypatch):
    library = FakeNvml()
    library.computing = [1, 2]
    monkeypatch.setattr(nvml.Path, "readlink", lambda _: nvml.FIRST_PID_NAMESPACE)
    monkeypatch.setattr(footprint, "open_gauge", lambda uuid: nvml.open_gauge(uuid, library))
    found = Footprint(**footprint.take(a_job(uuid="GPU-a"), Caller()))
    assert (found.device, found.others, on_device(found)) == (2**30, 2, 2**30)
    assert in_process(found) == found.resident


@pytest.mark.usefixtures("torch_settings")
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_gpu_that_torch_does_not_use():
    with pytest.raises(DeviceError, match="does not use the GPU"):
        footprint.take(a_job(device="cuda:0"), Caller())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("torch_settings")
@pytest.mark.parametrize("inference", [False, True])
def test_peaks_on_a_gpu(inference):
    few, many = (
        Footprint(**footprint.take(a_job(batch, size=32, device="cuda:0", inference=inference), Caller()))
        for batch in (64, 2048)
    )
    assert 0 < few.allocated < many.allocated <= many.reserved
