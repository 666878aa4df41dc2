"""A copy of many part files in one, so that they need not be opened one by one: made from them alone, safe to delete.

It has the rows of the files it has seen, and of each file its size and time of change: a file that differs in either is
read again, one that is gone does not count. The part files stay the truth; its last bytes are a checksum of the others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bench import parts

MANY = 200  # files not in the copy, from which on it is written anew
_CHECKSUM = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)

State = list[int]  # of a file: its size in bytes and its time of change in ns


@dataclass(frozen=True)
class Index:
    """The copy of one folder's part files, kept at `path`.

    Files are named by their rows: `<cell id>.parquet` with the key ("cell_id",), and so on, joined by hyphens. One of a
    schema version above `newest` is refused.
    """

    folder: Path
    path: Path
    schema: pa.Schema
    key: tuple[str, ...]
    newest: int

    def read(self, names: Set[str], columns: Sequence[str]) -> pa.Table:
        """These columns of the rows of the files `names`, ordered by file.

        Raises:
            StoreError: as `parts.read` does, also for a file that is gone.
        """
        wanted = pa.schema([self.schema.field(column) for column in columns])
        if len(names) < MANY:
            return parts.read([self.folder / name for name in sorted(names)], wanted, self.newest)
        known, fresh, missing = self.refresh(names)
        if gone := names - fresh - set(missing):
            raise parts.GoneError(self.folder / min(gone))
        rest = parts.read([self.folder / name for name in missing], wanted, self.newest)
        needed = list(dict.fromkeys([*columns, *self.key]))
        return self._sorted(pa.concat_tables([self._of_files(known.select(needed), fresh).select(columns), rest]))

    def refresh(self, names: Set[str]) -> tuple[pa.Table, set[str], list[str]]:
        """Bring the copy up to date where many of the files `names` are not in it; the copy, those in it, those not.

        Raises:
            StoreError: as `parts.read` does.
        """
        known, files = self._open()
        relevant = files.keys() | names
        # without names there may be no folder
        states = {e.name: _state(e) for e in os.scandir(self.folder) if e.name in relevant} if names else {}
        fresh = {name for name, state in files.items() if states.get(name) == state}
        missing = sorted(states.keys() & names - fresh)
        if len(missing) < MANY:
            return known, fresh & names, missing
        new = parts.read([self.folder / name for name in missing], self.schema, self.newest)
        known = pa.concat_tables([self._of_files(known, fresh), new]).combine_chunks()
        self._save(known, {name: states[name] for name in fresh.union(missing)})
        return known, names & states.keys(), []

    def _sorted(self, table: pa.Table) -> pa.Table:
        keys = [(name, "ascending") for name in (*self.key, "iteration") if name in table.schema.names]
        return table.sort_by(keys).combine_chunks() if keys else table

    def _of_files(self, table: pa.Table, files: Collection[str]) -> pa.Table:
        columns = [table[name] for name in self.key]
        joined = pc.binary_join_element_wise(*columns, "-") if len(columns) > 1 else columns[0]
        stems = pa.array([name.removesuffix(".parquet") for name in files], pa.string())
        return table.filter(pc.is_in(joined, value_set=stems))

    def _open(self) -> tuple[pa.Table, dict[str, State]]:
        """The copy as it is; nothing where there is none, or none that is whole and of this schema."""
        try:
            with pa.memory_map(str(self.path)) as source:
                content = source.read_buffer()
            rows, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
            if hashlib.sha256(rows).digest() == checksum.to_pybytes():
                table = pa.ipc.open_file(rows).read_all()
                told = json.loads(table.schema.metadata[b"files"])
                if table.schema.remove_metadata().equals(self.schema) and told["newest"] == self.newest:
                    return table.replace_schema_metadata(None), told["files"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            pass
        return self.schema.empty_table(), {}

    def _save(self, table: pa.Table, files: dict[str, State]) -> None:
        table = table.replace_schema_metadata({"files": json.dumps({"newest": self.newest, "files": files})})
        try:
            with parts.replacing(self.path) as temporary:
                with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                    writer.write_table(table)
                with temporary.open("r+b") as file:
                    checksum = hashlib.file_digest(file, "sha256").digest()
                    file.write(checksum)
        except OSError as error:  # a folder that is read only: the files are opened again next time
            _log.info("%s is not written: %s", self.path, error)


def _state(entry: os.DirEntry[str]) -> State:
    found = entry.stat()
    return [found.st_size, found.st_mtime_ns]
