"""A table in a folder of part files, each named by what its rows are of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bench.index import Index
from bench.parts import DamagedError, GoneError

MENDED = "`resbench run STUDY` sets it aside and runs its cell again, `resbench doctor --fix` only sets it aside"
TRIES = 100  # at a listing that holds: files are replaced and removed while others read


@dataclass(frozen=True)
class Parted:
    """The table `name` in a results folder.

    The columns of `key`, joined by hyphens, are a row's stem: the name of its file, less the ending. A file of a schema
    version above `newest` is refused.
    """

    root: Path
    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    newest: int

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.root / self.name

    def file(self, stem: str) -> Path:
        """Where the rows of a stem are written."""
        return self.folder / f"{stem}.parquet"

    def stems(self) -> set[str]:
        """Those with rows, read from names alone.

        Raises:
            OSError: where the folder cannot be read.
        """
        return {name.removesuffix(".parquet") for name in self._names()}

    def read(self, stems: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of these stems, or all, with these columns, or all.

        Raises:
            StoreError: naming the file that is damaged, of a newer resbench, or no table of ours.
            OSError: where the folder cannot be read.
        """
        asked = None if stems is None else {f"{stem}.parquet" for stem in stems}
        wanted = self.schema.names if columns is None else list(dict.fromkeys(["schema_version", *columns]))
        for left in reversed(range(TRIES)):
            names = self._names()
            try:
                return self._index.read(names if asked is None else names & asked, wanted)
            except DamagedError as error:
                raise DamagedError(error.path, error.reason, MENDED) from None
            except GoneError:
                if not left:
                    raise
        raise AssertionError

    def refresh(self) -> None:
        """Bring the copy of many files up to date.

        Raises:
            StoreError, OSError: as `read`.
        """
        self._index.refresh(self._names())

    def _names(self) -> set[str]:
        if not self.folder.is_dir():
            return set()
        with os.scandir(self.folder) as entries:
            return {entry.name for entry in entries if is_part(entry.name)}

    @property
    def _index(self) -> Index:
        return Index(self.folder, self.root / ".index" / f"{self.name}.arrow", self.schema, self.key, self.newest)


def is_part(name: str) -> bool:
    """Whether a file of this name is a part of a table."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))
