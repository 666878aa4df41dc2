"""Our optimiser against torch's, to the bit, and against its formula in float64."""

import io

import pytest
import torch

from bench.sgd import Group, Sgd

SHAPES = [((8, 4, 3, 3), 1e-4), ((10, 8), 1e-4), ((10,), 0.0), ((1,), 0.0)]


def parameters():
    """Four tensors in two groups, the first as convolutions are kept."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator) for shape, _ in SHAPES]
    drawn[0] = drawn[0].to(memory_format=torch.channels_last)
    return drawn


def gradients(step):
    generator = torch.Generator().manual_seed(step + 1)
    drawn = [torch.randn(shape, generator=generator) for shape, _ in SHAPES]
    drawn[0] = drawn[0].to(memory_format=torch.channels_last)
    return drawn


def optimiser(mine, momentum=0.9):
    return Sgd([Group(mine[:2], 1e-4), Group(mine[2:], 0.0)], 0.1, momentum)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_the_bits_are_those_of_torch(momentum):
    mine, theirs = parameters(), parameters()
    groups = [{"params": theirs[:2], "weight_decay": 1e-4}, {"params": theirs[2:], "weight_decay": 0.0}]
    ours, reference = optimiser(mine, momentum), torch.optim.SGD(groups, lr=0.1, momentum=momentum, fused=True)
    for step in range(30):
        lr = 0.1 if step < 20 else 0.01
        ours.set_lr(lr)
        for group in reference.param_groups:
            group["lr"] = lr
        slopes = gradients(step)
        ours.step([slopes[:2], slopes[2:]])
        for parameter, slope in zip(theirs, gradients(step), strict=True):
            parameter.grad = slope
        reference.step()
    assert all(map(torch.equal, mine, theirs))
    assert not any(map(torch.equal, mine, parameters()))


def test_the_steps_are_those_of_the_formula():
    mine, exact = parameters(), [p.double() for p in parameters()]
    velocity = [torch.zeros_like(p) for p in exact]
    ours = optimiser(mine)
    for step in range(30):
        slopes = gradients(step)
        ours.step([slopes[:2], slopes[2:]])
        for i, (slope, (_, decay)) in enumerate(zip(slopes, SHAPES, strict=True)):
            velocity[i] = 0.9 * velocity[i] + slope.double() + decay * exact[i]
            exact[i] = exact[i] - 0.1 * velocity[i]
    for ours_now, truth in zip(mine, exact, strict=True):
        torch.testing.assert_close(ours_now.double(), truth, rtol=1e-5, atol=1e-5)


def test_it_goes_on_where_its_state_was_taken():
    whole, halves = parameters(), parameters()
    at_once, first = optimiser(whole), optimiser(halves)
    for step in range(6):
        at_once.step([gradients(step)[:2], gradients(step)[2:]])
        if step == 3:
            file = io.BytesIO()
            torch.save(first.state(), file)
            file.seek(0)
            first = optimiser(halves)
            first.restore(torch.load(file, weights_only=True))
        first.step([gradients(step)[:2], gradients(step)[2:]])
    assert all(map(torch.equal, whole, halves))


def test_nothing_moves_in_memory():
    """A step captured in a CUDA graph reads and writes where it first did."""
    mine = parameters()
    ours = optimiser(mine)
    places = [p.data_ptr() for p in mine] + [b.data_ptr() for group in ours.state()["momentum"] for b in group]
    ours.set_lr(0.5)
    ours.step([gradients(0)[:2], gradients(0)[2:]])
    ours.restore(optimiser(parameters()).state())
    assert places == [p.data_ptr() for p in mine] + [b.data_ptr() for group in ours.state()["momentum"] for b in group]
