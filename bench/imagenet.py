"""Whether a folder holds ImageNet (ILSVRC 2012) as training needs it: classes, images, each of them readable."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import folders
from bench.errors import DataError
from bench.folders import Listing
from bench.pages import Pages
from bench.pool import Pool
from bench.source import Source
from bench.task import Died, Sent, Task

CLASSES, TRAIN, TEST = 1000, 1_281_167, 50_000
TRAIN_PER_CLASS, TEST_PER_CLASS = (732, 1300), (50, 50)
WNID = re.compile(r"n\d{8}")
NAMED = 20  # bad images, or classes of one fault, told of by name; all are counted
ENTRY = "bench.decodable:examine"


@dataclass(frozen=True)
class Expected:
    """What there should be; the numbers of images a class are known of ImageNet alone."""

    classes: int = CLASSES
    train: int = TRAIN
    test: int = TEST

    @property
    def is_imagenet(self) -> bool:
        """Whether it's the 1,000 classes and all of their images."""
        return self == Expected()


@dataclass(frozen=True)
class Report:
    """What a folder holds: images of each part, classes; what is wrong with the layout, and with images by name."""

    classes: int
    train: int
    test: int
    faults: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()  # where, why
    bad_count: int = 0

    @property
    def sound(self) -> bool:
        """Whether all is as it should be."""
        return not (self.faults or self.bad_count)


def check(root: Path, told: Callable[[int, int], None], expected: Expected = Expected(), processes: int = 1) -> Report:
    """Look at the layout under `root`, and decode every image; `told` hears how many of how many were decoded.

    Raises:
        DataError: where there is no such layout, or a folder cannot be read.
    """
    source = Source("folder", str(root))
    try:
        train, test, classes = folders.listed(source, empty=True)
    except OSError as error:
        raise DataError(f"{source}: {error}") from None
    report = Report(len(classes), len(train.names), len(test.names), tuple(_faults(train, test, classes, expected)))
    bad: list[tuple[str, str]] = []
    count = 0
    for found in _decode([folders.pages(root, part) for part in (train, test)], told, processes):
        count += len(found)
        bad = sorted([*bad, *found])[:NAMED]
    return replace(report, bad=tuple(bad), bad_count=count)


def _faults(train: Listing, test: Listing, classes: Sequence[str], expected: Expected) -> list[str]:
    counted = (
        (len(classes), expected.classes, "classes"),
        (len(train.names), expected.train, "training images"),
        (len(test.names), expected.test, "validation images"),
    )
    faults = [f"{found:,} {what}; expected: {wanted:,}" for found, wanted, what in counted if found != wanted]
    if expected.is_imagenet and (odd := [name for name in classes if not WNID.fullmatch(name)]):
        faults.append(f"{_some(odd)}: not WordNet ids, as n01440764")
    known = expected.is_imagenet
    for part, span in ((train, TRAIN_PER_CLASS), (test, TEST_PER_CLASS)):
        least, most = span if known else (1, len(part.names))
        each = np.bincount(part.labels, minlength=len(classes))
        wrong = np.flatnonzero((each < least) | (each > most))
        if len(wrong):
            wanted = "at least 1" if not known else f"{least}" if least == most else f"{least} to {most:,}"
            shown = _some([f"{part.folder}/{classes[n]} ({each[n]:,})" for n in wrong])
            faults.append(f"images of {shown}; expected: {wanted} in each class")
    return faults


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _decode(
    parts: Sequence[Pages], told: Callable[[int, int], None], processes: int
) -> Iterator[list[tuple[str, str]]]:
    """The bad images, as they are found, each with its reason."""
    total = sum(map(len, parts))
    done, pool = 0, Pool()
    told(done, total)
    with tempfile.TemporaryDirectory() as logs:
        try:
            for first in range(min(processes, total)):
                share = [part.every(processes, first) for part in parts]
                pool.start(Task(str(first), ENTRY, share, Path(logs, str(first)), (("OMP_NUM_THREADS", "1"),)))
            while len(pool):
                for event in pool.wait(1.0):
                    if isinstance(event, Sent):
                        seen, bad = event.message
                        done += seen
                        told(done, total)
                        yield bad
                    elif isinstance(event, Died):
                        raise DataError(f"a process that decodes images ended: {event.reason}")
        finally:
            pool.stop(grace=0)
