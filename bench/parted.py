"""A table in a folder: part files, each named by what its rows are of, and packs of many (`bench.packed`).

What has a file of its own counts by that alone, so that between the writing of a pack and the removal of what it was
made of nothing is missing or there twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import packed
from bench.errors import StoreError
from bench.index import Index
from bench.packed import Pack
from bench.parts import DamagedError, GoneError

MENDED = "`resbench run STUDY` sets it aside and runs again what it held, `resbench doctor --fix` only sets it aside"
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
        """Those with rows, read from names and packs' footers alone.

        Raises:
            StoreError: naming a pack that is damaged.
            OSError: where the folder cannot be read.
        """

        def of(own: set[str], packs: list[str]) -> set[str]:
            found = {name.removesuffix(".parquet") for name in own}
            for name in packs:
                with Pack(self.folder / name) as pack:
                    found |= pack.stems
            return found

        return self._steadily(of)

    def read(self, stems: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of these stems, or all, with these columns, or all. Each stem's rows are together, in their order.

        Raises:
            StoreError: naming the file that is damaged, of a newer resbench, or no table of ours.
            OSError: where the folder cannot be read.
        """
        asked = None if stems is None else set(stems)
        wanted = self.schema.names if columns is None else list(dict.fromkeys(["schema_version", *columns]))

        def rows(own: set[str], packs: list[str]) -> pa.Table:
            present = own if asked is None else own & {f"{stem}.parquet" for stem in asked}
            found = self._index.read(present, wanted)
            if not packs:
                return found
            of_packs = self._of_packs(packs, {name.removesuffix(".parquet") for name in own}, asked, found.schema)
            return pa.concat_tables([found, *of_packs])

        return self._steadily(rows)

    def _of_packs(
        self, packs: list[str], own: set[str], asked: set[str] | None, schema: pa.Schema
    ) -> Iterator[pa.Table]:
        """What has no file of its own; of packs that hold it the latest counts, for what is written later is."""
        done, left = set(own), None if asked is None else asked - own
        for name in packs:
            if left is not None and not left:
                return
            with Pack(self.folder / name) as pack:
                here = (pack.stems if left is None else pack.stems & left) - done
                if here:
                    yield pack.read(here, schema, self.newest)
                done |= here
                left = None if left is None else left - here

    def _steadily(self, read: Callable[[set[str], list[str]], Any]) -> Any:
        """What `read` makes of the names of files and of packs, the latest first, while files come and go.

        A listing takes time: it may miss a pack, and files that were removed for it. So it counts only if afterwards
        there are the same packs.
        """
        gone = None
        for _ in range(TRIES):
            own, packs = self.listing()
            try:
                found = read(own, packs)
            except DamagedError as error:
                raise DamagedError(error.path, error.reason, MENDED) from None
            except GoneError as error:
                gone = error
                continue
            if self.listing()[1] == packs:
                return found
        raise gone or StoreError(f"{self.folder}: changes faster than it can be read")

    def refresh(self) -> None:
        """Bring the copy of many files up to date.

        Raises:
            StoreError, OSError: as `read`.
        """
        self._index.refresh(self.listing()[0])

    def forget_copy(self) -> None:
        """Remove the copy of many files."""
        self._index.path.unlink(missing_ok=True)

    def listing(self) -> tuple[set[str], list[str]]:
        """The names of stems' own files, and of packs, the latest first."""
        if not self.folder.is_dir():
            return set(), []
        with os.scandir(self.folder) as entries:
            names = {entry.name for entry in entries if is_part(entry.name)}
        packs = {name for name in names if packed.number(name) is not None}
        return names - packs, sorted(packs, key=lambda name: (packed.number(name), name), reverse=True)

    @property
    def _index(self) -> Index:
        return Index(self.folder, self.root / ".index" / f"{self.name}.arrow", self.schema, self.key, self.newest)


def is_part(name: str) -> bool:
    """Whether a file of this name is a part of a table."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))
