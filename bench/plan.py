"""What a study or a net amounts to, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import forecast, slots, sweep
from bench.cell import Arch, Cell
from bench.errors import DeviceError
from bench.forecast import Costs, Expected, Forecast
from bench.matrix import variants
from bench.progress import duration
from bench.store import Store
from bench.study import Study


def show(study: Study, cells: Sequence[Cell], store: Store, device: str, workers: int | None, console: Console) -> None:
    """Print the cells of a study, what each costs, what is recorded and how long the rest should take.

    Raises:
        DataError: when a data set's images are needed to tell a net's shape and cannot be read.
    """
    waiting, recorded, _ = sweep.pending(cells, store)
    gpus = slots.choose_gpus(device)
    places = len(gpus) or len(slots.slots(gpus, workers))  # cells that share a GPU share its time
    costs = forecast.costs_of(cells, study.sources, lambda text: console.print(text, style="dim"))
    expected: dict[Cell, Expected | None] = {}
    if waiting:  # otherwise there is no time to expect, and no reason to read what others took
        times = Forecast(store.runs(columns=Forecast.COLUMNS), store.hosts(), gpus[0] if gpus else None)
        expected = {cell: times.expect(cell, costs[cell.arch, cell.data]) for cell in waiting}
    console.print(_table(cells, set(waiting), costs, expected))
    where, data = gpus[0].name if gpus else "the CPU", ", ".join(dict.fromkeys(cell.data for cell in cells))
    console.print(
        f"{study.name}: {len(cells)} cells on {data}, {len(recorded)} recorded, {len(waiting)} to run on {where}, "
        f"{places} at a time",
        highlight=False,
    )
    console.print(_total(list(expected.values()), places), highlight=False)
    try:
        slots.check_gpus(gpus, waiting)
    except DeviceError as error:  # a plan may be for another machine
        console.print(f"not on this machine: {error}", highlight=False, markup=False)


def _table(cells: Sequence[Cell], waiting: set[Cell], costs: Costs, expected: dict[Cell, Expected | None]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("net", no_wrap=True)
    for name in ("seeds", "to run", "iterations", "parameters", "multiply-adds", "s a cell"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.net, []).append(cell)
    names = variants(cells)
    for (arch, recipe, data), group in groups.items():
        cost = costs[arch, data]
        time = next((expected[cell] for cell in group if expected.get(cell)), None)
        table.add_row(
            f"{arch.label} {names[group[0]]}".strip(),
            str(len(group)),
            str(sum(cell in waiting for cell in group)),
            f"{recipe.iterations:,}",
            f"{cost.parameters:,}",
            f"{cost.multiply_adds:,}",
            "" if time is None else f"{time.seconds:.1f}" if time.measured else f"~{time.seconds:.1f}",
        )
    return table


def _total(expected: Sequence[Expected | None], places: int) -> str:
    known = [time for time in expected if time is not None]
    if not expected:
        return "nothing to run"
    if not known:
        return "expected time: unknown; these results hold nothing of this machine to go by"
    seconds = sum(time.seconds for time in known) / min(places, len(known))
    scaled = "" if all(time.measured for time in known) else " (~: scaled by multiply-adds from other nets' runs here)"
    return f"expected time: {duration(seconds)}, from what such a machine has recorded{scaled}"


def show_net(arch: Arch, size: int, channels: int, cost: Any) -> None:
    """Print a net's cost, a layer group a line. `cost` is a `bench.cost.Cost`."""
    table = Table(box=None, header_style="bold", padding=(0, 1), show_footer=True)
    table.add_column("group", footer="total")
    table.add_column("output", justify="right")
    for name, total in (
        ("layers", cost.layers),
        ("parameters", cost.parameters),
        ("multiply-adds", cost.multiply_adds),
        ("activations, bytes", cost.activation_bytes),
    ):
        table.add_column(name, justify="right", footer=f"{total:,}")
    for group in cost.groups:
        shape = " x ".join(map(str, group.output_shape))
        numbers = (group.layers, group.parameters, group.multiply_adds, group.activation_bytes)
        table.add_row(group.name, shape, *(f"{number:,}" for number in numbers))
    console = Console()
    console.print(f"{arch.label} ({arch.family} family), one image of {channels} x {size} x {size}", highlight=False)
    console.print(table)
