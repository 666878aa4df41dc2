"""A study's pictures, drawn from its summary: the paper's Figs. 1, 4 and 6, and what depth costs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from bench import anatomy, picture, run
from bench.picture import (
    BOLD,
    COLOURS,
    DASHES,
    MARKERS,
    SHORTCUTS,
    THIN,
    Picture,
    Series,
    entry,
    name,
    new_canvas,
    seeds,
    spread,
)
from bench.stats import Estimate
from bench.summary import Net, Summary
from bench.texts import one_line

PERCENT = FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%")  # whole or not: 2.5% is not 2%
WORDS = {"train_error": "training error", "validation_error": "validation error", "test_error": "test error"}
MOST_ROWS, MOST_DEPTHS = 3, 8  # of curves' panels, and of lines in a panel
MOST_LINES, MOST_PLACES = 8, 16  # against depth: lines, and depths
FIRST, SPREAD = "the first {} of {:,} variants", "{} of {:,} depths"  # what a caption says of what is left out
MOST_STOPS = 400  # evaluations along a drawn curve


def draw(kind: str, summary: Summary, title: str = "") -> Picture | None:
    """Draw one of a study's figures (`study.FIGURES`); None where the tables hold nothing for it."""
    drawers = {
        "curves": _curves,
        "errors": _errors,
        "throughput": _throughput,
        "memory": _memory,
        "responses": anatomy.responses,
        "gradients": anatomy.gradients,
        "slices": anatomy.slices,
    }
    with picture.style():
        return drawers[kind](summary, title)


def _curves(summary: Summary, title: str) -> Picture | None:
    """Training error (thin) and held-out error (bold) against iterations, a panel a shortcut (Figs. 4 and 6)."""
    evaluated = set(summary.curves["cell_id"].unique())
    nets = [net for net in summary.nets if any(cell.id in evaluated for cell in net.cells)]
    if not nets:
        return None
    variants, depths = _variants(nets), sorted({net.depth for net in nets})
    rows, lines = variants[:MOST_ROWS], spread(depths, MOST_DEPTHS)
    left_out = _left_out(variants, rows, FIRST) + _left_out(depths, lines, SPREAD)
    nets = [net for net in nets if net.variant in set(rows) and net.depth in set(lines)]
    shortcuts = [shortcut for shortcut in SHORTCUTS if any(net.shortcut == shortcut for net in nets)]
    colour = dict(zip(lines, picture.shades(len(lines)), strict=True))
    canvas = new_canvas(max(3.6, 0.5 + 1.5 * len(shortcuts)), 0.75 + 1.75 * len(rows), title)
    axes = canvas.subplots(len(rows), len(shortcuts), sharex=True, sharey=True, squeeze=False)
    points = _means(nets, summary.curves, ("train_error", summary.held_out))
    series = []
    for row, variant in zip(axes, rows, strict=True):
        for panel, shortcut in zip(row, shortcuts, strict=True):
            for number, net in enumerate(nets):
                if net.variant == variant and net.shortcut == shortcut and number in points:
                    series += _curve(panel, net, points[number], summary.held_out, colour[net.depth])
            _label_curves(
                panel, "\n".join(filter(None, [SHORTCUTS[shortcut].replace("projection ", "projection\n"), variant]))
            )
    for panel in axes[:, 0]:
        panel.set_ylabel("error")
    for panel in axes[-1]:
        panel.set_xlabel("iteration")
    axes[0, 0].set_ylim(0, min(1.0, axes[0, 0].get_ylim()[1]))
    held_out = WORDS[summary.held_out]
    entries = [entry(_layers(depth), color=colour[depth], lw=BOLD) for depth in lines]
    entries.append(entry("training", color=picture.DIM, lw=THIN))
    entries.append(entry(held_out.removesuffix(" error"), color=picture.DIM, lw=BOLD))
    picture.legend(canvas, entries)
    return Picture(
        "curves",
        canvas,
        f"Training error (thin) and {held_out} (bold) against iterations; whole eval-mode passes, mean over "
        f"{seeds(nets)}, bands from the lowest to the highest seed.{left_out}",
        f"Line charts of error against iteration, one for each of {', '.join(SHORTCUTS[s] for s in shortcuts)}. "
        + _ends(nets),
        tuple(series),
    )


def _means(nets: Sequence[Net], curves: pd.DataFrame, columns: Sequence[str]) -> dict[int, pd.DataFrame]:
    """For each net, by its place, the mean, lowest, highest and number of seeds of `columns` at each iteration."""
    place = {cell.id: number for number, net in enumerate(nets) for cell in net.cells}
    own = curves[curves["cell_id"].isin(place)]
    groups = own.groupby([own["cell_id"].map(place).rename("net"), "iteration"])[list(dict.fromkeys(columns))]
    found = groups.agg(["mean", "min", "max", "count"])
    return {int(number): table.droplevel(0) for number, table in found.groupby(level=0)}


def _curve(panel: Axes, net: Net, points: pd.DataFrame, held_out: str, colour: str) -> list[Series]:
    drawn = []
    for column, width in (("train_error", THIN), (held_out, BOLD)):
        stops = points[column][points[column, "count"] > 0]
        stops = stops.loc[spread(list(stops.index), MOST_STOPS)]
        if not len(stops):
            continue
        artists = panel.plot(stops.index, stops["mean"], color=colour, lw=width, solid_capstyle="round")
        if len(stops) == 1:  # a line of one point would not be seen
            artists[0].set(marker="o", markersize=3)
        if stops["count"].max() > 1:
            band = panel.fill_between(stops.index, stops["min"], stops["max"], color=colour, alpha=0.15, lw=0)
            artists.append(band)
        texts = [
            (
                x,
                mean,
                f"{name(net)}, iteration {x:,}: {WORDS[column]} {100 * mean:.1f} %{_range(low, high, int(n))}",
            )
            for x, mean, low, high, n in stops[["mean", "min", "max", "count"]].itertuples()
        ]
        kind = "training" if column == "train_error" else WORDS[column].removesuffix(" error")
        drawn.append(Series((_layers(net.depth), kind), panel, tuple(artists), texts))
    return drawn


def _range(low: float, high: float, n: int) -> str:
    return f" (mean of {n} seeds, {100 * low:.1f} to {100 * high:.1f})" if n > 1 else ""


def _label_curves(panel: Axes, title: str) -> None:
    panel.set_title(title)
    panel.set_xlim(left=0)
    panel.yaxis.set_major_formatter(PERCENT)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _errors(summary: Summary, title: str) -> Picture | None:
    """Final error against depth, a line a shortcut, with intervals over seeds (Tables 2 and 6 as a picture)."""
    columns = ["train_error", *dict.fromkeys((summary.held_out, "test_error"))]
    nets, left_out = _few_lines(_measured(summary, "final_train_error"))
    if not nets:
        return None
    canvas = new_canvas(0.4 + 2.05 * len(columns), 2.6, title)
    panels = canvas.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    series = []
    for panel, column in zip(panels, columns, strict=True):
        words = f"final {WORDS[column]} {{}} %"
        series += _against_depth(panel, nets, f"final_{column}", words, digits=1, shown=100)
        panel.set_title(WORDS[column])
    panels[0].set_ylim(0, min(1.0, panels[0].get_ylim()[1]))  # of all panels: they share it
    panels[0].yaxis.set_major_formatter(PERCENT)
    panels[0].set_ylabel("final error")
    picture.legend(canvas, _entries(nets), 4)
    return Picture(
        "errors",
        canvas,
        f"Final error against depth; mean over {seeds(nets)} and its 95 % interval (Student's t, cut at 0 and "
        f"100 %).{left_out}",
        "Line charts of final error against depth, a line for each kind of shortcut. " + _ends(nets),
        tuple(series),
    )


def _throughput(summary: Summary, title: str) -> Picture | None:
    return _cost(summary, title, "throughput", "images_per_second", "training images a second", "evaluations left out")


def _memory(summary: Summary, title: str) -> Picture | None:
    on_gpu = summary.host.gpu is not None
    which = "of torch's allocator on the GPU" if on_gpu else "of the resident set, less Python and torch"
    return _cost(summary, title, "memory", "peak_memory_bytes", "peak memory, MB", which, scale=1e-6)


def _cost(
    summary: Summary, title: str, kind: str, column: str, words: str, which: str, scale: float = 1.0
) -> Picture | None:
    nets, left_out = _few_lines(_measured(summary, column))
    if not nets:
        return None
    canvas = new_canvas(4.2, 2.7, title)
    panel = canvas.subplots()
    what, _, unit = words.partition(", ")
    says = f"{what} {{}} {unit}" if unit else f"{{}} {what}"
    series = _against_depth(panel, nets, column, says, scale)
    panel.set_ylabel(words)
    panel.set_ylim(bottom=0)
    picture.legend(canvas, _entries(nets), 2)
    sharing = summary.runs["sharing"].mean()
    beside = f"{sharing:.1f} cells shared the device on average" if sharing > 1.05 else "one cell at a time"
    return Picture(
        kind,
        canvas,
        f"{words[0].upper()}{words[1:]} ({which}) against depth, on {summary.host.label}; mean over {seeds(nets)} "
        f"and its 95 % interval; {beside}.{left_out}",
        f"Line chart of {words} against depth, a line for each kind of shortcut.",
        tuple(series),
    )


def _measured(summary: Summary, column: str) -> list[Net]:
    """The nets with a value of `column` in a run that is done."""
    rows = summary.runs
    found = set(rows.loc[(rows["outcome"] == run.DONE) & rows[column].notna(), "cell_id"])
    return [net for net in summary.nets if any(cell.id in found for cell in net.cells)]


def _few_lines(nets: Sequence[Net]) -> tuple[list[Net], str]:
    """Of very many nets those that a picture against depth can show, and what the caption then says."""
    variants, depths = _variants(nets), sorted({net.depth for net in nets})
    kept = variants[: MOST_LINES // max(1, len({net.shortcut for net in nets}))]
    places = spread(depths, MOST_PLACES)
    chosen = [net for net in nets if net.variant in set(kept) and net.depth in set(places)]
    return chosen, _left_out(variants, kept, FIRST) + _left_out(depths, places, SPREAD)


def _against_depth(
    panel: Axes, nets: Sequence[Net], column: str, words: str, scale: float = 1.0, digits: int = 0, shown: float = 1.0
) -> list[Series]:
    """Draw `column` times `scale`; points say `words` around their value, times `shown` besides."""
    depths = sorted({net.depth for net in nets})
    place = {depth: position for position, depth in enumerate(depths)}
    lines, variants, series = _lines(nets), _variants(nets), []
    for index, (shortcut, variant) in enumerate(lines):
        own = [net for net in nets if (net.shortcut, net.variant) == (shortcut, variant)]
        found = [(net, e) for net in sorted(own, key=lambda net: net.depth) if (e := net.estimate(column))]
        shift = min(0.07, 0.5 / len(lines)) * (index - (len(lines) - 1) / 2)  # side by side, so that none hides another
        points = [
            (
                place[net.depth] + shift,
                e.mean * scale,
                f"{name(net)}: {words.format(_says(e, scale * shown, digits))} (n = {e.n})",
            )
            for net, e in found
        ]
        line, caps, bars = panel.errorbar(
            [x for x, _, _ in points],
            [y for _, y, _ in points],
            [(e.half_width or 0.0) * scale for _, e in found],
            **_look(shortcut, variants.index(variant)),
            **{"capsize": 2, "elinewidth": 0.8},
        )
        for bar in bars:
            bar.set_linestyle("-")
        series.append(Series((_line_label(shortcut, variant),), panel, (line, *caps, *bars), points))
    panel.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    for label in panel.get_xticklabels():
        label.set_visible(int(label.get_text()) in set(spread(depths, 8)))
    panel.set_xlabel("layers")
    panel.set_xlim(-0.4, len(depths) - 0.6)
    return series


def _says(e: Estimate, scale: float, digits: int) -> str:
    interval = f" ± {scale * e.half_width:,.{digits}f}" if e.half_width is not None else ""
    return f"{scale * e.mean:,.{digits}f}{interval}"


def _lines(nets: Sequence[Net]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((net.shortcut, net.variant) for net in nets))


def _entries(nets: Sequence[Net]) -> list[Line2D]:
    variants = _variants(nets)
    return [entry(_line_label(s, variant), **_look(s, variants.index(variant))) for s, variant in _lines(nets)]


def _line_label(shortcut: str, variant: str) -> str:
    return one_line(f"{SHORTCUTS[shortcut]} {variant}")


def _look(shortcut: str, variant: int) -> dict[str, object]:
    look = {"color": COLOURS[shortcut], "marker": MARKERS[shortcut], "ls": DASHES[variant % len(DASHES)]}
    return look | {"lw": 1.2, "ms": 4.5, "mec": picture.PAPER, "mew": 0.4}


def _variants(nets: Sequence[Net]) -> list[str]:
    return list(dict.fromkeys(net.variant for net in nets))


def _left_out(there: Sequence[object], shown: Sequence[object], what: str) -> str:
    return f" Shown: {what.format(len(shown), len(there))}." if len(shown) < len(there) else ""


def _layers(depth: int) -> str:
    return f"{depth} layers"


def _ends(nets: Sequence[Net]) -> str:
    found = ((net, net.estimate("final_train_error")) for net in nets[:24])
    return f"Final training errors: {', '.join(f'{name(net)} {100 * e.mean:.1f} %' for net, e in found if e)}."
