"""A benchmark's history as a picture: its points on every host in the order of their commits, its levels, changes,
accepted marks, and what is open."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench import picture
from bench.picture import INK, Picture, entry, new_canvas
from bench.sample import IMPORTED, Taking
from bench.series import Point, Series
from bench.standing import Standing, count, day, effect, name, number, share
from bench.texts import one_line
from bench.trend import NORMAL_MAD

HOSTS = ("#0072b2", "#a6761d", "#7b5ea7", "#3c8ca8", "#666666")
SLOWER, FASTER, OPEN = "#d55e00", "#009e73", "#c1272d"
IMAGES, MILLISECONDS = "images/s", "ms a call"
LEVEL, ACCEPTED, STILL_OPEN = "level", "accepted", "open regression"
MOST_HOSTS = len(HOSTS)  # in one picture
MOST_TICKS = 7
LONGEST_TITLE = 84  # characters
UNLIKE = 1.5  # ratio of two hosts' medians above which each has a panel of its own
LABEL = 0.085  # of a panel's width, that the label of a change takes
FARTHEST, NARROWEST = 8.0, 0.02  # of what is shown: scales from a level, and share of it, at least


@dataclass(frozen=True)
class Track:
    """A series in a picture: its colour, and where its points lie along the axis."""

    standing: Standing
    colour: str
    places: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def host(self) -> str:
        """What its host is called."""
        return one_line(self.standing.host)

    @property
    def series(self) -> Series:
        """Its series."""
        return self.standing.series

    @property
    def segments(self) -> Iterator[tuple[int, int]]:
        """First and last point of each level."""
        last = len(self.places)
        starts = {0, *(step.index for step in self.series.steps), *(n for n in self.series.accepted if n < last)}
        for low, high in pairwise([*sorted(starts), last]):
            yield low, high - 1

    def level(self, low: int, high: int) -> float:
        """The median of the values from one point to another."""
        return statistics.median(self.values[low : high + 1])

    def before(self, index: int) -> float:
        """Where the axis is between this point and the one before."""
        if index >= len(self.places):
            return self.places[-1] + 0.5
        return self.places[index] - 0.5


def draw(found: Sequence[Standing]) -> Picture:
    """The picture of one benchmark on its hosts: of very many hosts the first ones."""
    left_out, found = len(found) - MOST_HOSTS, found[:MOST_HOSTS]
    per_second = all(point.images_per_second for standing in found for point in standing.series.points)
    unit = IMAGES if per_second else MILLISECONDS
    tracks, order = _tracks(found, per_second)
    with picture.style():
        groups = _panels(tracks)
        canvas = new_canvas(6.8, 1.05 + 1.6 * len(groups), _title(found[0].series.name))
        drawn: list[picture.Series] = []
        for panel, group in zip(canvas.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0], groups, strict=True):
            _bands(panel, group)
            _frame(panel, group, len(order), unit)
            for track in group:
                drawn += [*_points(panel, track, unit), *_level(panel, track, unit), *_marks(panel, track)]
            _label_changes(panel, group, len(order))
        _label_commits(panel, order)
        canvas.align_ylabels()
        shown = [label for series in drawn for label in series.labels]
        picture.legend(canvas, [line for line in _entries(tracks) if line.get_label() in shown], 4)
    return Picture(
        f"history-{found[0].series.benchmark_id}",
        canvas,
        _caption(tracks, unit, left_out),
        f"Chart of {unit} against commits: {_told(tracks, unit)}",
        tuple(drawn),
    )


def _title(text: str) -> str:
    """What fits above a picture: of a longer name both ends."""
    head, tail = (LONGEST_TITLE - 2) // 2, (LONGEST_TITLE - 3) // 2
    return text if len(text) <= LONGEST_TITLE else f"{text[:head]} … {text[-tail:]}"


def _tracks(found: Sequence[Standing], per_second: bool) -> tuple[list[Track], list[Taking]]:
    """The series along one axis, and whose places it has: a commit's, for each time that a host measured it."""
    keyed = [_keys(standing.series) for standing in found]
    takings = {key: point.taking for keys in keyed for key, point in keys}
    place = {key: number for number, key in enumerate(sorted(takings))}
    tracks = [
        Track(
            standing,
            colour,
            tuple(sorted(place[key] for key, _ in keys)),
            tuple(_value(point.seconds, point, per_second) for point in standing.series.points),
        )
        for standing, keys, colour in zip(found, keyed, HOSTS, strict=False)
    ]
    return tracks, [takings[key] for key in sorted(takings)]


def _keys(series: Series) -> list[tuple[tuple[datetime, str, int], Point]]:
    """The points, each with what it is placed by: its commit's time, its commit, how often that was measured before."""
    seen: Counter[tuple[datetime, str]] = Counter()
    found = []
    for point in series.points:
        commit = point.taking.committed or point.taking.started, point.taking.commit or ""
        found.append(((*commit, seen[commit]), point))
        seen[commit] += 1
    return found


def _value(seconds: float, point: Point, per_second: bool) -> float:
    return (point.samples[0].outcome.images or 0) / seconds if per_second else 1000 * seconds


def _panels(tracks: Sequence[Track]) -> list[list[Track]]:
    """Which are drawn in one panel: all, or each in its own where their levels are unlike."""
    medians = [statistics.median(track.values) for track in tracks]
    return [list(tracks)] if max(medians) <= UNLIKE * min(medians) else [[track] for track in tracks]


def _bands(panel: Axes, tracks: Sequence[Track]) -> None:
    """The background: from when to when a host measured."""
    for track in tracks:
        panel.axvspan(track.places[0] - 0.5, track.places[-1] + 0.5, color=track.colour, alpha=0.08, lw=0)


def _frame(panel: Axes, tracks: Sequence[Track], places: int, unit: str) -> None:
    """Limits that show changes of level: what is far off its level is drawn at the edge."""
    shown = [value for track in tracks for value in _near(track)]
    low, high = min(shown), max(shown)
    spare = max(0.12 * (high - low), NARROWEST * high)
    panel.set_ylim(max(0.0, low - spare), high + spare)
    panel.set_xlim(-0.5, places - 0.5)
    panel.set_ylabel(unit)
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    panel.grid(visible=False, axis="x")


def _near(track: Track) -> Iterator[float]:
    for low, high in track.segments:
        level, values = track.level(low, high), track.values[low : high + 1]
        scale = NORMAL_MAD * statistics.median(abs(value - level) for value in values)
        yield level
        yield from (v for v in values if abs(v - level) <= max(FARTHEST * scale, NARROWEST * level))


def _points(panel: Axes, track: Track, unit: str) -> Iterator[picture.Series]:
    low, high = panel.get_ylim()
    edge = 0.02 * (high - low)
    size = 4.5 if len(track.places) < 100 else 3.0
    ranges = [_range(point, unit) for point in track.series.points]
    seen = [min(max(value, low + edge), high - edge) for value in track.values]
    inside = [value == at for value, at in zip(track.values, seen, strict=True)]
    look = {"color": track.colour, "ls": "none", "mec": "none"}
    near = [(x, y) for x, y, within in zip(track.places, seen, inside, strict=True) if within]
    artists = panel.plot([x for x, _ in near], [y for _, y in near], marker="o", ms=size - 1, alpha=0.75, **look)
    for marker, wanted in (("v", low + edge), ("^", high - edge)):
        far = [x for x, y, within in zip(track.places, seen, inside, strict=True) if not within and y == wanted]
        if far:
            artists += panel.plot(far, [wanted] * len(far), marker=marker, ms=5, **look)
    xs = [x for place in track.places for x in (place, place, math.nan)]  # one path for all bars
    ys = [y for ends in ranges for y in (*ends, math.nan)]
    artists += panel.plot(xs, ys, color=track.colour, lw=0.7, alpha=0.5)
    texts = [
        (x, y, _says(point, value, spread_of, unit, track.host))
        for x, y, point, value, spread_of in zip(
            track.places, seen, track.series.points, track.values, ranges, strict=True
        )
    ]
    yield picture.Series((track.host,), panel, tuple(artists), texts)


def _range(point: Point, unit: str) -> tuple[float, float]:
    """The lowest and the highest of a point's processes."""
    found = [
        _value(sample.outcome.seconds, point, unit == IMAGES) for sample in point.samples if sample.outcome.seconds
    ]
    return min(found), max(found)


def _says(point: Point, value: float, ends: tuple[float, float], unit: str, host: str) -> str:
    n = len(point.samples)
    several = f" (median of {n} processes, {number(ends[0])} to {number(ends[1])})" if n > 1 else ""
    imported = ", imported" if point.taking.purpose == IMPORTED else ""
    return f"{name(point.taking)}, {day(point.taking)}: {number(value)} {unit}{several}; {host}{imported}"


def _level(panel: Axes, track: Track, unit: str) -> Iterator[picture.Series]:
    """The medians between changes, and how far above the lowest an open regression is."""
    xs: list[float] = []
    ys: list[float] = []
    for low, high in track.segments:
        xs += [track.places[low] - 0.4, track.places[high] + 0.4]
        ys += [track.level(low, high)] * 2
    yield picture.Series((track.host, LEVEL), panel, tuple(panel.plot(xs, ys, color=INK, lw=1.3)), ())
    if lasting := track.standing.open:
        now = track.level(track.standing.baseline.start, len(track.places) - 1)
        ends = track.before(lasting.index), track.places[-1] + 0.5
        best = now * (1 + lasting.effect) ** (1 if unit == IMAGES else -1)
        lost = panel.fill_between(ends, [now] * 2, [best] * 2, color=OPEN, alpha=0.22, lw=0)
        text = f"open since {track.standing.since(lasting.index)}: {share(lasting.effect)}; {track.host}"
        points = [((ends[0] + ends[1]) / 2, (now + best) / 2, text)]
        yield picture.Series((track.host, STILL_OPEN), panel, (lost,), points)


def _marks(panel: Axes, track: Track) -> Iterator[picture.Series]:
    """Changes of level as lines, accepted levels as marks on the axis."""
    low, high = panel.get_ylim()
    for step in track.series.steps:
        slower = effect(step) > 0
        x, label = track.before(step.index), "slower" if slower else "faster"
        line = panel.axvline(x, color=SLOWER if slower else FASTER, lw=1.0, ls="--" if slower else ":")
        text = f"{share(effect(step))} from {track.standing.since(step.index)} on (p = {step.p:.2g})"
        yield picture.Series((track.host, label), panel, (line,), [(x, high - 0.03 * (high - low), text)])
    for index, note in track.series.accepted.items():
        x, y = track.before(index), low + 0.04 * (high - low)
        mark = panel.plot([x], [y], color=INK, marker="^", ms=6, ls="none", mec=picture.PAPER, mew=0.5, clip_on=False)
        text = f"accepted from {track.standing.since(index)} on: {one_line(note)}"
        yield picture.Series((track.host, ACCEPTED), panel, tuple(mark), [(x, y, text)])


def _label_changes(panel: Axes, tracks: Sequence[Track], places: int) -> None:
    """Effect and commit above the panel: of changes too near each other, of the largest."""
    changes = [(track, step) for track in tracks for step in track.series.steps]
    taken: list[float] = []
    for track, step in sorted(changes, key=lambda change: -abs(effect(change[1]))):
        x = track.before(step.index)
        if all(abs(x - other) >= LABEL * places for other in taken):
            taken.append(x)
            panel.annotate(
                f"{share(effect(step))}\n{track.standing.since(step.index)}",
                (x, 1.0),
                (0, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=6.5,
                color=SLOWER if effect(step) > 0 else FASTER,
            )


def _label_commits(panel: Axes, order: Sequence[Taking]) -> None:
    places = range(0, len(order), math.ceil(len(order) / MOST_TICKS))
    panel.set_xticks(places, ["\n".join(dict.fromkeys((name(order[p]), day(order[p])))) for p in places])


def _entries(tracks: Sequence[Track]) -> list[Line2D]:
    hosts = [entry(track.host, color=track.colour, marker="o", ms=4, lw=0.8) for track in tracks]
    return [
        *hosts,
        entry(LEVEL, color=INK, lw=1.3),
        entry("slower", color=SLOWER, lw=1.0, ls="--"),
        entry("faster", color=FASTER, lw=1.0, ls=":"),
        entry(ACCEPTED, color=INK, marker="^", ms=5, lw=0),
        entry(STILL_OPEN, color=OPEN, lw=5, alpha=0.3),
    ]


def _caption(tracks: Sequence[Track], unit: str, left_out: int) -> str:
    most = max(len(point.samples) for track in tracks for point in track.series.points)
    of = f"medians of up to {most} processes, bars from lowest to highest; " if most > 1 else ""
    more = f" Not shown: {left_out} more hosts." if left_out > 0 else ""
    return f"{tracks[0].series.name}: {of}{_told(tracks, unit)}{more}"


def _told(tracks: Sequence[Track], unit: str) -> str:
    parts = []
    for track in tracks:
        steps = track.series.steps
        changed = f", {count(len(steps), 'change')} of level" if steps else ""
        lasting = track.standing.open
        still = f", open: {share(lasting.effect)} since {track.standing.since(lasting.index)}" if lasting else ""
        now = number(track.values[-1])
        parts.append(f"{track.host}: {count(len(track.places), 'point')}, now {now} {unit}{changed}{still}")
    return "; ".join(parts) + "."
