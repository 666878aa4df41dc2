"""What is timed: a kind of work, and the net, the recipe and the images that it is done with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench import field
from bench.cell import DEFAULTS, FIELDS, HISTORICAL, Arch, Cell
from bench.field import choice, of

ARCH = tuple(field.kinds(Arch))
# what each kind of work depends on, beside the images; the rest is left at its default, so that a benchmark has one id
DEPENDS = {
    "train": (
        *ARCH,
        "batch",
        "precision",
        "memory_format",
        "compiled",
        "crop_padding",
        "flip",
        "norm_batch",
        "recompute",
    ),
    "inference": (*ARCH, "batch", "precision", "memory_format"),
    "evaluation": (*ARCH, "precision", "memory_format"),
    "augmentation": ("batch", "memory_format", "crop_padding", "flip"),
    "decoding": (),
    "loading": ("batch", "crop_size", "scale", "decoding"),
}
WORKS = tuple(DEPENDS)
IN_WORDS: dict[str, Callable[[Any], str]] = {
    "family": "{} family".format,
    "width": "width {:g}".format,
    "stride": "stride {}".format,
    "batch": "batch {}".format,
    "precision": str,
    "memory_format": str,
    "compiled": lambda _: "compiled",
    "crop_padding": "crop {}".format,
    "flip": lambda _: "no flip",
    "norm_batch": "BN over {}".format,
    "recompute": lambda _: "activations recomputed",
    "crop_size": "crop {}".format,
    "scale": lambda sides: f"shorter side {' to '.join(map(str, sides))}",
    "decoding": "decoded on the {}".format,
}


@dataclass(frozen=True)
class Benchmark:
    """A kind of work on a cell's net and images. The seed and the length of a training are no part of it.

    train: a training step, batch and update included · inference: a batch forward, in evaluation mode · evaluation: a
    pass over images as training makes it, errors and losses counted · augmentation: making a training batch ·
    decoding: JPEGs of the images into arrays, on the CPU · loading: a training batch of views of images of any size,
    read from files: on a GPU by as many processes as there are cores, on a CPU by the one that is timed.

    Raises:
        FieldError: for a kind of work that is not one of these.
    """

    work: str = of(choice(*WORKS))
    cell: Cell

    def __post_init__(self) -> None:
        field.check(self)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits: SHA-256 of the work and the cell's id."""
        return hashlib.sha256(f"{self.work} {self.cell.id}".encode()).hexdigest()[:16]

    def flat(self) -> dict[str, Any]:
        """The work and every field of the cell, one level deep."""
        return {"work": self.work} | self.cell.flat()

    @property
    def portable(self) -> dict[str, Any]:
        """`flat`, but for fields at a default that all cells had before the field existed: so that a resbench of before
        then knows the benchmark too."""
        old = {name for name, value in HISTORICAL.items() if value == DEFAULTS[name] == self.flat()[name]}
        return {name: value for name, value in self.flat().items() if name not in old}

    @cached_property
    def label(self) -> str:
        """`train ResNet-20-A, batch 128, bf16, noise32`: what is the default of all is left out."""
        flat = self.cell.flat()
        net = [self.cell.arch.label] if "depth" in DEPENDS[self.work] else []
        told = [name for name in IN_WORDS if name in DEPENDS[self.work]]
        other = [IN_WORDS[name](flat[name]) for name in told if name == "batch" or flat[name] != DEFAULTS[name]]
        return ", ".join([" ".join([self.work, *net]), *other, self.cell.data])


def benchmarks(works: Iterable[str], cells: Iterable[Cell]) -> tuple[Benchmark, ...]:
    """Every kind of work on every cell, each benchmark once: cells that differ in what a work does not depend on are
    one to it."""
    cells = list(cells)
    found = (Benchmark(work, _reduced(work, cell)) for work in works for cell in cells)
    return tuple(dict.fromkeys(found))


def select(found: Iterable[Benchmark], selector: Mapping[str, Sequence[Any]]) -> list[Benchmark]:
    """Those that have one of the selector's values in each field it names: a field that a work does not depend on, none
    of its benchmarks has."""

    def matches(benchmark: Benchmark) -> bool:
        has = ("work", "data", *DEPENDS[benchmark.work])
        return all(name in has and benchmark.flat()[name] in values for name, values in selector.items())

    return [benchmark for benchmark in found if matches(benchmark)]


def from_flat(fields: dict[str, Any]) -> Benchmark:
    """The benchmark with these fields, as `flat` gives them.

    Raises:
        FieldError: for an unknown name or a value that is not allowed.
    """
    fields = dict(fields)
    return Benchmark(fields.pop("work", None), Cell.from_flat(fields))


def _reduced(work: str, cell: Cell) -> Cell:
    flat = cell.flat()
    kept = {name: flat[name] for name in FIELDS if name in DEPENDS[work]}
    if kept.get("norm_batch"):  # goes with whole batches alone
        kept["last_batch"] = "drop"
    if kept.get("crop_size"):  # goes with no other crop
        kept["crop_padding"] = 0
    return Cell.from_flat(DEFAULTS | kept | {"data": cell.data})
