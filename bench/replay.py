"""Work on a device that is launched whole: captured in a CUDA graph once, then replayed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")
Pool = tuple[int, int]  # as torch names a pool of memory
EAGER_CALLS = 3  # before a capture: libraries choose algorithms and get their workspaces in the first


class Replay(Generic[Result]):
    """`function`, which takes nothing, launched on a GPU as one CUDA graph from its fourth call on; on a CPU, called.

    It may read and write only tensors that stay where they are in memory, may not wait for the device, and must do
    the same work at every call. Call it on a stream of one's own: the default stream cannot be captured. Graphs that
    are replayed on one stream, one after the other, may share `pool`, their memory; what a call returns is then good
    until the next call of any of them. With `capturing` false it is called on a GPU, too: what waits for other
    processes is not captured.
    """

    def __init__(
        self,
        function: Callable[[], Result],
        device: torch.device,
        pool: Pool | None = None,
        *,
        capturing: bool = True,
    ) -> None:
        self._function, self._pool = function, pool
        self._capturable = capturing and device.type == "cuda"
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._returned: Result

    def __call__(self) -> Result:
        """Do the work, or queue it: nothing waits."""
        if self._graph is None and self._capturable and self._calls >= EAGER_CALLS:
            self._capture()
        if self._graph is None:
            self._calls += 1
            return self._function()
        self._graph.replay()
        return self._returned

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        with (
            _no_collection(),
            torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"),
        ):
            self._returned = self._function()
        self._graph = graph


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Within, no garbage is collected: a graph of an earlier training among it may not be freed during a capture."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def shared_pool(device: torch.device) -> Pool | None:
    """A pool for graphs to share; None on a CPU."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None
