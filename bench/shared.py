"""A folder, or storage by its URI, that all machines of an engine see: what they keep there of cells under way.

checkpoints/<cell id>.pt     a cell's state
answers/<cell id>.json.gz    how it ended (`bench.answer`), until a driver has recorded it
answers/<cell id>.pt         its trained net, where it is kept
answers/<cell id>.jsonl      what it said so far, and answers/<cell id>.job.json its job, where the engine is Slurm
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.errors import InputError, StoreError, in_a_line
from bench.parts import replacing

_CHUNK = 1 << 24  # bytes, copied at once


def checkpoint(cell_id: str) -> str:
    """The name of a cell's state."""
    return f"checkpoints/{cell_id}.pt"


def answer(cell_id: str) -> str:
    """The name of how it ended."""
    return f"answers/{cell_id}.json.gz"


def net(cell_id: str) -> str:
    """The name of its trained net."""
    return f"answers/{cell_id}.pt"


def said(cell_id: str) -> str:
    """The name of what it said so far."""
    return f"answers/{cell_id}.jsonl"


def job(cell_id: str) -> str:
    """The name of what is known of its job."""
    return f"answers/{cell_id}.job.json"


class Shared:
    """Files by their names in shared storage. A file is whole or not there.

    `where` is a folder, or a URI of a filesystem that pyarrow knows (file, s3, gs). `folder` is the folder, where it is
    one of this machine's: its files need no copies. `filesystem` is used in place of the URI's, in tests.

    Raises:
        InputError: for a URI that cannot be used.
    """

    def __init__(self, where: str, filesystem: Any = None) -> None:
        from pyarrow import fs

        self.where = where
        if filesystem is not None:
            self._fs, self._root = filesystem, where.partition("://")[2]
        elif "://" in where:
            try:
                self._fs, self._root = fs.FileSystem.from_uri(where)
            except (OSError, pa.ArrowException, ValueError, ImportError) as error:
                raise InputError(f"--shared {where}: {in_a_line(error)}") from None
            if not self._root:
                raise InputError(f"--shared {where}: it names no bucket or folder")
        else:
            self._fs, self._root = fs.LocalFileSystem(), str(Path(where).absolute())
        self.folder = Path(self._root) if isinstance(self._fs, fs.LocalFileSystem) else None

    def read(self, name: str) -> bytes | None:
        """A file's content; None where it is not there.

        Raises:
            StoreError: where that cannot be told; likewise all that follow.
        """
        with self._storing(name):
            try:
                with self._fs.open_input_stream(self._path(name), compression=None) as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that is there."""
        with self._replacing(name) as file:
            file.write(content)

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to `path` on this machine, if it is there."""
        with self._storing(name):
            try:
                source = self._fs.open_input_stream(self._path(name), compression=None)
            except FileNotFoundError:
                return False
            with source, replacing(path) as temporary, temporary.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
        return True

    def put(self, path: Path, name: str) -> None:
        """Copy a file of this machine, in place of one that is there."""
        with path.open("rb") as source, self._replacing(name) as sink:
            shutil.copyfileobj(source, sink, _CHUNK)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        with self._storing(name):
            return self._fs.get_file_info(self._path(name)).is_file

    def remove(self, *names: str) -> None:
        """Remove files that may be there."""
        for name in names:
            with self._storing(name), contextlib.suppress(FileNotFoundError):
                self._fs.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Any]:
        """A file to write, which takes its place when all is written."""
        with self._storing(name):
            if self.folder:
                with replacing(self.folder / name) as temporary, temporary.open("wb") as file:
                    yield file
                return
            folder, _, last = self._path(name).rpartition("/")
            temporary = f"{folder}/.{last}.tmp"
            self._fs.create_dir(folder, recursive=True)
            with self._fs.open_output_stream(temporary, compression=None) as file:
                yield file
            self._fs.move(temporary, self._path(name))  # an upload that breaks off is never taken for the file

    @contextlib.contextmanager
    def _storing(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.where.rstrip('/')}/{name}: {in_a_line(error)}") from None
