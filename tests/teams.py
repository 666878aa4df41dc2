"""What the tests' teams run: on every rank, with the team."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIZES = ([3, 3], [1, 4], [5, 0])  # images of each of two ranks


def alike(team: Any, value: Any) -> list[Any]:
    """The value of every rank, on each."""
    found: list[Any] = [None] * team.size
    torch.distributed.all_gather_object(found, value)
    return found


def say(job: dict[str, Any], caller: Any, team: Any) -> Any:  # noqa: ARG001
    """Everything a team says."""
    halves, wholes = torch.full((2, 2), 0.5 + team.rank), torch.tensor([team.rank, 1])
    team.sum_([halves, wholes])
    mean = torch.tensor([1.0, 2.0 * team.rank])
    team.mean_([mean])
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    wrapped = team.wrap(net)
    with team.quiet(wrapped):
        wrapped(torch.ones(1, 1)).sum().backward()
    apart = net.weight.grad.item()
    wrapped(torch.full((1, 1), 1.0 + team.rank)).sum().backward()
    with team.led():
        led = time.monotonic()
    said = {
        "rank": (team.rank, team.size, os.getpid()),
        "share": team.share(5),
        "weight": team.weight(5),
        "sum": (halves.tolist(), wholes.tolist()),
        "mean": mean.tolist(),
        "gathered": team.gathered(torch.tensor([team.rank, 7])).tolist(),
        "any": (team.any(False), team.any(team.rank == 1)),
        "total": team.total(team.rank, 2),
        "told": team.told(f"from {team.rank}"),
        "led": led,
        "of_first": team.of_first(team.rank + 3, True),
        "gradients": (apart, net.weight.grad.item()),
        "environment": os.environ.get("MASTER_ADDR"),
    }
    return alike(team, said)


def normalise(job: dict[str, Any], caller: Any, team: Any) -> Any:  # noqa: ARG001
    """Synchronised batch normalisation of parts of a batch: results and gradients, put together."""
    from bench.nets import Normalisation, synchronise

    found = []
    for sizes in SIZES:
        whole, slopes, net = batch_norm_case(sum(sizes))
        net = Normalisation(3).double().train()
        _, _, like = batch_norm_case(sum(sizes))
        net.load_state_dict(like.state_dict())
        synchronise(net, team)
        start = sum(sizes[: team.rank])
        mine = slice(start, start + sizes[team.rank])
        x = whole[mine].clone().requires_grad_()
        y = net(x)
        (y * slopes[mine]).sum().backward()
        team.sum_([net.weight.grad, net.bias.grad])
        parts = alike(team, (y.detach(), x.grad))
        results = [torch.cat([part[number] for part in parts]) for number in (0, 1)]
        results += [net.weight.grad, net.bias.grad, net.running_mean, net.running_var]
        found.append([result.numpy() for result in results])  # tensors would be sent as files of this process
    net = Normalisation(3).train()
    synchronise(net, team)
    x = torch.randn(4, 3, 2, 2).bfloat16().requires_grad_()
    y = net(x)
    y.float().square().sum().backward()
    return found, str(y.dtype), str(x.grad.dtype)


def batch_norm_case(images: int) -> tuple[Tensor, Tensor, nn.Module]:
    """A batch, gradients with regard to its result, and a layer, in float64: the same wherever it is called."""
    generator = torch.Generator().manual_seed(images)
    x, slopes = (torch.randn(images, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    net = nn.BatchNorm2d(3).double()
    with torch.no_grad():
        for tensor in (net.weight, net.bias, net.running_mean, net.running_var):
            tensor.copy_(torch.rand(3, generator=generator, dtype=torch.float64) + 0.5)
    return 3 * x + 100, slopes, net.train()


def raise_on(job: dict[str, Any], caller: Any, team: Any) -> None:
    """One rank raises; the others wait for it."""
    caller.send("here")
    if team.rank == job["rank"]:
        raise job["error"]
    team.any(False)


def be_killed(job: dict[str, Any], caller: Any, team: Any) -> None:  # noqa: ARG001
    """One rank is killed; the others wait for it."""
    team.any(False)
    if team.rank == job["rank"]:
        os.kill(os.getpid(), job["signal"])
    team.any(False)


def wait(job: dict[str, Any], caller: Any, team: Any) -> str:  # noqa: ARG001
    """End when asked to stop, after having told of every rank's process."""
    caller.send(alike(team, os.getpid()))
    while not team.any(caller.stopping()):
        time.sleep(0.01)
    return f"stopped in order, {team.size}"


def hang(job: dict[str, Any], caller: Any, team: Any) -> None:  # noqa: ARG001
    """Never end, after having told of every rank's process and its parent."""
    pids = [*alike(team, os.getpid()), os.getppid()]
    if team.rank == 0:
        caller.send(pids)
    while True:
        time.sleep(60)


def trained(cell: Any, images: Any, team: Any, steps: int) -> dict[str, Any]:
    """A cell after some steps: its weights, statistics and evaluation."""
    from bench.train import Training

    training = Training(cell, images, team=team, probing=True)
    training.advance(steps)
    point = dataclasses.asdict(training.evaluate())
    readings = [vars(reading) for reading in training.probe.readings] if training.probe else None
    state = {name: tensor.double().numpy() for name, tensor in training.net.state_dict().items()}
    return {"state": state, "point": point, "readings": readings}


def train(job: dict[str, Any], caller: Any, team: Any) -> Any:  # noqa: ARG001
    """Some steps of each of several cells."""
    from bench import dataset
    from bench.cell import Cell
    from bench.source import Source

    images = dataset.load(Source("digits"))
    torch.set_num_threads(1)
    ends = [trained(Cell.from_flat(flat), images, team, job["steps"]) for flat in job["cells"]]
    bits = alike(team, [[array.tobytes() for array in end["state"].values()] for end in ends])
    return ends, bits[0] == bits[1]


def streamed(cell: Any, root: Path, team: Any, caller: Any) -> Any:
    """A cell on files, of which one is no image, after some steps: how it does, and its tests."""
    from albums import an_album

    from bench import worker
    from bench.loading import Loading
    from bench.train import Training

    with team.led():
        album = an_album(root)
        (root / "train" / "00007.JPEG").write_bytes(b"no image")
    training = Training(cell, album, team=team, loading=Loading(loaders=1, bad_images="skip"))
    training.advance(5)
    point = dataclasses.asdict(training.evaluate())
    bad = set().union(*team.told(list(training.bad_images)))
    return point, worker._tests(training, caller, team), sorted(bad)


def environment(job: dict[str, Any], caller: Any, team: Any) -> Any:  # noqa: ARG001
    """What a variable holds."""
    return os.environ.get(job["name"])


def all_of_it(job: dict[str, Any], caller: Any, team: Any) -> Any:
    """All that is asked of one team, for the start of two processes takes its time."""
    from bench.cell import Cell

    cell = Cell.from_flat(job["streamed"])
    return say(job, caller, team), train(job, caller, team), streamed(cell, Path(job["root"]), team, caller)


def train_and_lose_each_rank_once(job: dict[str, Any], caller: Any, team: Any) -> Any:
    """Train a cell for real, but soon after the first checkpoint rank 0 is killed, and when it goes on rank 1."""
    from bench import worker

    checkpoint = Path(job["checkpoint"])
    markers = [checkpoint.with_suffix(f".died{rank}") for rank in range(team.size)]
    lost = team.of_first(sum(marker.exists() for marker in markers))[0]

    class Killing:
        looks = 0

        def send(self, message: Any) -> None:
            caller.send(message)

        def stopping(self) -> bool:
            self.looks += checkpoint.exists()
            if team.rank == lost and self.looks == 3:
                markers[lost].touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return caller.stopping()

    return worker.run_cell(job | {"checkpoint_seconds": 0.0}, Killing(), team=team)


def work(job: dict[str, Any], caller: Any, team: Any) -> Any:
    """Train a cell for real, and be asked to stop after so many looks of rank 0."""
    from children import Caller

    from bench import worker

    parent = Caller(looks=job["looks"])
    answer = worker.run_cell(job, parent, team=team)
    for message in parent.sent:
        caller.send(message)
    return answer
