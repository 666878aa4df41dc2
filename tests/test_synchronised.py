"""Batch normalisation over two processes' images: that of the whole batch in one, to rounding."""

import numpy as np
import pytest
from teams import SIZES, batch_norm_case

from bench import pool


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What two processes made of batches they shared."""
    job = {"entry": "teams:normalise", "device": "cpu", "devices": 2}
    return pool.call("bench.launch:run", job, tmp_path_factory.mktemp("synchronised") / "log", print)


@pytest.mark.parametrize("number", range(len(SIZES)), ids=str)
def test_results_gradients_and_running_statistics_are_the_whole_batchs(made, number):
    found = made[0][number]
    x, slopes, net = batch_norm_case(sum(SIZES[number]))
    x.requires_grad_()
    y = net(x)
    (y * slopes).sum().backward()
    wanted = [y, x.grad, net.weight.grad, net.bias.grad, net.running_mean, net.running_var]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.detach(), rtol=1e-10, atol=1e-10)


def test_bfloat16_stays_bfloat16(made):
    assert made[1:] == ("torch.bfloat16", "torch.bfloat16")
