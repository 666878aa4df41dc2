"""A picture: drawn for paper, and what a page needs so that a reader can ask it for values and hide its lines."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bench.parts import replacing
from bench.summary import Net, span
from bench.texts import one_line

INK, PAPER, GRID, DIM = "#1b1f24", "#ffffff", "#e3e6ea", "#5b6470"
SHORTCUTS = {"none": "plain", "A": "identity (A)", "B": "projection at changes (B)", "C": "projection everywhere (C)"}
COLOURS = {"none": "#d55e00", "A": "#0072b2", "B": "#009e73", "C": "#cc79a7"}  # Okabe and Ito's, colour-blind safe
MARKERS = {"none": "X", "A": "o", "B": "s", "C": "^"}
DASHES = ("-", "--", ":", "-.")
THIN, BOLD = 0.9, 2.0
DPI = 200  # of the PNG; the layout is made at it once, and the SVG has the same
MOST_POINTS = 3000  # that answer to a pointer, in one picture

Item = TypeVar("Item")


@dataclass(frozen=True)
class Series:
    """A line of a panel: the legend entries it belongs to (hide one and it is hidden), its artists, and its points.

    A point is (x, y, text), in data coordinates; the text is what it says when pointed at.
    """

    labels: tuple[str, ...]
    panel: Axes
    artists: tuple[Artist, ...]
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Placed:
    """A series within the SVG: the ids of its elements, and its points in the units of the view box."""

    labels: tuple[str, ...]
    ids: tuple[str, ...]
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Entry:
    """A legend entry: its text, and how its line looks (`dash`: an SVG dash array)."""

    label: str
    colour: str
    width: float
    dash: str
    marker: str


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn figure, its caption (which says what is averaged over what), a text alternative, and its series."""

    name: str
    canvas: Canvas
    caption: str
    alternative: str
    series: tuple[Series, ...] = ()

    def save(self, folder: Path) -> None:
        """Write NAME.svg and NAME.png; the same tables give the same bytes.

        Raises:
            OSError: when a file cannot be written.
        """
        with replacing(folder / f"{self.name}.svg") as temporary:
            temporary.write_text(self.svg)
        with style(), replacing(folder / f"{self.name}.png") as temporary:
            self.canvas.savefig(temporary, format="png", metadata={"Software": None}, dpi=DPI)

    @cached_property
    def svg(self) -> str:
        """The figure as SVG, with text as text; elements of series have the ids that `placed` names."""
        for number, series in enumerate(self.series):
            for part, artist in enumerate(series.artists):
                artist.set_gid(_id(number, part))
        text = io.StringIO()
        with style():
            self.canvas.get_layout_engine().execute(self.canvas)  # once for all
            self.canvas.set_layout_engine("none")
            self.canvas.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """The series where they lie in `svg`; of very many points every so many."""
        assert self.svg  # the layout is solved
        step = math.ceil(sum(len(series.points) for series in self.series) / MOST_POINTS) or 1
        return tuple(
            Placed(
                series.labels,
                tuple(_id(number, part) for part in range(len(series.artists))),
                tuple(self._place(series.panel, series.points[::-step][::-1])),
            )
            for number, series in enumerate(self.series)
        )

    def _place(self, panel: Axes, points: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
        if not points:
            return
        pixels = panel.transData.transform([(x, y) for x, y, _ in points])
        shown = np.isfinite(pixels).all(axis=1)
        low, high = panel.bbox.get_points()
        shown[shown] = ((pixels[shown] >= low - 1) & (pixels[shown] <= high + 1)).all(axis=1)
        for (x, y), (_, _, text), seen in zip(pixels, points, shown, strict=True):
            if seen:
                yield round(float(x) * 72 / DPI, 1), round(self.size[1] - float(y) * 72 / DPI, 1), text

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, in the units of the SVG's view box: points."""
        width, height = self.canvas.get_size_inches()
        return round(72 * float(width), 1), round(72 * float(height), 1)

    @property
    def legend_top(self) -> float:
        """Where the legend below the panels begins, in the units of the view box; the height where there is none."""
        if not self.canvas.legends:
            return self.size[1]
        assert self.svg
        return round(self.size[1] - self.canvas.legends[0].get_window_extent().y1 * 72 / DPI, 1)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The legend's entries: what a reader can hide."""
        return tuple(
            Entry(text.get_text(), to_hex(line.get_color()), line.get_linewidth(), _dash(line), str(line.get_marker()))
            for legend in self.canvas.legends
            for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
        )


def _id(number: int, part: int) -> str:
    return f"s{number}-{part}"


def _dash(line: Line2D) -> str:
    scaled = {"--": (3.7, 1.6), ":": (1, 1.65), "-.": (6.4, 1.6, 1, 1.6)}.get(str(line.get_linestyle()), ())
    return " ".join(f"{line.get_linewidth() * part:g}" for part in scaled)


@contextmanager
def style() -> Iterator[None]:
    """The look of all pictures, within the block."""
    own = {
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8.5,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "axes.linewidth": 0.7,
        "grid.linewidth": 0.5,
        "grid.color": GRID,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,  # a dollar in a study's title is a dollar
        "svg.fonttype": "none",
        "svg.hashsalt": "resbench",
        "figure.constrained_layout.use": True,
        "figure.dpi": DPI,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
    with matplotlib.rc_context(sns.axes_style("ticks", {"axes.grid": True}) | own), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a title in a script that the PNG's font lacks
        yield


def new_canvas(width: float, height: float, title: str = "") -> Canvas:
    """An empty figure, in inches; within `style()`."""
    canvas = Canvas(figsize=(width, height))
    if text := one_line(title):
        canvas.suptitle(text, fontsize=9.5, fontweight="bold")
    return canvas


def legend(canvas: Canvas, lines: Sequence[Line2D], columns: int = 6) -> None:
    """One legend for all panels, below them: up to `columns` wide, in as few even rows as the canvas has room for."""
    for rows in range(-(-len(lines) // columns), len(lines) + 1):
        count = -(-len(lines) // rows)
        drawn = canvas.legend(handles=lines, loc="outside lower center", ncols=count, frameon=False)
        if count == 1 or drawn.get_window_extent().width <= canvas.bbox.width:
            return
        drawn.remove()


def entry(label: str, **look: object) -> Line2D:
    """A line to show in a legend."""
    return Line2D([], [], label=label, **look)


def shades(number: int) -> list[str]:
    """So many colours in order, light to dark, all of which are seen on white."""
    return [to_hex(matplotlib.colormaps["viridis"](part)) for part in np.linspace(0.78, 0.0, max(number, 2))][-number:]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items (2 or more), evenly over them, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(part)] for part in np.linspace(0, len(items) - 1, most)]


def name(net: Net) -> str:
    """What pictures call a net: `ResNet-56-A lr=0.05`."""
    return one_line(net.name)


def seeds(nets: Sequence[Net]) -> str:
    """How many seeds a mean is over, in words: those that are done."""
    return span(len(net.done) for net in nets)
