"""What torch saved, read again: tensors and plain values alone, and whole."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load(path: Path, device: str | torch.device = "cpu") -> Any:
    """The content of a file that `torch.save` wrote, its tensors on `device`. No code in it is run.

    torch writes checksums and does not look at them: a flipped bit would be read as another weight. They are looked at
    here; files in the form from before 2020 have none.

    Raises:
        ValueError: naming the first record that is not as it was written.
        OSError, pickle.UnpicklingError, RuntimeError, …: for what is no such file, or holds other things.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as records:
            try:
                damaged = records.testzip()
            except zipfile.BadZipFile as error:
                raise ValueError(str(error)) from None
        if damaged:
            raise ValueError(f"the checksum of its record {damaged} is not that of its bytes")
    return torch.load(path, map_location=device, weights_only=True)
