"""A study: a TOML file that asks a question and says which cells, claims and figures answer it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import cell, claim
from bench import field as fields
from bench.benchmark import WORKS, Benchmark, benchmarks
from bench.cell import DEFAULTS, FIELDS, Cell, Recipe
from bench.claim import Claim
from bench.errors import FieldError, InputError, shown
from bench.field import choice, of
from bench.matrix import Matrix, one_a_net, read_axes, read_selector, unknown_key
from bench.recipes import RECIPES
from bench.run import TESTS
from bench.source import NAME, Source
from bench.texts import one_line, printable

FOLDER = Path("ablations")
KEYS = ("title", "question", "matrix", "recipe", "exclude", "include", "bench", "claim", "figure")
FIGURES = ("curves", "errors", "throughput", "memory", "responses", "gradients", "slices")


@dataclass(frozen=True)
class Figure:
    """A picture in the report: training curves, final error by depth, throughput by depth or peak memory by depth."""

    kind: str = of(choice(*FIGURES), "curves")
    title: str = ""

    def __post_init__(self) -> None:
        fields.check(self)


@dataclass(frozen=True)
class Study:
    """What a study file says, checked."""

    name: str
    title: str
    question: str
    matrix: Matrix
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    path: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    works: tuple[str, ...] = ()  # of a study of benchmarks: what is timed

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Its cells, each once."""
        return self.matrix.cells()

    @cached_property
    def nets(self) -> tuple[Cell, ...]:
        """One cell, the first seed's, for each net (trained one way, on one data set)."""
        return one_a_net(self.cells)

    @cached_property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """Its benchmarks, each once; none where it is a study of trained nets."""
        return benchmarks(self.works, self.nets)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Its data sets by identity."""
        return self.matrix.sources()


def find(name: str) -> Path:
    """The file of a study given by path, or by its name in `ablations/`.

    Raises:
        InputError: when there is none; names those there are.
    """
    for path in (Path(name), FOLDER / f"{name}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml"))) or "none"
    raise InputError(f"no study {shown(name)}: neither a file nor one of those in {FOLDER}/ ({known})")


def load(path: Path, overrides: Mapping[str, Any] | None = None, name: str | None = None) -> Study:
    """Read and check a study file. `overrides` replace axes or recipe fields wherever the file sets them.

    Raises:
        InputError: for anything wrong in it, naming file, key, value and what is allowed.
    """
    overrides = overrides or {}
    table = _override(_parse(path), overrides, str(path))
    for key in table:
        if key not in KEYS:
            raise unknown_key(key, KEYS, str(path))
    matrix = _matrix(table, str(path))
    study = Study(
        name=_name(name or path.stem, str(path)),
        title=one_line(_text(table, "title", str(path))),
        question=printable(_text(table, "question", str(path))),
        matrix=matrix,
        claims=tuple(claim.read(c, w) for c, w in _tables(table, "claim", str(path))),
        figures=tuple(_figure(f, w) for f, w in _tables(table, "figure", str(path))) or tuple(map(Figure, FIGURES)),
        path=path,
        overrides=dict(overrides),
        works=_works(table, str(path)),
    )
    study.cells  # noqa: B018 - made now, so that what is wrong with them is said now
    study.sources  # noqa: B018
    if not overrides:  # which may leave nothing for an exclude or a claim to name
        _check_excludes(matrix)
        _check_claims(study)
    return study


def _name(name: str, where: str) -> str:
    """A study's name, which is that of its report's folder."""
    if not NAME.fullmatch(name) or not name.strip("."):
        allowed = "letters, digits, spaces, '.', '_', '+' and '-', 100 at most; rename the file, or give --name"
        raise FieldError("the study's name", name, allowed, where)
    return name


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or a number too long for Python to read
        raise InputError(f"{path}: not valid TOML: {str(error) or type(error).__name__}") from None


def _override(table: dict[str, Any], overrides: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not overrides:
        return table
    table = table | {key: dict(table[key]) for key in ("matrix", "recipe") if isinstance(table.get(key), dict)}
    includes = table.get("include")
    others = includes if isinstance(includes, list) else []
    for key, value in overrides.items():
        places = [table.setdefault("matrix", {}), table.setdefault("recipe", {}), *others]
        for place in places:
            if isinstance(place, dict):
                place.pop(key, None)
        in_recipe = key == "base" or (key in fields.kinds(Recipe) and FIELDS[key].type is tuple)
        target = table["recipe" if in_recipe else "matrix"]
        if not isinstance(target, dict):
            raise InputError(f"{where}: [matrix] must be a table, not {shown(target)}")
        target[key] = value
    return table


def _matrix(table: dict[str, Any], where: str) -> Matrix:
    if "matrix" not in table:
        raise InputError(f"{where}: [matrix] is missing; it names the axes, depth = [20, 56] for one")
    axes = read_axes(table["matrix"], f"{where}: [matrix]")
    recipe, base = _recipe(table.get("recipe", {}), f"{where}: [recipe]")
    if twice := sorted(axes.keys() & recipe.keys()):
        raise InputError(f"{where}: {twice[0]} is set in [matrix] and in [recipe]; set it once")
    if "data" not in axes:
        raise InputError(f"{where}: [matrix]: data is missing; allowed: {FIELDS['data'].allowed}")
    return Matrix(
        axes={key: value for key, value in base.items() if key not in axes} | recipe | dict(axes),
        excludes=tuple(read_selector(e, w) for e, w in _tables(table, "exclude", where)),
        includes=tuple(read_axes(i, w) for i, w in _tables(table, "include", where)),
        where=where,
    )


def _recipe(table: Any, where: str) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """The fields that the table sets, and those of the recipe that it names as its base."""
    if not isinstance(table, dict):
        raise InputError(f"{where}: must be a table, not {shown(table)}")
    allowed = fields.kinds(Recipe)
    found = {}
    for key, value in table.items():
        if key not in ("base", *allowed):
            raise unknown_key(key, ("base", *allowed), where)
        if key == "base" and value not in list(RECIPES):
            raise FieldError(key, value, ", ".join(RECIPES), where)
        try:
            found[key] = value if key == "base" else fields.canonical(key, allowed[key], value)
        except FieldError as error:
            raise error.at(where) from None
    base = found.pop("base", None)
    named = cell.values(RECIPES[base].recipe) if base else {}
    return {key: (value,) for key, value in found.items()}, {key: (value,) for key, value in named.items()}


def _works(table: dict[str, Any], where: str) -> tuple[str, ...]:
    if "bench" not in table:
        return ()
    where = f"{where}: [bench]"
    if not isinstance(bench := table["bench"], dict):
        raise InputError(f"{where}: must be a table, not {shown(bench)}")
    for key in bench:
        if key != "work":
            raise unknown_key(key, ("work",), where)
    works = bench.get("work", [])
    works = works if isinstance(works, list) else [works]
    for work in works or ["nothing"]:
        if work not in WORKS:
            raise FieldError("work", work, ", ".join(WORKS), where)
    if stated := [key for key in ("claim", "figure") if key in table]:
        raise InputError(f"{where}: a study of benchmarks has no [[{stated[0]}]]; resbench compare and gate judge it")
    return tuple(dict.fromkeys(works))


def _check_excludes(matrix: Matrix) -> None:
    for number, exclude in enumerate(matrix.excludes, start=1):
        for name, values in exclude.items():
            offered = {v for axes in (matrix.axes, *matrix.includes) for v in axes.get(name, ())} or {DEFAULTS[name]}
            if name == "data":
                offered = {Source.parse(text).identity for text in offered}
            if not offered.intersection(values):
                choices = ", ".join(map(str, sorted(offered, key=str)))
                raise FieldError(
                    name,
                    values[0] if len(values) == 1 else list(values),
                    f"a value that the matrix has, or the exclude does nothing: {choices}",
                    f"{matrix.where}: [[exclude]] number {number}",
                )


def _check_claims(study: Study) -> None:
    for number, stated in enumerate(study.claims, start=1):
        where = f"{study.path}: [[claim]] number {number}"
        for comparison in claim.comparisons(stated, study.nets, where):
            for net in comparison.sides:
                if "validation" in f"{stated.metric} {stated.at}" and net.recipe.split != "holdout":
                    raise InputError(f'{where}: {net.arch.label} has no validation error: its split is "full"')
                if stated.metric in TESTS and not net.recipe.crop_size:
                    words = claim.METRICS[stated.metric].words
                    raise InputError(f"{where}: {net.arch.label} has no {words}: its crop_size is 0")


def _tables(table: dict[str, Any], key: str, where: str) -> list[tuple[dict[str, Any], str]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{where}: {key} must be written as [[{key}]] tables, not {shown(value)}")
    return [(item, f"{where}: [[{key}]] number {number}") for number, item in enumerate(value, start=1)]


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or not value.strip():
        raise FieldError(key, table.get(key, "nothing"), "a text that says what the study asks", where)
    return value.strip()


def _figure(table: dict[str, Any], where: str) -> Figure:
    for key in table:
        if key not in ("kind", "title"):
            raise unknown_key(key, ("kind", "title"), where)
    if "title" in table:
        _text(table, "title", where)
    if "kind" not in table:
        raise FieldError("kind", "nothing", ", ".join(FIGURES), where)
    try:
        return Figure(**table)
    except FieldError as error:
        raise error.at(where) from None
