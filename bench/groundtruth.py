"""Labels of a flat validation folder, from the files that are published with it.

All of them name images as the folder does, or list them in the order of their names:

- `val.txt` (of Caffe): lines of a file's name and its class, 0 to K - 1 in the order of the sorted class names;
- `LOC_val_solution.csv` (of Kaggle): a file's name without its ending, a comma, its class's name and boxes;
- `imagenet_2012_validation_synset_labels.txt` (of TensorFlow): class names alone, one an image;
- `ILSVRC2012_validation_ground_truth.txt` (of the devkit): numbers alone, one an image. They are the devkit's own, 1 to
  1,000 in an order that isn't that of sorted names, so they mean nothing without its `meta.mat` (as torchvision reads
  it), or the `map_clsloc.txt` of later devkits (`n02119789 1 kit_fox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.errors import DataError, shown

LISTED = ("val.txt", "LOC_val_solution.csv", "imagenet_2012_validation_synset_labels.txt")
NUMBERED = "ILSVRC2012_validation_ground_truth.txt"
MAPPINGS = ("meta.mat", "map_clsloc.txt")
DEVKIT = "ILSVRC2012_devkit_t12/data"
EXPECTED = (
    "a folder for each class, or a ground-truth file beside or in it: val.txt (lines of FILE LABEL, labels from 0 in "
    "the order of the sorted class names), LOC_val_solution.csv, imagenet_2012_validation_synset_labels.txt (a class "
    f"name a line), or {NUMBERED} together with {' or '.join(MAPPINGS)} of the devkit"
)


def labels(root: Path, part: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The label of each image of the flat folder `part`; `names` are its sorted file names, `classes` sorted too.

    The ground-truth file lies in `root`, in `part`, or in the devkit's folder under `root`. In it a class's name stands
    for the class, and what is none is its number.

    Raises:
        DataError: when there is none, or it doesn't fit the folder; names the file and the line, counted from 1.
    """
    places = (root, part, root / DEVKIT, root / "data")
    for place in places:
        for name in LISTED:
            if (file := place / name).is_file():
                return _listed(file, names, classes)
    for place in places:
        if (file := place / NUMBERED).is_file():
            return _in_order(file, names, _renamed(file, _mapping(file, places), classes))
    raise DataError(f"{part}: {len(names):,} images in no class's folder; expected: {EXPECTED}")


def _listed(file: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Of a file that names images, by name; of one with a single word a line, in order."""
    numbers = {name: number for number, name in enumerate(classes)}
    commas = file.suffix == ".csv"
    found: dict[str, int] = {}
    lines = [line for line in _lines(file) if not (commas and line[1].startswith("ImageId,"))]
    if not commas and all(len(text.split()) == 1 for _, text in lines):
        return _in_order(file, names, [_label(where, text, numbers) for where, text in lines])
    for where, text in lines:
        name, _, label = text.partition(",") if commas else _last_word(text)
        if not (name and label.strip()):
            raise DataError(f"{where}: {shown(text)}; expected: an image's file name and its class")
        key, number = name.strip().rpartition("/")[2], _label(where, label.split()[0], numbers)
        if found.setdefault(key, number) != number:
            raise DataError(f"{where}: {key} is given a second class")
    labels = [found.get(name, found.get(name.rpartition(".")[0])) for name in names]
    if None in labels:
        raise DataError(f"{file}: no line for {names[labels.index(None)]}")
    return labels  # type: ignore[return-value]


def _last_word(text: str) -> tuple[str, str, str]:
    name, label = text.rsplit(maxsplit=1) if len(text.split()) > 1 else (text, "")
    return name, " ", label


def _label(where: str, text: str, numbers: dict[str, int]) -> int:
    if text in numbers:
        return numbers[text]
    if text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) < len(numbers):
        return int(text)
    raise DataError(f"{where}: class {shown(text)}; allowed: a training class's name, or 0 to {len(numbers) - 1}")


def _in_order(file: Path, names: Sequence[str], labels: list[int]) -> list[int]:
    if len(labels) != len(names):
        raise DataError(f"{file}: {len(labels):,} lines for {len(names):,} images; expected: a line for each")
    return labels


def _mapping(file: Path, places: Sequence[Path]) -> dict[int, str]:
    """The class's name for each number of the devkit."""
    for place in (file.parent, *places):
        for name in MAPPINGS:
            if (mapping := place / name).is_file():
                return _meta(mapping) if mapping.suffix == ".mat" else _map(mapping)
    raise DataError(
        f"{file}: its numbers are the devkit's, not those of sorted class names; put {' or '.join(MAPPINGS)} beside it"
    )


def _meta(file: Path) -> dict[int, str]:
    """`meta.mat`: the classes are those synsets that have no children in it."""
    from scipy.io import loadmat

    try:
        synsets = np.atleast_1d(loadmat(file, squeeze_me=True)["synsets"])
        leaves = [s for s in synsets if int(s["num_children"]) == 0]
        return {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in leaves}
    except Exception as error:  # loadmat raises nearly anything on damaged bytes
        raise DataError(f"{file}: not the devkit's meta.mat: {error}") from None


def _map(file: Path) -> dict[int, str]:
    mapping = {}
    for where, text in _lines(file):
        words = text.split()
        if len(words) < 2 or not (words[1].isascii() and words[1].isdecimal() and len(words[1]) <= 9):
            raise DataError(f"{where}: {shown(text)}; expected: a class's name, its number and words")
        mapping[int(words[1])] = words[0]
    return mapping


def _renamed(file: Path, mapping: dict[int, str], classes: Sequence[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(classes)}
    labels = []
    for where, text in _lines(file):
        name = mapping.get(int(text)) if text.isascii() and text.isdecimal() and len(text) <= 9 else None
        if name is None:
            raise DataError(f"{where}: {shown(text)}; allowed: the devkit's numbers, {min(mapping)} to {max(mapping)}")
        labels.append(_label(where, name, numbers))
    return labels


def _lines(file: Path) -> list[tuple[str, str]]:
    """The lines that aren't empty, with the place of each."""
    try:
        text = file.read_text(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    lines = [(f"{file}, line {n}", line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file}: empty")
    return lines
