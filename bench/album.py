"""stub"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Pages:
    root: Path
    files: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def read(self, number):
        return self.root.joinpath(self.files[self.file[number]].decode()).read_bytes()

    def name(self, number):
        return str(self.root / self.files[self.file[number]].decode())


@dataclass(frozen=True, eq=False)
class Album:
    source: str
    train: Pages
    test: Pages
    class_names: tuple
    sha256: str
    channels = 3

    @property
    def classes(self):
        return len(self.class_names)

    @property
    def holdout(self):
        return (len(self.train) + 5) // 10


def load(source, cache=None, expected=None):
    raise NotImplementedError
