"""A folder of JPEGs of many sizes, laid out as ImageNet is, made from the real images of another data set.

Each image's window of a drawn aspect ratio is cut where chance puts it, and scaled (Lanczos) so that its shorter side
has a drawn length: nothing is padded, all content is of the image. What is drawn for an image depends on the seed, its
part and its number alone.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import album, dataset, decode, host
from bench.errors import DataError, InputError
from bench.source import FROM_DIRECTORY, Source

MADE = "made.json"
FORMAT = 1  # raise it when other images are made of the same options
ASPECTS = (3 / 4, 4 / 3)  # width to height, drawn evenly on a logarithmic scale
PARTS = {"train": "train", "test": "val"}  # of the source, and their folders


@dataclass(frozen=True)
class Options:
    """What is made: of `source`'s first `classes` classes so many training and test images (None: all), of a shorter
    side from `least` to `most` pixels, as JPEGs of a quality."""

    source: str
    classes: int
    least: int
    most: int
    train: int | None = None
    test: int | None = None
    seed: int = 0
    quality: int = 90


def make(
    out: Path, source: Source, options: Options, told: Callable[[int, int], None], threads: int | None = None
) -> bool:
    """Make the folder `out`, whole or not at all; False where it was made before with the same options.

    Raises:
        InputError: when `out` has other content, or the source has too few classes or images.
        DataError: when the source or `out` cannot be read or written.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - a link stays one
    if _is_made(out, options):
        return False
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    jobs = _jobs(source, options)
    try:
        temporary.mkdir(parents=True)
        for folder in {job.folder for job in jobs}:
            (temporary / folder).mkdir(parents=True)
        with ThreadPoolExecutor(threads or host.cores()) as pool:  # Pillow works without the GIL
            for done, _ in enumerate(pool.map(lambda job: job.write(temporary, options), jobs), 1):
                told(done, len(jobs))
        (temporary / MADE).write_text(json.dumps({"format": FORMAT, **asdict(options)}, indent=2) + "\n")
        temporary.replace(out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _is_made(out: Path, options: Options) -> bool:
    """Whether it was made with these options; an absent or empty folder was not."""
    try:
        if not out.exists() or not any(out.iterdir()):
            return False
        made = json.loads((out / MADE).read_text())
        known = {key: made[key] for key in ("format", *asdict(options))}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{out}: not empty, and not a folder that this command made; name another one") from None
    wanted = {"format": FORMAT, **asdict(options)}
    if known == wanted:
        return True
    other = ", ".join(f"{key} = {known[key]}, not {wanted[key]}" for key in wanted if known[key] != wanted[key])
    raise InputError(f"{out}: was made with {other}; remove it, or name another folder")


@dataclass(frozen=True)
class _Job:
    """One image to write: `read` opens it."""

    folder: str
    name: str
    draw: tuple[int, ...]
    read: Callable[[], Image.Image]

    def write(self, root: Path, options: Options) -> None:
        """Cut, scale and write it."""
        chance = np.random.default_rng(self.draw)
        image = varied(self.read(), int(chance.integers(options.least, options.most + 1)), chance)
        image.save(root / self.folder / self.name, "JPEG", quality=options.quality)


def varied(image: Image.Image, side: int, chance: np.random.Generator) -> Image.Image:
    """The image's largest window of a drawn aspect ratio, at a drawn place, with `side` pixels on its shorter side."""
    aspect = math.exp(chance.uniform(*map(math.log, ASPECTS)))
    width, height = image.size
    wide, high = min(width, height * aspect), min(height, width / aspect)
    left, top = chance.uniform() * (width - wide), chance.uniform() * (height - high)
    size = (round(side * aspect), side) if aspect >= 1 else (side, round(side / aspect))
    return image.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + wide, top + high))


def _jobs(source: Source, options: Options) -> list[_Job]:
    """Every image to write, in the order of their names."""
    data: Any = album.load(source) if source.kind in FROM_DIRECTORY else dataset.load(source)
    names = data.class_names
    if options.classes > len(names):
        raise InputError(f"--classes {options.classes}: {source} has {len(names)}")
    folders = _folder_names(names[: options.classes])
    jobs = []
    for part, (name, folder) in enumerate(PARTS.items()):
        labels = getattr(data, name).labels if isinstance(data, album.Album) else data.arrays[f"{name}_labels"]
        for number in _chosen(labels, getattr(options, name), options, part, f"--{name}"):
            place = f"{folder}/{folders[labels[number]]}"
            draw = (options.seed, part, int(number))
            jobs.append(_Job(place, f"{folder}_{number:08d}.JPEG", draw, _reader(data, name, int(number))))
    return jobs


def _chosen(labels: np.ndarray, count: int | None, options: Options, part: int, option: str) -> np.ndarray:
    """The numbers of so many images, as evenly over the classes as can be, ascending; drawn by the seed."""
    chance = np.random.default_rng([options.seed, part])
    chosen = []
    for label in range(options.classes):
        there = np.flatnonzero(labels == label)
        wanted = len(there) if count is None else (count + options.classes - 1 - label) // options.classes
        if wanted > len(there):
            raise InputError(f"{option} {count}: {wanted} of a class, but class {label} has {len(there)}")
        chosen.append(chance.permutation(there)[:wanted])
    return np.sort(np.concatenate(chosen))


def _folder_names(names: tuple[str, ...]) -> list[str]:
    """The classes' names as folders may be called, no two alike."""
    safe = [re.sub(r"[^\w-]+", "_", name) for name in names]
    return safe if len({name.lower() for name in safe}) == len(safe) and all(safe) else [
        f"{number:04d}_{name}" for number, name in enumerate(safe)
    ]  # fmt: skip


def _reader(data: Any, part: str, number: int) -> Callable[[], Image.Image]:
    if not isinstance(data, album.Album):
        pixels = data.arrays[f"{part}_images"][number]
        return lambda: Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())

    def read() -> Image.Image:
        pages = getattr(data, part)
        try:
            content = pages.read(number)
        except OSError as error:
            raise DataError(f"{pages.name(number)}: cannot be read: {error}") from None
        pixels = decode.read_image(pages.name(number), io.BytesIO(content))
        return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())

    return read
