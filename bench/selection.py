"""What the options of a command select: a study, its cells, its benchmarks."""

from __future__ import annotations

import tomllib
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from bench.errors import FieldError, InputError

if TYPE_CHECKING:
    from bench.benchmark import Benchmark
    from bench.cell import Arch, Cell
    from bench.study import Study


def study(options: Namespace) -> Study:
    """The study that `study`, `set` and `name` tell.

    Raises:
        InputError: for anything wrong with them.
    """
    from bench import study

    if options.name is not None and not options.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise FieldError("--name", options.name, "letters, digits, '.', '_' and '-'")
    return study.load(study.find(options.study), dict(map(_setting, options.set)), options.name)


def cells(options: Namespace, study: Study) -> list[Cell]:
    """The cells of a study that `only` leaves.

    Raises:
        InputError: where it leaves none, or the study times benchmarks.
    """
    from bench.matrix import read_selector, select

    if study.works:
        raise InputError(
            f"{study.path}: times benchmarks and trains no nets; see resbench measure, compare, gate, history"
        )
    if options.only is None:
        return list(study.cells)
    found = select(study.cells, read_selector(_wanted(options.only), f"--only {options.only}"))
    if not found:
        raise InputError(f"--only {options.only}: no cell of {study.name} matches")
    return found


def benchmarks(options: Namespace, study: Study) -> list[Benchmark]:
    """The benchmarks of a study that `only` leaves.

    Raises:
        InputError: where it leaves none, or the study has none.
    """
    from bench.benchmark import WORKS, select
    from bench.matrix import read_selector

    if not study.works:
        raise InputError(
            f"{study.path}: has no [bench] table, which says what is timed; throughput-short is a study that has"
        )
    if options.only is None:
        return list(study.benchmarks)
    wanted, where = _wanted(options.only), f"--only {options.only}"
    works = wanted.pop("work", list(WORKS))
    for work in works:
        if work not in WORKS:
            raise FieldError("work", work, ", ".join(WORKS), where)
    selector = dict(read_selector(wanted, where)) if wanted else {}
    found = select(study.benchmarks, selector | {"work": works})
    if not found:
        raise InputError(f"{where}: no benchmark of {study.name} matches")
    return found


def arch(options: Namespace, command: str) -> tuple[Arch, int, int]:
    """The net that the options name, its images' pixels a side, and its classes.

    Raises:
        FieldError: for a value that is not allowed.
    """
    from bench.cell import Arch

    try:
        found = Arch(options.family, options.depth, options.shortcut, options.width, options.stride)
    except FieldError as error:
        raise error.at(f"resbench {command}") from None
    size, classes = (224, 1000) if found.family == "imagenet" else (32, 10)
    return found, options.size or size, options.classes or classes


def _wanted(only: str) -> dict[str, Any]:
    """`depth=8|20,shortcut=none` as lists of values by key."""
    wanted: dict[str, Any] = {}
    for part in only.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"--only {only}: must be KEY=VALUE,KEY=VALUE")
        wanted[key.strip()] = [_value(item) for item in value.split("|")]
    return wanted


def seeds_by_hand(options: Namespace) -> bool:
    """Whether `only` chooses seeds."""
    return any(part.partition("=")[0].strip() == "seed" for part in (options.only or "").split(","))


def _setting(text: str) -> tuple[str, Any]:
    from bench.matrix import AXES, read_axes, unknown_key

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: must be KEY=VALUE")
    if key == "base":
        return key, value  # a recipe's name, which the study reads
    if key not in AXES:
        raise unknown_key(key, (*AXES, "base"), f"--set {text}")
    read_axes({key: _value(value)}, f"--set {text}")  # said here, where it was given
    return key, _value(value)


def _value(text: str) -> Any:
    """A value as TOML has it, or the bare word: `shortcut=none`."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
