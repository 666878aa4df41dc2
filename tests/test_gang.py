"""Cells in one process: turns, messages, and what a measurement chooses. (Gangs in a sweep: test_sweep.)"""

import threading
import time

import pytest
import torch
from children import Caller
from synthetic import RECIPE, a_cell

from bench import gang, worker
from bench.gang import Turn

pytestmark = pytest.mark.usefixtures("torch_settings")


def a_job(tmp_path, seed, **changes):
    return {
        "cell": a_cell(recipe=RECIPE, seed=seed).flat(),
        "source": "digits",
        "device": "cpu",
        "threads": 1,
        "checkpoint": str(tmp_path / f"{seed}.pt"),
        "checkpoint_seconds": 1000.0,
        "data_sha256": None,
        "analysis": True,
        "net": None,
    } | changes


class Event:
    """Device work that is done already: the hardest case, for who gives his turn away wants it back at once."""

    def synchronize(self):
        pass


def test_turns_go_round_in_order_and_one_at_a_time():
    turn, order, inside = Turn(), [], []

    def work(name):
        with turn:
            for _ in range(50):
                inside.append(name)
                assert len(inside) == 1
                order.append(name)
                inside.pop()
                turn.wait(Event())

    with turn:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
            time.sleep(0.02)  # each draws its ticket
    for thread in threads:
        thread.join()
    assert len(order) == 150 and order[:1] == ["a"]
    while order:
        counts = [order.count(name) for name in "abc"]
        assert max(counts) - min(counts) <= 5, order  # nobody waits for long
        order.pop()


def test_a_turn_is_given_up_when_its_holder_raises():
    turn = Turn()
    with pytest.raises(ValueError, match="no"), turn:
        raise ValueError("no")
    with turn:
        pass


def test_each_cell_tells_its_own_end_and_one_that_raises_spoils_no_other(tmp_path):
    caller = Caller()
    jobs = {
        "first": a_job(tmp_path, 0),
        "second": a_job(tmp_path, 1, source="parquet:nowhere"),
        "third": a_job(tmp_path, 2),
    }
    assert gang.run_cells({"jobs": jobs}, caller) is None
    ends = {cell_id: (kind, body) for cell_id, kind, body in caller.sent if kind != "sent"}
    assert {cell_id: kind for cell_id, (kind, _) in ends.items()} == {
        "first": "returned",
        "second": "died",
        "third": "returned",
    }
    assert ends["second"][1][0] == "refused" and "nowhere" in ends["second"][1][1]
    alone = worker.run_cell(a_job(tmp_path / "alone", 2), Caller())
    errors = [[point["train_loss"] for point in answer["curve"]] for answer in (ends["third"][1], alone)]
    assert errors[0] == errors[1]
    told = [body for cell_id, kind, body in caller.sent if (cell_id, kind) == ("third", "sent")]
    assert [point["train_loss"] for point in told] == errors[1]
    assert all(point["peak_allocated_bytes"] is None for point in told)


def test_a_wait_that_raises_takes_the_turn_back_first():
    """As every wait does once the device has failed: the others must still come to their end."""

    class Failing:
        def synchronize(self):
            time.sleep(0.001)
            raise RuntimeError("the device is lost")

    turn, ended, inside = Turn(), [], []

    def work(name):
        try:
            with turn:
                turn.wait(Failing())
        except RuntimeError:
            with turn:
                inside.append(name)
                assert len(inside) == 1
                ended.append(name)
                inside.pop()

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(ended) == ["a", "b", "c", "d"]


class FakeTraining:
    """One of those whose rate is made up."""

    def __init__(self, *_):
        pass

    def measure(self, part, first):
        pass


def test_memory_that_runs_out_ends_the_search(tmp_path, monkeypatch):
    def rate(trainings):
        if len(trainings) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 100.0 * len(trainings)

    monkeypatch.setattr(gang, "Training", FakeTraining)
    monkeypatch.setattr(gang, "_rate", rate)
    monkeypatch.setattr(gang, "_fits", lambda *_: True)
    assert gang.best_size(a_job(tmp_path, 0), Caller()) == 2


RATES = {
    "no gain": ([100, 103], 1),
    "until the third doubling": ([100, 190, 300, 310], 4),
    "always": ([100, 200, 400, 800, 1600], 16),
}


@pytest.mark.parametrize("case", RATES)
def test_the_best_size_is_the_last_that_paid(tmp_path, monkeypatch, case):
    rates, best = RATES[case]
    left = iter(rates)
    monkeypatch.setattr(gang, "Training", FakeTraining)
    monkeypatch.setattr(gang, "_rate", lambda _: next(left))
    monkeypatch.setattr(gang, "_fits", lambda *_: True)
    caller = Caller()
    assert gang.best_size(a_job(tmp_path, 0), caller) == best
    assert [rate for _, rate in caller.sent] == rates


def test_a_gang_is_no_larger_than_memory_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(gang, "Training", FakeTraining)
    monkeypatch.setattr(gang, "_rate", lambda trainings: 100.0 * len(trainings))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 12 * 2**30)  # the more there are the less each needs
    assert gang.best_size(a_job(tmp_path, 0), Caller()) == 1  # a second would need 14.4
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 8 * 2**30)
    assert gang.best_size(a_job(tmp_path, 0), Caller()) == 16  # here 9.6 for each doubling


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_gang_ends_as_its_cells_do_alone(tmp_path):
    caller = Caller()
    jobs = {str(seed): a_job(tmp_path, seed, device="cuda") for seed in range(3)}
    gang.run_cells({"jobs": jobs}, caller)
    ends = {cell_id: body for cell_id, kind, body in caller.sent if kind == "returned"}
    for seed in range(3):
        alone = worker.run_cell(a_job(tmp_path / "alone", seed, device="cuda"), Caller())
        together = ends[str(seed)]["curve"]
        assert [p["iteration"] for p in together] == [p["iteration"] for p in alone["curve"]]
        assert together[-1]["train_error"] == pytest.approx(alone["curve"][-1]["train_error"], abs=0.05)
