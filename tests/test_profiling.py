"""The profile of a step: of scripted events, and of real steps on the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from bench import builtin, floors, kinds, profiling
from bench.cell import Arch, Cell, Recipe
from bench.floors import Ceilings, Needs
from bench.kinds import FORWARD, Scope, Share, Work
from bench.profiling import Profile, collect, main, profile_steps, section
from bench.train import Training

pytestmark = pytest.mark.usefixtures("one_thread")


def event(name, parent=None, kernels=(), start=0.0, end=0.0, device=DeviceType.CPU, shapes=(), self_us=0.0):
    """As torch.autograd.profiler_util.FunctionEvent, times in microseconds."""
    return SimpleNamespace(
        name=name,
        cpu_parent=parent,
        kernels=[SimpleNamespace(name=k, duration=d) for k, d in kernels],
        time_range=SimpleNamespace(start=start, end=end),
        device_type=device,
        input_shapes=list(shapes),
        self_cpu_time_total=self_us,
    )


def a_kernel(name, start, end):
    return event(name, start=start, end=end, device=DeviceType.CUDA)


def test_on_a_cpu_work_is_the_self_time_of_operations():
    forward = event(FORWARD, self_us=50.0)
    convolution = event("aten::conv2d", forward, shapes=[[8, 3, 32, 32], [16, 3, 3, 3]], self_us=3.0)
    inner = event("aten::mkldnn_convolution", convolution, shapes=[[8, 3, 32, 32]], self_us=40.0)
    found = list(collect([forward, convolution, inner], on_gpu=False))
    scopes = (Scope("aten::mkldnn_convolution", 4), Scope("aten::conv2d", 4), Scope(FORWARD))
    assert found == [Work(scopes[1:], 3e-6, calls=1), Work(scopes, 40e-6, calls=0)]


def test_on_a_gpu_work_is_kernels_by_the_operation_that_launched_them_if_any():
    forward = event(FORWARD, kernels=[(FORWARD, 90.0)], self_us=50.0)
    convolution = event("aten::cudnn_convolution", forward, kernels=[("gemm", 10.0), ("gemm", 10.0)], self_us=7.0)
    events = [
        forward,
        convolution,
        event("cudaGraphLaunch"),
        a_kernel(FORWARD, 0.0, 90.0),  # the profiler mirrors scopes on the device
        a_kernel("gemm", 0.0, 10.0),
        a_kernel("gemm", 20.0, 30.0),
        a_kernel("gemm", 40.0, 50.0),  # a third that no operation launched
        a_kernel("bn_fw_tr_1C11", 60.0, 65.0),
    ]
    found = list(collect(events, on_gpu=True))
    in_convolution = (Scope("aten::cudnn_convolution"), Scope(FORWARD))
    assert found == [
        Work(in_convolution, 10e-6, "gemm"),
        Work(in_convolution, 10e-6, "gemm"),
        Work((), 10e-6, "gemm"),
        Work((), 5e-6, "bn_fw_tr_1C11"),
    ]
    seconds = {kind: share.seconds for kind, share in kinds.shares(found).items()}
    assert seconds == pytest.approx({kinds.CONVOLUTION: 20e-6, kinds.HEAD: 10e-6, kinds.BATCH_NORM: 5e-6})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_real_profile_accounts_for_the_whole_step(digits, precision):
    recipe = Recipe(batch=32, crop_padding=1, flip=True, precision=precision)
    training = Training(Cell(Arch(depth=8), recipe, "digits"), digits)
    found = profile_steps(training, steps=2, warm_up=1)
    assert training.iteration == 1 + 2 * 2 * profiling.WINDOWS
    expected = set(kinds.KINDS) - {kinds.OTHER}
    assert expected - {kinds.CAST} <= set(found.shares) <= set(kinds.KINDS)
    assert precision == "fp32" or found.shares[kinds.CAST].seconds > 0
    parts = [share.seconds for share in found.shares.values()]
    assert min(parts) >= 0
    assert sum(parts) + found.rest == pytest.approx(found.profiled_seconds)
    assert sum(found.unknown.values()) < 0.05 * found.profiled_seconds
    assert not training.net._forward_hooks and not training.net._forward_pre_hooks


def test_profiling_changes_no_bit(digits):
    cell = Cell(Arch(depth=8), Recipe(batch=32), "digits")
    profiled, plain = Training(cell, digits), Training(cell, digits)
    profile_steps(profiled, steps=1, warm_up=1)
    plain.advance(profiled.iteration)
    assert all(map(torch.equal, profiled.net.parameters(), plain.net.parameters()))


def test_a_section_sets_the_step_beside_its_floors():
    found = Profile(
        seconds=0.010,
        profiled_seconds=0.020,
        shares={kinds.CONVOLUTION: Share(0.012, 38), kinds.OTHER: Share(0.003, 2)},
        unknown={"a_new_kernel<float>": 0.003},
    )
    needs, ceilings = Needs(10**8, 2 * 10**9), Ceilings(1e11, {"bf16": 4e12})
    recipe = Recipe(batch=100, precision="bf16")
    assert section("ResNet-20-A", found, needs, ceilings, recipe, on_gpu=False) == (
        "## ResNet-20-A\n\n"
        "|  | ms | share, % | operations |\n"
        "| --- | --: | --: | --: |\n"
        "| convolution | 12.000 | 60.0 | 38 |\n"
        "| other | 3.000 | 15.0 | 2 |\n"
        "| Python and the profiler | 5.000 | 25.0 | – |\n"
        "| step under the profiler | 20.000 | 100.0 | 40 |\n\n"
        "- step: 10.000 ms, 10,000 images/s\n"
        "- floor by bandwidth: 1.000 ms for 100.0 MB (1.00 an image); achieved: 10.0% of the copy bandwidth\n"
        "- floor by multiply-adds: 0.500 ms for 2.00 G; achieved: 5.0% of the bf16 matrix rate\n"
        "- other: a\\_new\\_kernel\\<float\\> 3.000 ms\n"
    )
    nothing = section("x", Profile(0.01, 0.01, {}, {}), needs, ceilings, recipe, on_gpu=True)
    assert "the profiler saw no kernel" in nothing and "| GPU idle: launches, Python | 10.000 | 100.0 |" in nothing


@pytest.fixture
def _small_ceilings(monkeypatch):
    monkeypatch.setattr(floors, "COPIED", {"cpu": 2**16})
    monkeypatch.setattr(floors, "MATRIX", {"cpu": 32})
    monkeypatch.setattr(floors, "WINDOW_SECONDS", 1e-3)


@pytest.mark.usefixtures("_small_ceilings", "fresh_cache")
@pytest.mark.parametrize("data", ["digits", "noise32"])
def test_the_command_prints_a_table_a_net(capsys, monkeypatch, data):
    monkeypatch.setattr(builtin, "NOISE_BYTES", 1_000_000)
    options = f"--device cpu --data {data} --depth 8 --shortcut none A --batch 8 --steps 1 --precision fp32 bf16"
    assert main(options.split()) == 0
    page = capsys.readouterr().out
    assert page.startswith("# Where a step's time goes\n") and page.count("## ") == 4
    assert page.count("| convolution |") == page.count("- floor by bandwidth: ") == 4
    assert ("ResNet-8-A, noise32 (3 x 32 x 32), batch 8, bf16" in page) == (data == "noise32")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--depth 21", "depth = 21 is not allowed; allowed: 6n+2 in the cifar family; the nearest: 20 and 26"),
        ("--shortcut D", "shortcut = 'D' is not allowed"),
        ("--precision fp16", "--precision fp16 is not allowed on cpu: fp32, bf16"),
        ("--precision tf32", "--precision tf32 is not allowed on cpu: fp32, bf16"),
        ("--data imagenet", "data = 'imagenet' is not allowed"),
        ("--batch 70000", "batch = 70000 is not allowed"),
    ],
)
def test_bad_input_is_one_line_and_2(capsys, options, complaint):
    assert main(["--device", "cpu", *options.split()]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_cuda_is_asked_for_in_vain(capsys):
    assert main(["--device", "cuda"]) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_profile_of_a_gpu(digits):
    training = Training(Cell(Arch(depth=8), Recipe(batch=32), "digits"), digits, "cuda")
    found = profile_steps(training, steps=5, warm_up=20)
    assert found.shares[kinds.CONVOLUTION].calls > 0 and found.shares[kinds.BATCH_NORM].calls > 0
    assert sum(s.seconds for s in found.shares.values()) + found.rest == pytest.approx(found.profiled_seconds)
