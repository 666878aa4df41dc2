"""Pictures of what happens inside the nets: layer responses (Fig. 7), gradients, and slices of the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from bench import picture
from bench.picture import COLOURS, DASHES, Picture, Series, entry, name, new_canvas, spread
from bench.summary import Net, Summary, span

MOST_NETS, MOST_STOPS = 6, 4
FIGURE_7 = (20, 56, 110)  # the depths that the paper shows
LEVELS = 16
HIGHEST_LOSS = 20.0  # nats: far from the net a loss has no bound, and contours up to it would show nothing else
PLAIN, RESIDUAL = "plain nets", "residual nets"
LINE = {"lw": 1.3, "marker": ".", "ms": 3}

Measured = list[tuple[Net, pd.DataFrame]]  # a net and its rows, or points


def responses(summary: Summary, title: str = "") -> Picture | None:
    """The standard deviation of each 3x3 layer's response at the end of training, as in Fig. 7.

    Above in depth order, below by magnitude; plain nets beside residual ones, means over seeds.
    """
    layers = _finite(summary.layers, "response_std")
    layers = layers[layers["value"] > 0]  # a dead layer has none, nor a place on a logarithmic axis
    layers = layers[layers["iteration"] == layers.groupby("cell_id")["iteration"].transform("max")]
    nets, left_out = _few(summary, layers)
    found = [(net, _means(net, layers, ["layer"])) for net in nets]
    if not found:
        return None
    sides = [side for side in (PLAIN, RESIDUAL) if any(_side(net) == side for net in nets)]
    depths = sorted({net.depth for net in nets})
    colour = dict(zip(depths, picture.shades(len(depths)), strict=True))
    canvas = new_canvas(max(3.6, 0.6 + 2.7 * len(sides)), 3.9, title)
    axes = canvas.subplots(2, len(sides), sharey=True, squeeze=False)
    series = []
    for net, means in found:
        ranked = means.sort_values("value", ascending=False, kind="stable", ignore_index=True)
        for row, table, places in ((0, means, means["layer"]), (1, ranked, ranked.index + 1)):
            panel = axes[row, sides.index(_side(net))]
            line = panel.plot(places, table["value"], color=colour[net.depth], **LINE)
            texts = [
                f"{name(net)}, layer {layer}: {_number(value)}"
                for layer, value in zip(table["layer"], table["value"], strict=True)
            ]
            points = list(zip(places, table["value"], texts, strict=True))
            series.append(Series((f"{net.depth} layers",), panel, tuple(line), points))
    for column, side in enumerate(sides):
        axes[0, column].set(title=side, xlabel="layer, in depth order")
        axes[1, column].set(xlabel="layers, by magnitude")
        for panel in axes[:, column]:
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for panel in axes[:, 0]:
        panel.set_ylabel("std of response")
    if layers["value"].min() * 10 < layers["value"].max():
        _log(axes[0, 0])  # of all panels: they share it
    else:
        axes[0, 0].set_ylim(bottom=0)
    picture.legend(canvas, [entry(f"{depth} layers", color=colour[depth], **LINE) for depth in depths])
    means = [f"{name(net)} {_number(means['value'].mean())}" for net, means in found]
    return Picture(
        "responses",
        canvas,
        "Standard deviation of each 3x3 layer's response (after BN, before nonlinearity and addition) at the end of "
        f"training, as in Fig. 7: above in depth order, below by magnitude; {_over(nets, layers)}.{left_out}",
        f"Line charts of the layers' response deviations. Mean over layers: {', '.join(means)}.",
        tuple(series),
    )


def gradients(summary: Summary, title: str = "") -> Picture | None:
    """The norm of the loss's gradient in each layer's weights, from initialisation to the end of training."""
    layers = _finite(summary.layers, "gradient_norm")
    layers = layers[layers["value"] > 0]  # on a logarithmic axis
    nets = _telling(_few(summary, layers)[0])
    found = [(net, _means(net, layers, ["iteration", "layer"])) for net in nets]
    if not found:
        return None
    stops = spread(sorted({stop for _, means in found for stop in means["iteration"]}), MOST_STOPS)
    colour = dict(zip(stops, picture.shades(len(stops)), strict=True))
    canvas = new_canvas(max(3.6, 0.6 + 1.95 * len(nets)), 2.75, title)
    axes = canvas.subplots(1, len(nets), sharey=True, squeeze=False)[0]
    series, starts = [], []
    for panel, (net, means) in zip(axes, found, strict=True):
        for stop, own in means[means["iteration"].isin(stops)].groupby("iteration"):
            line = panel.plot(own["layer"], own["value"], color=colour[stop], **LINE)
            points = [
                (layer, value, f"{name(net)}, {_moment(stop)}, layer {layer}: gradient norm {_number(value)}")
                for layer, value in zip(own["layer"], own["value"], strict=True)
            ]
            series.append(Series((_moment(stop),), panel, tuple(line), points))
        start = means.loc[means["iteration"] == means["iteration"].min(), "value"]
        starts.append(f"{name(net)} {_number(start.iloc[0])} in the first layer, {_number(start.iloc[-1])} in the last")
        panel.set(title=name(net), xlabel="layer")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[0].set_ylabel("gradient norm")
    _log(axes[0])
    picture.legend(canvas, [entry(_moment(stop), color=colour[stop], **LINE) for stop in stops])
    return Picture(
        "gradients",
        canvas,
        "Norm of the loss's gradient in each layer's weights, on a training batch, at initialisation and through "
        f"training; {_over(nets, layers)}.",
        f"Line charts of gradient norm against layer, a line for each iteration. At the start: {'; '.join(starts)}.",
        tuple(series),
    )


def slices(summary: Summary, title: str = "") -> Picture | None:
    """The loss along random, filter-normalised directions around the trained nets (Li et al. 2018)."""
    points = _finite(summary.slices, "loss")
    nets, left_out = _few(summary, points)
    firsts = [(net, _first_cell(net, points)) for net in nets]
    lines = [(net, own[own["dimensions"] == 1]) for net, own in firsts if (own["dimensions"] == 1).sum() > 1]
    grids = [(net, own[own["dimensions"] == 2]) for net, own in firsts]
    grids = [(net, own) for net, own in grids if own["a"].nunique() > 1 and own["b"].nunique() > 1]
    telling = [net.cells for net in _telling([net for net, _ in grids])]
    surfaces = [(net, own) for net, own in grids if net.cells in telling][-2 if lines else -3 :]
    if not lines and not surfaces:
        return None
    canvas = new_canvas(max(3.6, 0.9 + 2.0 * (bool(lines) + len(surfaces))), 2.75, title)
    panels = canvas.subplots(1, bool(lines) + len(surfaces), squeeze=False)[0]
    series = _profiles(panels[0], lines) if lines else []
    series += _surfaces(panels[bool(lines) :], surfaces) if surfaces else []
    least = [f"{name(net)} {_number(own['loss'].min())}" for net, own in firsts]
    return Picture(
        "slices",
        canvas,
        "Training loss, in nats, around the trained nets (at 0, and at +) along random filter-normalised directions; "
        f"{int(points['images'].max()):,} training images, one seed a net, directions of seed "
        f"{points['direction_seed'].iloc[0]}, {points['a'].nunique()} points each; scales end at {HIGHEST_LOSS:g} nats."
        f"{left_out}",
        f"Loss around trained nets. Lowest loss seen: {', '.join(least)}.",
        tuple(series),
    )


def _profiles(panel: Axes, lines: Measured) -> list[Series]:
    series, entries = [], []
    for net, own in lines:
        deeper = {other.depth for other, _ in lines if other.shortcut == net.shortcut and other.depth > net.depth}
        look = {"color": COLOURS[net.shortcut], "lw": 1.4, "ls": DASHES[len(deeper) % len(DASHES)]}
        entries.append(entry(name(net), **look))
        line = panel.plot(own["a"], own["loss"], **look)
        points = [(a, loss, _spot(net, f"{a:g}", loss, e)) for a, loss, e in own[["a", "loss", "error"]].to_numpy()]
        series.append(Series((name(net),), panel, tuple(line), points))
    losses = pd.concat([own["loss"] for _, own in lines])
    if losses.min() > 0:
        _log(panel)
    panel.set(xlabel="along one direction", ylabel="training loss, nats")
    if losses.min() < HIGHEST_LOSS < losses.max():
        panel.set_ylim(0.7 * losses.min(), HIGHEST_LOSS)
    picture.legend(panel.figure, entries, 4)
    return series


def _surfaces(panels: Sequence[Axes], surfaces: Measured) -> list[Series]:
    losses = pd.concat([own["loss"] for _, own in surfaces])
    low = max(losses.min(), 1e-4)
    levels = np.geomspace(low, max(min(losses.max(), HIGHEST_LOSS), 1.01 * low), LEVELS)
    look = {"norm": LogNorm(levels[0], levels[-1]), "cmap": "viridis", "extend": "max"}
    series = []
    for number, (panel, (net, own)) in enumerate(zip(panels, surfaces, strict=True)):
        grid = own.pivot_table(index="b", columns="a", values="loss")
        heights = np.ma.masked_invalid(grid.to_numpy().clip(levels[0], None))
        filled = panel.contourf(grid.columns, grid.index, heights, levels, **look)
        panel.plot(0, 0, marker="+", color=picture.PAPER, ms=6)
        panel.set(title=name(net), xlabel="first direction", aspect="equal")
        panel.tick_params(labelleft=number == 0)
        panel.grid(visible=False)
        rows = own[["a", "b", "loss", "error"]].to_numpy()
        points = [(a, b, _spot(net, f"({a:g}, {b:g})", loss, error)) for a, b, loss, error in rows]
        series.append(Series((), panel, (), points))
    panels[0].set_ylabel("second direction")
    bar = panels[0].figure.colorbar(filled, ax=list(panels), shrink=0.8, label="training loss, nats")
    ticks = [tick for tick in LogLocator(10, (1, 2, 5)).tick_values(*levels[[0, -1]]) if low <= tick <= levels[-1]]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.minorticks_off()
    return series


def _spot(net: Net, place: str, loss: float, error: float) -> str:
    return f"{name(net)} at {place}: loss {_number(loss)}, error {100 * error:.1f} %"


def _few(summary: Summary, table: pd.DataFrame) -> tuple[list[Net], str]:
    """The nets to draw of those in `table`, and what the caption says of the others.

    Of the first variant: plain nets and those of the first shortcut there is, of the paper's depths where they are all
    there, else the shallowest and deepest among them.
    """
    there = set(table["cell_id"].unique())
    found = [net for net in summary.nets if any(cell.id in there for cell in net.cells)]
    first = sorted((net for net in found if net.variant == found[0].variant), key=lambda net: net.depth)
    shortcut = min((net.shortcut for net in first if net.shortcut != "none"), default="none")
    plain = [net for net in first if net.shortcut == "none"]
    residual = [net for net in first if net.shortcut == shortcut != "none"]
    most = MOST_NETS // 2 if plain and residual else MOST_NETS
    chosen = _as_the_paper(plain, most) + _as_the_paper(residual, most)
    if len(chosen) == len(found):
        return chosen, ""
    return chosen, f" Shown: {', '.join(name(net) for net in chosen)}, of {len(found):,} nets."


def _as_the_paper(nets: Sequence[Net], most: int) -> list[Net]:
    theirs = [net for net in nets if net.depth in FIGURE_7]
    return theirs if len(theirs) == len(FIGURE_7) else spread(nets, most)


def _telling(nets: Sequence[Net]) -> list[Net]:
    """The shallowest and the deepest plain net, and the residual net as deep as that (or the deepest)."""
    plain, residual = ([net for net in nets if _side(net) == side] for side in (PLAIN, RESIDUAL))
    if not plain:
        return spread(residual, 2)
    as_deep = [net for net in residual if net.depth == plain[-1].depth]
    return spread(plain, 2) + (as_deep or residual)[-1:]


def _finite(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows whose `column` is a finite number, with it as `value` too."""
    table = table.assign(value=pd.to_numeric(table[column]).astype(float))
    return table[np.isfinite(table["value"])]


def _means(net: Net, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean of `value` over the net's seeds, by `keys`, in their order."""
    own = table[table["cell_id"].isin([cell.id for cell in net.cells])]
    return own.groupby(keys)["value"].mean().reset_index()


def _first_cell(net: Net, points: pd.DataFrame) -> pd.DataFrame:
    there = set(points["cell_id"].unique())
    return points[points["cell_id"] == next(cell.id for cell in net.cells if cell.id in there)]


def _side(net: Net) -> str:
    return PLAIN if net.shortcut == "none" else RESIDUAL


def _over(nets: Sequence[Net], table: pd.DataFrame) -> str:
    there = set(table["cell_id"].unique())
    return f"mean over {span(sum(cell.id in there for cell in net.cells) for net in nets)}"


def _moment(iteration: int) -> str:
    return f"iteration {iteration:,}" if iteration else "at initialisation"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _log(panel: Axes) -> None:
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 300 * low else (1,), numticks=9))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
