"""Teams: what one process says to itself, and two to each other over gloo."""

import pytest
import torch
from torch import nn

from bench import pool
from bench.team import ALONE


def test_alone_everything_stays_as_it_is():
    tensor, net = torch.tensor([1.0, 2.0]), nn.Linear(1, 1)
    ALONE.sum_([tensor])
    ALONE.mean_([tensor])
    assert tensor.tolist() == [1.0, 2.0] and ALONE.gathered(tensor).tolist() == [[1.0, 2.0]]
    assert (ALONE.rank, ALONE.size, ALONE.share(7), ALONE.weight(7)) == (0, 1, slice(0, 7), 1.0)
    assert ALONE.any(True) and not ALONE.any(False) and ALONE.of_first(3, True) == (3, True)
    assert ALONE.wrap(net) is net
    with ALONE.quiet(net):
        pass


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What two processes said."""
    job = {"entry": "teams:say", "device": "cpu", "devices": 2}
    return pool.call("bench.launch:run", job, tmp_path_factory.mktemp("team") / "log", print)


def test_two_processes_know_who_they_are(said):
    ranks, sizes, pids = zip(*(one["rank"] for one in said), strict=True)
    assert (ranks, sizes) == ((0, 1), (2, 2)) and len(set(pids)) == 2
    assert {one["environment"] for one in said} == {"127.0.0.1"}


def test_shares_make_up_the_batch_and_weights_its_mean(said):
    assert [one["share"] for one in said] == [slice(0, 2), slice(2, 5)]
    assert [one["weight"] for one in said] == [0.8, 1.2]


def test_sums_and_means_are_the_same_for_all_in_every_type(said):
    for one in said:
        assert one["sum"] == ([[2.0, 2.0], [2.0, 2.0]], [1, 2])
        assert one["mean"] == [1.0, 1.0]
        assert one["gathered"] == [[0, 7], [1, 7]]
        assert one["any"] == (False, True)
        assert one["of_first"] == (3, True)


def test_gradients_are_averaged_once_and_what_was_kept_is_part_of_it(said):
    assert [one["gradients"] for one in said] == [(1.0, 2.5), (1.0, 2.5)]  # 1 and 1, then (1 + 1 + 1 + 2) / 2
