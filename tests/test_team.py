"""Teams: what one process says to itself, and two to each other over gloo."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from children import Caller
from synthetic import RECIPE, a_cell
from teams import streamed, trained
from torch import nn

from bench import pool, worker
from bench.team import ALONE


def over_two(entry, folder, **job):
    """What two processes return, and what they send."""
    sent = []
    job |= {"entry": f"teams:{entry}", "device": "cpu", "devices": 2}
    return pool.call("bench.launch:run", job, folder / "log", sent.append), sent


def test_alone_everything_stays_as_it_is():
    tensor, net = torch.tensor([1.0, 2.0]), nn.Linear(1, 1)
    ALONE.sum_([tensor])
    ALONE.mean_([tensor])
    assert tensor.tolist() == [1.0, 2.0] and ALONE.gathered(tensor).tolist() == [[1.0, 2.0]]
    assert (ALONE.rank, ALONE.size, ALONE.share(7), ALONE.weight(7)) == (0, 1, slice(0, 7), 1.0)
    assert ALONE.any(True) and not ALONE.any(False) and ALONE.of_first(3, True) == (3, True)
    assert ALONE.total(3, 4) == (3, 4) and ALONE.told("this") == ["this"] and ALONE.wrap(net) is net
    with ALONE.quiet(net), ALONE.led():
        pass


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What two processes said, and trained."""
    job = {"cells": [cell.flat() for cell in CELLS], "steps": STEPS, "cell": None}
    folder = tmp_path_factory.mktemp("team")
    return over_two("all_of_it", folder, **job, streamed=STREAMED.flat(), root=str(folder / "album"))[0]


@pytest.fixture(scope="module")
def said(done):
    """What each of two processes said."""
    return done[0]


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
        assert one["total"] == (1, 4) and one["told"] == ["from 0", "from 1"]
    assert said[0]["led"] < said[1]["led"]


def test_gradients_are_averaged_once_and_what_was_kept_is_part_of_it(said):
    assert [one["gradients"] for one in said] == [(1.0, 2.5), (1.0, 2.5)]  # 1 and 1, then (1 + 1 + 1 + 2) / 2


# What a training has of a team: the bits of one process, but for rounding.

STEPS = 4
CASES = {
    "over the batch": ({"batch": 32}, 1e-5),
    "computed again": ({"batch": 32, "recompute": True}, 1e-5),
    "a group a process": ({"batch": 32, "norm_batch": 16, "last_batch": "drop"}, 1e-5),
    "two groups a process": ({"batch": 32, "norm_batch": 8, "last_batch": "drop"}, 1e-5),
    # of 1,197: one process has it, the other none
    "one image the last": ({"batch": 598, "memory_format": "contiguous"}, 1e-4),
    "bfloat16": ({"batch": 32, "precision": "bf16", "warmup": "paper"}, 2e-2),
}
BASE = dataclasses.replace(RECIPE, lr=0.02, drops=(), crop_padding=1, split="holdout")
CELLS = [a_cell(shortcut="B", recipe=dataclasses.replace(BASE, **changes)) for changes, _ in CASES.values()]


@pytest.fixture(scope="module")
def both(done, digits, one_thread):  # noqa: ARG001
    """What two processes and one have trained, by case."""
    ends, same = done[1]
    assert same  # both processes' nets, to the bit
    alone = (trained(cell, digits, ALONE, STEPS) for cell in CELLS)
    return dict(zip(CASES, zip(ends, alone, strict=True), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_team_trains_as_one_process_does(both, case):
    spread, alone = both[case]
    near = CASES[case][1]
    for name, wanted in alone["state"].items():
        np.testing.assert_allclose(spread["state"][name], wanted, rtol=near, atol=near, err_msg=name)
    for name in ("running_loss", "train_loss", "validation_loss", "test_loss"):
        assert spread["point"][name] == pytest.approx(alone["point"][name], rel=near)
    for name in ("running_error", "train_error", "validation_error", "test_error"):
        assert spread["point"][name] == pytest.approx(alone["point"][name], abs=max(0.004, near))
    for mine, theirs in zip(spread["readings"], alone["readings"], strict=True):
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=10 * near)


VIEWS = {"crop_size": 32, "scale": (36, 48), "crop_padding": 0, "colour": "own"}
STREAMED = a_cell(recipe=dataclasses.replace(BASE, batch=6, split="full", memory_format="contiguous", **VIEWS))


def test_files_are_shared_and_so_are_tests(done, tmp_path, one_thread):  # noqa: ARG001
    (point, tests, bad), (wanted, wanted_tests, wanted_bad) = done[2], streamed(STREAMED, tmp_path, ALONE, Caller())
    for name in ("running_loss", "train_loss", "test_loss"):
        assert point[name] == pytest.approx(wanted[name], rel=1e-4)
    assert tests == wanted_tests and len(tests) == 5
    assert len(bad) == 1 and [Path(name).name for name in bad] == [Path(name).name for name in wanted_bad]


@pytest.fixture
def job(tmp_path):
    return {
        "cell": a_cell(recipe=dataclasses.replace(RECIPE, iterations=40, eval_every=10, lr=0.01, drops=())).flat(),
        "source": "digits",
        "device": "cpu",
        "threads": 1,
        "checkpoint": str(tmp_path / "checkpoint.pt"),
        "checkpoint_seconds": 1000.0,
        "data_sha256": None,
        "analysis": True,
        "net": None,
    }


def test_a_checkpoint_goes_on_with_another_number_of_devices_and_back(job, tmp_path, torch_settings):  # noqa: ARG001
    assert over_two("work", tmp_path, **job, looks=4)[0] == {"curve": None}
    saved = [torch.load(job["checkpoint"], weights_only=True)["counters"]["iteration"]]
    assert worker.run_cell(job, Caller(looks=3)) == {"curve": None}
    saved.append(torch.load(job["checkpoint"], weights_only=True)["counters"]["iteration"])
    answer, sent = over_two("work", tmp_path, **job, looks=10**9)
    assert 0 < saved[0] < saved[1] < 40
    whole = worker.run_cell(job | {"checkpoint": str(tmp_path / "whole.pt")}, Caller())
    assert [point["iteration"] for point in answer["curve"]] == [10, 20, 30, 40]
    assert sent == answer["curve"]  # each told once, by the first alone
    assert answer["curve"][0]["train_loss"] == pytest.approx(whole["curve"][0]["train_loss"], rel=1e-2)
    assert [r["iteration"] for r in answer["layers"]["readings"]] == [0, 10, 20, 30, 40]
