"""What a training must know of the other processes that train the same cell, one a device."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}  # what is agreed on lies in the CPU's memory, on a GPU too


class Team:
    """The processes of a cell, each with a `rank` from 0 to `size` - 1: here one process, for which nothing is done.

    Whatever sums, averages, gathers or agrees is to be called by all of them, in the same order.
    """

    rank = 0
    size = 1

    def share(self, images: int) -> slice:
        """This process's part of a batch of so many images: parts are in order of rank, and differ by one at most."""
        return slice(images * self.rank // self.size, images * (self.rank + 1) // self.size)

    def weight(self, images: int) -> float:
        """What to multiply a part's mean loss by, so that its mean over processes is the batch's mean."""
        part = self.share(images)
        return self.size * (part.stop - part.start) / images

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each floating-point tensor by its mean over the processes."""

    def gathered(self, tensor: Tensor) -> Tensor:
        """The tensors [...] of all processes, [size, ...], by rank."""
        return tensor[None]

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag

    def of_first(self, *numbers: int) -> tuple[int, ...]:
        """These numbers as process 0 has them."""
        return numbers

    def total(self, *numbers: int) -> tuple[int, ...]:
        """The sum of each number over the processes."""
        return numbers

    def told(self, what: Any) -> list[Any]:
        """What each process tells the others, by rank: anything that can be pickled."""
        return [what]

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """Within, process 0 is done before the others begin: they find what it has put into a cache."""
        if self.rank:
            self.any(False)
        yield
        if not self.rank:
            self.any(False)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, which in a backward pass averages its gradients over the processes."""
        return module

    def quiet(self, module: nn.Module) -> AbstractContextManager[Any]:  # noqa: ARG002 - what others need
        """Within, backward passes of what `wrap` returned keep their gradients to this process, to be added to."""
        return nullcontext()


ALONE = Team()


class Spread(Team):
    """Several processes, joined by `torch.distributed`."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes: a call a type."""
        for kind in dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors):
            alike = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.all_reduce(flat)
            for tensor, total in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        self.sum_(tensors)
        if tensors:
            torch._foreach_div_(list(tensors), self.size)

    def gathered(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, by rank."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor)
        return torch.stack(found)

    def any(self, flag: bool) -> bool:
        """Whether any process says so; waits for all."""
        said = torch.tensor(int(flag))
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def of_first(self, *numbers: int) -> tuple[int, ...]:
        """These numbers as process 0 has them; waits for it."""
        said = torch.tensor(numbers)
        dist.broadcast(said, 0)
        return tuple(said.tolist())

    def total(self, *numbers: int) -> tuple[int, ...]:
        """The sum of each number over the processes; waits for all."""
        said = torch.tensor(numbers)
        dist.all_reduce(said)
        return tuple(said.tolist())

    def told(self, what: Any) -> list[Any]:
        """What each process tells the others, by rank; waits for all."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, what)
        return found

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module in DistributedDataParallel, whose buckets the gradients lie in; buffers are not its business."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 renames the first, which 2.11 knows alone
            return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)

    def quiet(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Within, nothing is averaged."""
        return module.no_sync()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The team of the processes that torchrun started, on this machine alone; NCCL joins GPUs, gloo the rest.

    What an error leaves joined the end of the process takes apart: to wait for others would hold up its message.
    """
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}  # no name of a host is looked up
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(BACKENDS[device.type])
    team = Spread()
    yield team
    team.any(False)  # nobody leaves before all are done
    dist.destroy_process_group()
