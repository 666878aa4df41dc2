"""Where images come from, by name: the grammar of a study's `data` and what identifies a data set."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bench.errors import FieldError

NOISE = ("noise32", "noise224")  # of CIFAR's and of ImageNet's shape: for timing, of which it is as good as images
BUILT_IN = ("digits", "cifar10", "cifar100", *NOISE)
FROM_DIRECTORY = ("parquet", "folder", "webdataset")
SHAPES = {  # channels, pixels a side, classes
    "digits": (1, 8, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "noise32": (3, 32, 10),
    "noise224": (3, 224, 1000),
}
COUNTS = {  # images to train and to test, by a data set's name
    "digits": (1_497, 300),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "imagenet": (1_281_167, 50_000),  # ILSVRC 2012, and its validation set
}
IMAGENET_CLASSES = 1000
ALLOWED = "digits, cifar10, cifar100, noise32, noise224, parquet:DIR, folder:DIR or webdataset:DIR"
NAME = re.compile(r"[\w.+-][\w.+ -]{0,99}")


@dataclass(frozen=True)
class Source:
    """One data set and where it lies.

    Its `identity`, `parquet:NAME` for `parquet:some/where/NAME`, is what a cell is hashed with: results do not depend
    on where a machine keeps its files. That two folders of one name hold the same images is checked by checksum.
    """

    kind: str
    directory: str = ""

    @classmethod
    def parse(cls, text: object) -> Source:
        """Read a built-in name, `parquet:DIR`, `folder:DIR` or `webdataset:DIR`.

        Raises:
            FieldError: for anything else.
        """
        kind, colon, directory = text.partition(":") if isinstance(text, str) else ("", "", "")
        source = cls(kind, directory)
        if kind in BUILT_IN and not colon:
            return source
        if kind in FROM_DIRECTORY and directory and "\0" not in directory and NAME.fullmatch(source.label):
            return source
        raise FieldError("data", text, ALLOWED)

    @property
    def label(self) -> str:
        """The data set's name as figures show it: the last part of its folder, or the built-in name."""
        # abspath, which unlike Path.resolve keeps a link's own name
        return Path(os.path.abspath(self.directory)).name if self.directory else self.kind  # noqa: PTH100

    @property
    def identity(self) -> str:
        """What a cell's id is made from; free of the machine's paths."""
        return f"{self.kind}:{self.label}" if self.kind in FROM_DIRECTORY else self.kind

    @property
    def cache_key(self) -> str:
        """What a cache calls its entry: of two folders of one name, each has its own."""
        if not self.directory:
            return self.kind
        place = hashlib.sha256(os.fsencode(Path(self.directory).resolve())).hexdigest()
        return f"{self.kind}-{self.label}-{place[:12]}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.directory}" if self.kind in FROM_DIRECTORY else self.kind
