"""Trained weights from a file into a net: torchvision's published ones, or a net that resbench kept."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench import saved
from bench.cell import Arch
from bench.errors import InputError
from bench.nets import ResNet, build

COUNTER = "num_batches_tracked"  # of BN, which needs it for averages of another kind alone


def load(path: Path, arch: Arch) -> ResNet:
    """The net `arch` with the weights of a file, on the CPU, in float32; classes and channels are the file's.

    The file holds a state dict, as torchvision publishes (18 and 34 layers: option B; 50, 101 and 152: option B, stride
    v1.5), or `{"net": state dict}`, as resbench keeps one. Where a bottleneck subsamples is not in a file: weights of
    one stride fit the net of the other, and are wrong in it.

    Raises:
        InputError: for a file that cannot be read, or whose weights are not this net's: names the first that is
            lacking, unknown or of another shape.
    """
    found = _read(path)
    head, stem = (found.get(name) for name in ("fc.weight", "conv1.weight"))
    for name, tensor, rank in (("fc.weight", head, 2), ("conv1.weight", stem, 4)):
        if tensor is None:
            raise InputError(f"{path}: has no {name}: not the weights of a ResNet by torchvision's names")
        if tensor.ndim != rank or not tensor.numel():
            raise InputError(f"{path}: {name} is {_shape(tensor)}, and should have {rank} dimensions")
    net = build(arch, channels=stem.shape[1], classes=head.shape[0])
    wanted = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(COUNTER)}
    _check(path, arch, found, wanted)
    net.load_state_dict(found, strict=False)  # the counters stay 0
    return net


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names, without counters."""
    try:
        content = saved.load(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a file of weights ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("net"), dict):
        content = content["net"]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path}: holds {type(content).__name__}, not weights by name")
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path}: {name} is {type(value).__name__}, not a tensor; a state dict is wanted")
        if value.layout != torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise InputError(f"{path}: {name} says it is {_shape(value)}, and the file holds less")
    return {name: tensor for name, tensor in content.items() if not name.endswith(COUNTER)}


def _check(path: Path, arch: Arch, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    net = arch.label if arch.width == 1 else f"{arch.label} of width {arch.width:g}"
    for names, says in (
        ([name for name in wanted if name not in found], "lacks"),
        ([name for name in found if name not in wanted], "has also"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise InputError(f"{path}: not the weights of {net}: {says} {names[0]}{more}")
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            shapes = f"{_shape(found[name])}, not {_shape(tensor)}"
            raise InputError(f"{path}: not the weights of {net}: {name} is {shapes}")
        if not found[name].is_floating_point():
            raise InputError(f"{path}: {name} holds {found[name].dtype}, not floating-point numbers")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
