"""What machines of an engine leave of cells in shared storage, as the driver sees it."""

from __future__ import annotations

from pathlib import Path

from bench import shared
from bench.answer import Answer
from bench.errors import StoreError
from bench.shared import Shared
from bench.task import Died, Returned


class Kept:
    """Of each cell its answer, its net and its checkpoint; without storage, nothing."""

    def __init__(self, storage: Shared | None) -> None:
        self.storage = storage

    def left(self, cell_id: str, data_sha256: str | None, *, with_net: bool) -> Returned | Died | None:
        """The end of a cell that is left there, `with_net` only if its net is too.

        Raises:
            DataError: for one that is damaged or of something else.
        """
        content = self.storage.read(shared.answer(cell_id)) if self.storage else None
        if content is None:
            return None
        answer = Answer.unpacked(content, cell_id, data_sha256)
        if with_net and answer.value is not None and not self.storage.has(shared.net(cell_id)):
            return None
        return event(cell_id, answer)

    def bring_net(self, cell_id: str, path: Path) -> None:
        """Bring the net of a cell to `path`.

        Raises:
            StoreError: where it is not there.
        """
        if self.storage and not self.storage.fetch(shared.net(cell_id), path):
            raise StoreError(f"{self.storage.where}: the net of cell {cell_id} is not there")

    def forget(self, cell_id: str, *, checkpoint: bool = False) -> None:
        """Remove how a cell ended, and its `checkpoint` too where it is done with."""
        if self.storage is None:
            return
        names = [shared.answer(cell_id), shared.net(cell_id), shared.said(cell_id), shared.job(cell_id)]
        self.storage.remove(*names, *([shared.checkpoint(cell_id)] if checkpoint else []))


def event(key: str, answer: Answer) -> Returned | Died:
    """The end of a task, as its answer tells."""
    if answer.death is not None:
        return Died(key, **answer.death, place=answer.place)
    return Returned(key, answer.value, answer.place)
