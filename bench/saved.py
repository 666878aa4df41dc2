"""What torch saves, and reads again: tensors and plain values alone, and whole."""

from __future__ import annotations

import errno
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from bench.errors import in_a_line, is_out_of_memory
from bench.parts import replacing


def save(content: Any, path: Path) -> None:
    """Write tensors, texts and numbers, as `load` reads them: all of it is in the file, or nothing is changed.

    Raises:
        OSError: as where a disk is full.
        RuntimeError: from a device that the tensors are on.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch, as it closes the file, tells of a position that is not what it expected
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load(path: Path, device: str | torch.device = "cpu") -> Any:
    """What torch wrote into a file, on a device: tensors, texts and numbers. Nothing in it is run, whoever made it.

    torch writes checksums and does not look at them: a flipped bit would be read as another weight. They are looked at
    here; files in the form from before 2020 have none.

    Raises:
        OSError: where it cannot be read.
        torch.OutOfMemoryError, MemoryError, RuntimeError: where there is no room for it, which
            says nothing of the file (`bench.errors.is_out_of_memory`).
        ValueError: for any other file, or one that is not as it was written, saying in a line why.
    """
    try:
        _check(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other protocols: if it cannot be read, that is told
            return torch.load(path, map_location=device, weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("damaged: it points outside itself") from None
    except UnpicklingError:  # whose text advises to load it all the same
        raise ValueError("damaged, or holds more than tensors by name") from None
    except Exception as error:  # whatever is wrong with a file
        if is_out_of_memory(error) and zipfile.is_zipfile(path):  # whole, by its checksums
            raise
        raise ValueError(in_a_line(error)) from None


def _check(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as records:
        if damaged := records.testzip():
            raise ValueError(f"the checksum of its record {damaged} is not that of its bytes")
