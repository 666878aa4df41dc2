"""The report of a history of measurements: where each benchmark stands, its trend and what changed it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from bench import standing, timeline
from bench.errors import InputError, StoreError
from bench.host import unlike
from bench.picture import Picture
from bench.report import machine, save
from bench.series import Series
from bench.standing import Standing, count, day, share, standings
from bench.table import Table
from bench.texts import block, code, escaped

MOST_PICTURES = 24
TRENDS_NOTE = """\
A point is a measured commit: the median of its processes, with a bar from the lowest to the highest. Commits are in the
order of their times, evenly spaced; a background says from when to when a host measured, and hosts whose speeds are
unlike have a panel each. Lines are levels, the medians between change points; dashed and dotted ones are the change
points, with the commit from which on a call takes longer (+) or less long (-), and by how much. What is shaded is lost
and neither accepted nor gone: the newest level against the lowest since the last accepted one. What is far off its
level is drawn as a triangle at the edge. How change points are found, and how often falsely: docs/throughput.md."""
LATEST_NOTE = """\
The newest point, and the level it belongs to: the median since the last change point or accepted mark, its spread
(1.4826 MAD) and from which commit on. The last change is by how much longer a call takes. Memory is on a GPU the peak
of torch's allocator, on a CPU by how much the resident set grew; shares are of the ceilings measured on the device."""


def write(title: str, study: str | None, found: Sequence[Series], folder: Path, results: Path) -> Path:
    """Render the trends into `folder/<study>-history/` (of no study: `folder/history/`): index.html, report.md,
    figures/ and tables/. Returns the page.

    Raises:
        InputError: where there are none.
        StoreError: where it cannot be written.
    """
    if not found:
        raise InputError(f"{results}: no measurement{f' of {study}' if study else ''}; resbench measure takes some")
    target, groups = folder / (f"{study}-history" if study else "history"), standings(found)
    every = [one for group in groups for one in group]
    pictures = {f"figures/{drawn.name}.svg": drawn for drawn in map(timeline.draw, groups[:MOST_PICTURES])}
    tables, changed = _tables(every), standing.changes(every)
    text = [
        f"# {escaped(title)}",
        _headline(groups),
        *_open(every),
        *_trends(groups, pictures),
        *(f"## On {escaped(host)}\n\n{latest.markdown()}" for host, latest in tables.items()),
        LATEST_NOTE,
        *([f"## Changes of level\n\n{changed.markdown()}"] if changed.rows else []),
        _hardware(every),
        _again(study, folder, results),
    ]
    made = [*tables.values(), *([changed] if changed.rows else [])]
    try:
        save(target, title, "\n\n".join(text) + "\n", pictures, {"": made})
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


def _headline(groups: Sequence[Sequence[Standing]]) -> str:
    every = [one for group in groups for one in group]
    points, hosts = sum(len(s.series.points) for s in every), len({s.series.host_id for s in every})
    where = f" ({escaped(every[0].host)})" if hosts == 1 else ""
    still = count(sum(s.open is not None for s in every), "open regression")
    return f"**{count(len(groups), 'benchmark')}, {count(points, 'point')}, {count(hosts, 'host')}{where}; {still}.**"


def _open(every: Sequence[Standing]) -> Iterator[str]:
    lines = []
    for one in every:
        if found := one.open:
            when = day(one.series.points[found.index].taking)
            lines.append(
                f"- ✘ {escaped(one.series.name)} on {escaped(one.host)}: {share(found.effect)} since "
                f"{one.since(found.index)} ({when})"
            )
    if lines:
        yield "\n".join(["## Open regressions: neither accepted nor gone", "", *lines])


def _tables(every: Sequence[Standing]) -> dict[str, Table]:
    """A table a host, by its name."""
    hosts = sorted({one.host for one in every})
    return {
        host: standing.latest([s for s in every if s.host == host], f"latest-{number}" if number > 1 else "latest")
        for number, host in enumerate(hosts, start=1)
    }


def _trends(groups: Sequence[Sequence[Standing]], pictures: Mapping[str, Picture]) -> Iterator[str]:
    left_out = [escaped(group[0].series.name) for group in groups[len(pictures) :]]
    not_drawn = f" Not drawn, for they changed least: {', '.join(left_out)}." if left_out else ""
    yield f"## Trends\n\n{TRENDS_NOTE}{not_drawn}"
    for place, picture in pictures.items():
        yield f"![{escaped(picture.alternative)}]({place})\n\n*{escaped(picture.caption)}*"


def _hardware(every: Sequence[Standing]) -> str:
    """Each host, and what tells it from the one before."""
    hosts = {found.series.host_id: found.series.host for found in sorted(every, key=lambda found: found.host)}
    lines, before = [], None
    for host_id, host in hosts.items():
        takings = [p.taking for found in every if found.series.host_id == host_id for p in found.series.points]
        when = f"{count(len(takings), 'point')}, measured {_days([taking.started for taking in takings])}"
        if host is None:
            lines.append(f"- Host {escaped(host_id)}: what it is was not recorded; {when}.")
            continue
        software = f"torch {host.torch}" + (f", CUDA {host.cuda}, cuDNN {host.cudnn}" if host.cuda else "")
        able = f"; {host.instructions}" if host.instructions else ""
        lines.append(f"- Host {host_id}: {escaped(f'{machine(host)}; {software}{able}')}; {when}.")
        if before:
            lines.append(f"  Unlike host {before.id}: {escaped(unlike(before, host))}.")
        before = host
    return "\n".join(["## Hardware", "", *lines])


def _days(times: Sequence[datetime]) -> str:
    first, last = f"{min(times):%Y-%m-%d}", f"{max(times):%Y-%m-%d}"
    return first if first == last else f"{first} to {last}"


def _again(study: str | None, folder: Path, results: Path) -> str:
    place = "" if str(results) == "results" else f" --results {shlex.quote(results.as_posix())}"
    pages = "" if str(folder) == "reports" else f" --reports {shlex.quote(folder.as_posix())}"
    which = f" {shlex.quote(study)}" if study else ""
    commands = [
        f"resbench measure{which}{place}    # another point",
        f"resbench history{which}{place}{pages}    # this page, from the tables",
    ]
    tables = (
        f"The tables: {code(f'{results.as_posix()}/samples')}, `marks` and `hosts`, parquet; those of this page as CSV "
        "and LaTeX: `tables/` beside it."
    )
    return "\n\n".join(["## Get it again", block(commands), tables])
