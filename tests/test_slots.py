"""Places to run."""

import dataclasses

import pytest
from synthetic import RECIPE, a_cell

from bench import host
from bench.errors import DeviceError
from bench.slots import check_gpus, check_recipes, check_shares, choose_gpus, slots


def test_slots():
    gpus = [host.Gpu(f"GPU-{i}", "H", 80 * 2**30, 700.0, "580") for i in range(2)]
    assert [s.device for s in slots([], None)] == ["cpu"] * host.cores()
    assert len(slots([], 5)) == 5
    assert [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in slots(gpus, None)] == ["GPU-0", "GPU-1"]
    assert [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in slots(gpus, 3)] == ["GPU-0", "GPU-1", "GPU-0"]


def test_slots_of_several_devices():
    gpus = [host.Gpu(f"GPU-{i}", "H", 80 * 2**30, 700.0, "580") for i in range(5)]
    visible = [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in slots(gpus, None, 2)]
    assert visible == ["GPU-0,GPU-1", "GPU-2,GPU-3"]
    assert {(s.device, s.devices) for s in slots(gpus, 3, 2)} == {("cuda:0", 2)}
    assert len(slots([], None, 2)) == max(1, host.cores() // 2) and len(slots([], None, 10_000)) == 1
    for there, said in ((gpus[:1], "there is 1 GPU"), (gpus, "there are 5 GPUs")):
        with pytest.raises(DeviceError, match=f"--devices 6: {said}"):
            slots(there, None, 6)


def test_shares_are_whole_images_and_whole_groups_of_batch_normalisation():
    def cell(**fields):
        return a_cell(recipe=dataclasses.replace(RECIPE, batch=24, last_batch="drop", **fields))

    check_shares([cell(), cell(norm_batch=8)], 1)
    check_shares([cell(), cell(norm_batch=4), cell(norm_batch=8)], 3)
    for wrong, devices, said in (
        (cell(), 5, "batch = 24, no multiple of that"),
        (cell(norm_batch=8), 2, "norm_batch = 8 images, and a device's share of its batch is 12"),
    ):
        with pytest.raises(DeviceError, match=f"--devices {devices}: {wrong.label}.*{said}"):
            check_shares([wrong], devices)


def test_unlike_gpus_are_not_mixed():
    gpus = [host.Gpu(f"GPU-{name}", name, 80 * 2**30, 700.0, "580") for name in ("H100", "H200")]
    with pytest.raises(DeviceError, match="H100, H200"):
        check_gpus(gpus)
    check_gpus(gpus[:1] * 2)


def test_tf32_needs_a_gpu():
    with pytest.raises(DeviceError, match="tf32"):
        check_recipes([a_cell(recipe=dataclasses.replace(RECIPE, precision="tf32"))], on_gpu=False)


def test_a_gpu_that_torch_does_not_use_is_not_chosen(monkeypatch):
    gpu = host.Gpu("GPU-0", "H200", 141 * 2**30, 700.0, "580")
    monkeypatch.setattr(host, "gpus", lambda: [gpu])
    toolkit = host.Toolkit("2.15.0", None, None, cuda_available=False)
    assert choose_gpus("auto") == [gpu] and choose_gpus("auto", toolkit) == [] and choose_gpus("cpu") == []
    with pytest.raises(DeviceError, match=r"torch 2.15.0 does not use the GPU"):
        choose_gpus("cuda", toolkit)
