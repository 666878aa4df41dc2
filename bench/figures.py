"""A study's pictures, drawn from its summary: the paper's Figs. 1, 4 and 6, and what depth costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from bench.store import replacing
from bench.summary import Net, Summary

SHORTCUTS = {"none": "plain", "A": "identity (A)", "B": "projection at changes (B)", "C": "projection everywhere (C)"}
COLOURS = {"none": "#D55E00", "A": "#0072B2", "B": "#009E73", "C": "#CC79A7"}  # Okabe and Ito's, colour-blind safe
MARKERS = {"none": "X", "A": "o", "B": "s", "C": "^"}
WORDS = {"train_error": "training error", "validation_error": "validation error", "test_error": "test error"}
THIN, BOLD = 0.9, 2.0


@dataclass(frozen=True)
class Picture:
    """A drawn figure, its caption (which says what is averaged over what) and a text alternative."""

    name: str
    canvas: Canvas
    caption: str
    alternative: str

    def save(self, folder: Path) -> None:
        """Write NAME.svg and NAME.png; the same tables give the same bytes."""
        with _style():
            for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                with replacing(folder / f"{self.name}.{suffix}") as temporary:
                    self.canvas.savefig(temporary, format=suffix, metadata=metadata, dpi=200)


def draw(kind: str, summary: Summary, title: str = "") -> Picture | None:
    """Draw one of a study's figures; None where the tables hold nothing for it."""
    with _style():
        drawer = {"curves": _curves, "errors": _errors, "throughput": _throughput, "memory": _memory}[kind]
        return drawer(summary, title)


@contextmanager
def _style() -> Iterator[None]:
    own = {
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8.5,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "axes.linewidth": 0.7,
        "grid.linewidth": 0.5,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "svg.hashsalt": "resbench",
        "figure.constrained_layout.use": True,
    }
    with matplotlib.rc_context(sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.9"}) | own):
        yield


def _canvas(width: float, height: float, title: str) -> Canvas:
    canvas = Canvas(figsize=(width, height))
    if title:
        canvas.suptitle(title, fontsize=9.5, fontweight="bold")
    return canvas


def _curves(summary: Summary, title: str) -> Picture | None:
    """Training error (thin) and held-out error (bold) against iterations, a panel a shortcut (Figs. 4 and 6)."""
    nets = [net for net in summary.nets if net.rows["run_id"].isin(summary.curves["run_id"]).any()]
    if not nets:
        return None
    shortcuts, variants = _present(nets), list(dict.fromkeys(net.variant for net in nets))
    depths = sorted({net.depth for net in nets})
    colour = dict(zip(depths, sns.color_palette("viridis_r", len(depths) + 1)[1:], strict=True))
    canvas = _canvas(max(3.6, 1.9 * len(shortcuts)), 0.7 + 2.0 * len(variants), title)
    axes = canvas.subplots(len(variants), len(shortcuts), sharex=True, sharey=True, squeeze=False)
    for row, variant in zip(axes, variants, strict=True):
        for panel, shortcut in zip(row, shortcuts, strict=True):
            here = [net for net in nets if net.variant == variant and net.shortcut == shortcut]
            for net in here:
                _curve(panel, net, summary, colour[net.depth])
            _label_curves(panel, "\n".join(filter(None, [SHORTCUTS[shortcut], variant])))
    for panel in axes[:, 0]:
        panel.set_ylabel("error")
    for panel in axes[-1]:
        panel.set_xlabel("iteration")
    axes[0, 0].set_ylim(0, min(1.0, axes[0, 0].get_ylim()[1]))
    held_out = WORDS[summary.held_out]
    lines = [Line2D([], [], color=colour[d], lw=BOLD, label=f"{d} layers") for d in depths]
    lines.append(Line2D([], [], color="0.3", lw=THIN, label="training"))
    lines.append(Line2D([], [], color="0.3", lw=BOLD, label=held_out.removesuffix(" error")))
    canvas.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 8), frameon=False)
    seeds = _seeds(nets)
    return Picture(
        "curves",
        canvas,
        f"Training error (thin) and {held_out} (bold) against iterations; whole eval-mode passes, mean over {seeds}, "
        "bands from the lowest to the highest seed.",
        f"Line charts of error against iteration, one for each of {', '.join(SHORTCUTS[s] for s in shortcuts)}. "
        + _ends(nets),
    )


def _curve(panel: Axes, net: Net, summary: Summary, colour: tuple[float, float, float]) -> None:
    points = summary.curves[summary.curves["run_id"].isin(net.rows["run_id"])]
    for column, width in (("train_error", THIN), (summary.held_out, BOLD)):
        seen = points.dropna(subset=[column])
        shade = {"alpha": 0.15, "linewidth": 0}
        sns.lineplot(
            seen, x="iteration", y=column, color=colour, lw=width, errorbar=("pi", 100), err_kws=shade, ax=panel
        )


def _label_curves(panel: Axes, title: str) -> None:
    panel.set_title(title)
    panel.set_xlabel("")
    panel.set_ylabel("")
    panel.set_xlim(left=0)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(4))


def _errors(summary: Summary, title: str) -> Picture | None:
    """Final error against depth, a line a shortcut, with intervals over seeds (Tables 2 and 6 as a picture)."""
    columns = ["train_error", summary.held_out]
    if summary.held_out != "test_error":
        columns.append("test_error")
    canvas = _canvas(2.35 * len(columns), 2.7, title)
    panels = canvas.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    nets = [net for net in summary.nets if net.estimate("final_train_error")]
    if not nets:
        return None
    for panel, column in zip(panels, columns, strict=True):
        _against_depth(panel, nets, f"final_{column}")
        panel.set_title(WORDS[column])
    panels[0].set_ylim(0, min(1.0, panels[0].get_ylim()[1]))  # of all panels: they share it
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    panels[0].set_ylabel("final error")
    _legend(canvas, panels[0])
    return Picture(
        "errors",
        canvas,
        f"Final error against depth; mean over {_seeds(nets)} and its 95 % interval (Student's t, cut at 0 and 100 %).",
        "Line charts of final error against depth, a line for each kind of shortcut. " + _ends(nets),
    )


def _throughput(summary: Summary, title: str) -> Picture | None:
    return _cost(summary, title, "throughput", "images_per_second", "training images a second", "evaluations left out")


def _memory(summary: Summary, title: str) -> Picture | None:
    on_gpu = summary.runs["peak_allocated_bytes"].notna().any()
    which = "of torch's allocator on the GPU" if on_gpu else "of the resident set, less Python and torch"
    return _cost(summary, title, "memory", "peak_memory_bytes", "peak memory, MB", which, scale=1e-6)


def _cost(
    summary: Summary, title: str, name: str, column: str, words: str, which: str, scale: float = 1.0
) -> Picture | None:
    nets = [net for net in summary.nets if net.estimate(column)]
    if not nets:
        return None
    canvas = _canvas(3.6, 2.7, title)
    panel = canvas.subplots()
    _against_depth(panel, nets, column, scale)
    panel.set_ylabel(words)
    panel.set_ylim(bottom=0)
    _legend(canvas, panel)
    sharing = summary.runs["sharing"].mean()
    beside = f"{sharing:.1f} cells shared the device on average" if sharing > 1.05 else "one cell at a time"
    return Picture(
        name,
        canvas,
        f"{words[0].upper()}{words[1:]} ({which}) against depth, on {summary.host.label}; mean over {_seeds(nets)} "
        f"and its 95 % interval; {beside}.",
        f"Line chart of {words} against depth, a line for each kind of shortcut.",
    )


def _against_depth(panel: Axes, nets: Sequence[Net], column: str, scale: float = 1.0) -> None:
    depths = sorted({net.depth for net in nets})
    place = {depth: position for position, depth in enumerate(depths)}
    lines = list(dict.fromkeys((net.shortcut, net.variant) for net in nets))
    for index, (shortcut, variant) in enumerate(lines):
        found = [
            (place[net.depth], net.estimate(column))
            for net in sorted(nets, key=lambda net: net.depth)
            if (net.shortcut, net.variant) == (shortcut, variant)
        ]
        found = [(x, e) for x, e in found if e]
        panel.errorbar(
            [x + 0.07 * (index - (len(lines) - 1) / 2) for x, _ in found],  # side by side, so that none hides another
            [e.mean * scale for _, e in found],
            [(e.half_width or 0.0) * scale for _, e in found],
            color=COLOURS[shortcut],
            marker=MARKERS[shortcut],
            label=f"{SHORTCUTS[shortcut]} {variant}".strip(),
            **{"lw": 1.2, "ms": 4, "mec": "white", "mew": 0.4, "capsize": 2, "elinewidth": 0.8},
            alpha=1.0 if variant == lines[0][1] else 0.55,
        )
    panel.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    panel.set_xlabel("layers")
    panel.set_xlim(-0.35, len(depths) - 0.65)


def _legend(canvas: Canvas, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    columns = 2 if len(canvas.axes) == 1 else 4
    canvas.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _present(nets: Sequence[Net]) -> list[str]:
    return [shortcut for shortcut in SHORTCUTS if any(net.shortcut == shortcut for net in nets)]


def _seeds(nets: Sequence[Net]) -> str:
    counts = pd.Series([len(net.done) for net in nets])
    low, high = counts.min(), counts.max()
    return f"{high} seed{'s' if high != 1 else ''}" if low == high else f"{low} to {high} seeds"


def _ends(nets: Sequence[Net]) -> str:
    found = ((net, net.estimate("final_train_error")) for net in nets)
    return (
        "Final training errors: "
        + ", ".join(f"{net.label} {net.variant}".strip() + f" {100 * e.mean:.1f} %" for net, e in found if e)
        + "."
    )
