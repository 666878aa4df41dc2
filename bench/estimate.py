"""What the cells to run will take, in words: time, GPU hours and money, and what says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench import pace
from bench.cell import Cell
from bench.forecast import Expected
from bench.matrix import one_a_net
from bench.pace import Pace, Paced
from bench.progress import duration


def mark(time: Expected) -> str:
    """What stands before a cell's time: nothing where it was measured, ≈ by timed steps, ~ scaled from other nets."""
    return "" if time.measured else "≈" if time.paced else "~"


def lines(
    expected: Mapping[Cell, Expected | None], at_a_time: int, devices: int, *, on_gpu: bool, price: float | None
) -> list[str]:
    """The expected time, the GPU hours and, by the `price` of one, what they cost; and what is not known of them."""
    known = {cell: time for cell, time in expected.items() if time is not None}
    if not expected:
        return ["nothing to run"]
    if not known:
        return [
            "expected time: unknown; these results hold nothing of this machine to go by (resbench measure times steps)"
        ]
    total = sum(time.seconds for time in known.values())
    seconds = total / devices / min(at_a_time, len(known))
    found = [f"expected time: {duration(seconds)}, from {_sources(list(known.values()))}"]
    if on_gpu:
        cost = f"; at {price:,.2f} an hour {price * total / 3600:,.2f}" if price is not None else ""
        found.append(f"GPU hours: {total / 3600:,.1f} in all{cost}")
    return found + [f"  {note}" for note in _notes(expected, devices)]


def _sources(times: Sequence[Expected]) -> str:
    paced = [time.paced for time in times if time.paced]
    scaled = any(not time.measured and not time.paced for time in times)
    found = ["what such a machine has recorded"] if scaled or len(paced) < len(times) else []
    found[0:] = [f"{found[0]} (~: scaled by multiply-adds from other nets' runs here)"] if scaled else found
    return " and ".join([*found, *([_timed(paced)] if paced else [])])


def _timed(paced: Sequence[Paced]) -> str:
    """`training steps timed on NVIDIA H200 (host 1a2b3c4d5e6f, n = 3, 2026-11-25)`."""
    steps = [timed.step for timed in paced]
    return f"training steps timed on {steps[0].host.label} ({_taken(steps)})"


def _taken(paces: Sequence[Pace]) -> str:
    hosts = ", ".join(sorted({pace.host.id for pace in paces}))
    n, days = ([*map(str, sorted(values))] for values in ({p.n for p in paces}, {p.day for p in paces}))
    return f"host {hosts}, n = {_span(n)}, {_span(days)}"


def _reading(timed: Mapping[Cell, Paced]) -> Iterable[str]:
    """Which binds, the device or what reads for it."""
    unread = one_a_net(cell for cell, paced in timed.items() if cell.recipe.crop_size and not paced.reading)
    if unread:
        nets = ", ".join(dict.fromkeys(cell.arch.label for cell in unread))
        yield (
            f"≈: as if images were always there in time, for reading them was not timed ({nets}); "
            "resbench measure throughput-loading times it"
        )
    for cell in one_a_net(cell for cell, paced in timed.items() if paced.reading):
        paced = timed[cell]
        binds = "reading binds" if paced.waits else "the step binds"
        yield (
            f"{cell.arch.label}: {paced.step.images_per_second:,.0f} images/s trained, "
            f"{paced.reading.images_per_second:,.0f} read: {binds}"
        )


def _span(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _notes(expected: Mapping[Cell, Expected | None], devices: int) -> Iterable[str]:
    if unknown := [cell for cell, time in expected.items() if time is None]:
        nets = ", ".join(dict.fromkeys(cell.arch.label for cell in unknown))
        yield f"not in it: {len(unknown)} cells of which nothing is measured ({nets})"
    timed = {cell: time.paced for cell, time in expected.items() if time and time.paced}
    yield from _reading(timed)
    if uncounted := list(dict.fromkeys(cell.data for cell in timed if pace.counts(cell) is None)):
        yield f"evaluations are not in it: how many images {', '.join(uncounted)} has, its name does not tell"
    untimed = one_a_net(cell for cell, paced in timed.items() if not paced.forward and pace.counts(cell))
    if untimed:
        nets = ", ".join(dict.fromkeys(cell.arch.label for cell in untimed))
        yield f"evaluations at a third of a step's time an image, for no forward pass was timed ({nets})"
    if devices > 1:
        yield f"as if {devices} devices were {devices} times as fast as one"
