"""The page that sets two studies, or two results folders, side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from bench import compare, figures
from bench.compare import Side
from bench.errors import InputError, StoreError
from bench.picture import Picture
from bench.report import save
from bench.table import Table, table
from bench.texts import block, escaped

NOTE = """\
Mean ± half-width of the 95 % interval over n seeds on each side; the change is right less left with its 95 % interval,
paired over the seeds that both sides have (Welch's where they share none); errors in percent and points. Diverged
seeds count as 100 % in a change of errors, and in no mean. Of many intervals some leave out 0 by chance."""


def write(left: Side, right: Side, folder: Path) -> Path:
    """Render `folder/<left>-vs-<right>/`: index.html, report.md, figures/ and tables/. Returns the page.

    Raises:
        InputError: where the two have no net in common.
        StoreError: where the pages cannot be written.
    """
    if left.name == right.name:
        raise InputError(f"{left.name} and {right.name}: two sides are needed, not one twice")
    target = folder / f"{_file(left.name)}-vs-{_file(right.name)}"
    results = compare.results(left, right)
    pictures = dict(_pictures(left, right))
    title = f"{left.name} and {right.name}, side by side"
    parts = [f"# {escaped(title)}", *_markdown(left, right, pictures), _table(results), _again(left, right, folder)]
    text = "\n\n".join(filter(None, parts)) + "\n"
    try:
        save(target, title, text, pictures, {"": [results]})
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "side"


def _pictures(left: Side, right: Side) -> Iterator[tuple[str, Picture]]:
    for place, side in (("left", left), ("right", right)):
        picture = figures.draw("errors", side.summary, side.name)
        if picture:
            yield f"figures/{place}/{picture.name}.svg", picture


def _markdown(left: Side, right: Side, pictures: dict[str, Picture]) -> Iterator[str]:
    for side in (left, right):
        runs = side.summary.runs
        more = f" (and {side.other_hosts} more with runs, not shown)" if side.other_hosts else ""
        yield f"**{escaped(side.name)}**: {len(runs)} cells, on {escaped(side.summary.host.label)}{more}."
    common, same = compare.identical(left, right)
    if common:
        yield f"{common} cells are the same in both; {same} of them ended with the very same errors."
    yield "## What changed"
    changed = list(compare.changes(left, right))
    rows = [[what, first, second] for what, first, second in changed]
    nothing = "Nothing: fields, machine and versions agree."
    yield table("changes", ["what", left.name, right.name], rows).markdown() if rows else nothing
    for side, names in zip((left, right), compare.unshared(left, right), strict=True):
        if names:
            yield f"In {escaped(side.name)} alone: {escaped(', '.join(names))}."
    for place, picture in pictures.items():
        yield f"![{escaped(picture.alternative)}]({place})\n\n*{escaped(picture.caption)}*"


def _again(left: Side, right: Side, folder: Path) -> str:
    pages = "" if str(folder) == "reports" else f" --reports {shlex.quote(folder.as_posix())}"
    command = f"resbench report {shlex.quote(left.name)} {shlex.quote(right.name)}{pages}"
    return f"## Get it again\n\n{block([command])}"


def _table(results: Table) -> str:
    return f"## What it changed\n\n{results.markdown()}\n\n{NOTE}"
