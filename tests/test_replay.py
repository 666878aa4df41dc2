"""Work called or replayed. A stand-in records what a GPU would be asked; a GPU, where there is one, gives the bits."""

import contextlib
import gc

import pytest
import torch

from bench.replay import EAGER_CALLS, Replay


def test_on_a_cpu_it_is_a_call():
    calls = []
    replay = Replay(lambda: calls.append(1) or len(calls), torch.device("cpu"))
    assert [replay() for _ in range(6)] == [1, 2, 3, 4, 5, 6]


class Graph:
    """A CUDA graph that counts its replays."""

    made: list["Graph"]

    def __init__(self):
        self.replays = 0
        self.made.append(self)

    def replay(self):
        self.replays += 1


@pytest.fixture
def graphs(monkeypatch):
    """Scripted CUDA graphs: those made so far."""
    Graph.made = []

    @contextlib.contextmanager
    def capture(_graph, *, pool, stream, capture_error_mode):
        assert (pool, stream, capture_error_mode) == ("a pool", "a stream", "thread_local")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "a stream")
    return Graph.made


def test_on_a_gpu_it_is_captured_once_after_some_calls_and_then_replayed(graphs):
    calls = []
    replay = Replay(lambda: calls.append(1) or len(calls), torch.device("cuda"), "a pool")
    returned = [replay() for _ in range(EAGER_CALLS + 5)]
    assert len(calls) == EAGER_CALLS + 1  # the last was the capture, which computes nothing, so it is replayed too
    assert returned == [1, 2, 3] + [4] * 5
    assert [graph.replays for graph in graphs] == [5]


@pytest.mark.usefixtures("graphs")
def test_no_garbage_is_collected_during_a_capture():
    """A graph of an earlier training, freed then, would spoil it."""
    collecting = []
    replay = Replay(lambda: collecting.append(gc.isenabled()), torch.device("cuda"), "a pool")
    for _ in range(EAGER_CALLS + 2):
        replay()
    assert collecting == [True] * EAGER_CALLS + [False] and gc.isenabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_does_the_work_at_every_call():
    device = torch.device("cuda")
    with torch.cuda.stream(torch.cuda.Stream()):
        total, step = torch.zeros((), device=device), torch.ones((), device=device)

        def add():
            total.add_(step)
            return total * 2

        replay = Replay(add, device)
        for number in range(1, 10):
            assert replay().item() == 2 * number
        step.fill_(10)
        assert replay().item() == 2 * 19
