"""What a study or a net amounts to, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from bench import estimate, forecast, slots, sweep, terminal
from bench.cell import Arch, Cell
from bench.errors import DeviceError, InputError
from bench.forecast import Costs, Expected, Forecast
from bench.history import History
from bench.host import Host
from bench.matrix import one_a_net, variants
from bench.sample import HISTORY
from bench.store import Store
from bench.study import Study

LONG = 3600.0  # seconds; where every cell takes longer, times are in hours


@dataclass(frozen=True)
class Place:
    """Where cells are to run: a device's name, recorded hosts that have it, how many cells run at a time, and over how
    many devices each is spread."""

    name: str
    hosts: Mapping[str, Host]
    on_gpu: bool
    at_a_time: int
    devices: int


def place(store: Store, device: str, workers: int | None, devices: int, machine: str | None) -> Place:
    """This machine, or one whose device is named `machine`, with one such device, or as many as a cell is spread over.

    Raises:
        InputError: where nothing is recorded of such a machine.
        DeviceError: where `device` is cuda and there is none.
    """
    if machine is not None:
        hosts = forecast.named(store.hosts(), machine)
        there = next(iter(hosts.values()))
        return Place(there.gpu or there.cpu, hosts, there.gpu is not None, workers or 1, devices)
    gpus = slots.choose_gpus(device)
    places = len(gpus) or len(slots.slots(gpus, workers))  # cells that share a GPU share its time
    hosts = forecast.alike(store.hosts(), gpus[0] if gpus else None)
    return Place(gpus[0].name if gpus else "the CPU", hosts, bool(gpus), max(1, places // devices), devices)


def show(
    study: Study,
    cells: Sequence[Cell],
    store: Store,
    device: str,
    workers: int | None,
    console: Console,
    *,
    devices: int = 1,
    machine: str | None = None,
    price: float | None = None,
) -> None:
    """Print the cells of a study, what each costs, what is recorded and how long the rest should take: on this machine,
    or on one whose device is named `machine`; each cell over so many `devices`. `price` is that of an hour of a GPU.

    Raises:
        DataError: when a data set's images are needed to tell a net's shape and cannot be read.
        InputError: for a device that nothing is recorded of, or a price where there is no GPU.
        DeviceError: for a batch that cannot be shared among `devices`.
    """
    slots.check_shares(cells, devices)
    where = place(store, device, workers, devices, machine)
    if price is not None and not where.on_gpu:
        raise InputError(
            f"--price: of a GPU's hour, and these cells would run on {where.name}; --machine names another"
        )
    waiting, recorded, _ = sweep.pending(cells, store)
    costs = forecast.costs_of(cells, study.sources, lambda text: console.print(text, style="dim"))
    expected: dict[Cell, Expected | None] = {}
    if waiting:  # otherwise there is no time to expect, and no reason to read what others took
        samples = partial(History(store.root).samples, HISTORY)
        times = Forecast(store.runs(columns=Forecast.COLUMNS), where.hosts, samples)
        of_nets = {cell.net: times.expect(cell, costs[cell.priced]) for cell in one_a_net(waiting)}
        expected = {cell: of_nets[cell.net] for cell in waiting}
    console.print(_table(cells, set(waiting), costs, expected))
    data = ", ".join(dict.fromkeys(cell.data for cell in cells))
    over = f", each over {devices} devices" if devices > 1 else ""
    console.print(
        f"{study.name}: {len(cells)} cells on {data}, {len(recorded)} recorded, {len(waiting)} to run on {where.name}, "
        f"{where.at_a_time} at a time{over}"
    )
    for line in estimate.lines(expected, where.at_a_time, devices, on_gpu=where.on_gpu, price=price):
        console.print(line)
    if machine is None:
        _warn(waiting, device, devices, console)


def _warn(waiting: Sequence[Cell], device: str, devices: int, console: Console) -> None:
    gpus = slots.choose_gpus(device)
    try:
        slots.check_recipes(waiting, on_gpu=bool(gpus))
        slots.check_gpus(gpus)
        slots.slots(gpus, None, devices)
    except DeviceError as error:  # a plan may be for another machine
        console.print(f"not on this machine: {error}")


def _table(cells: Sequence[Cell], waiting: set[Cell], costs: Costs, expected: dict[Cell, Expected | None]) -> Table:
    long = min((time.seconds for time in expected.values() if time), default=0) > LONG
    columns = [
        "net",
        "seeds",
        "to run",
        "iterations",
        "parameters",
        "multiply-adds",
        "h a cell" if long else "s a cell",
    ]
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.net, []).append(cell)
    names = variants(one_a_net(cells))
    rows = []
    for (arch, recipe, _), group in groups.items():
        cost = costs[group[0].priced]
        time = next((expected[cell] for cell in group if expected.get(cell)), None)
        rows.append(
            (
                f"{arch.label} {names[group[0]]}".strip(),
                str(len(group)),
                str(sum(cell in waiting for cell in group)),
                f"{recipe.iterations:,}",
                f"{cost.parameters:,}",
                f"{cost.multiply_adds:,}",
                "" if time is None else f"{estimate.mark(time)}{time.seconds / (3600 if long else 1):,.1f}",
            )
        )
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        width = max(map(cell_len, (column, *values)))  # rich would take a second for thousands of rows to find it
        table.add_column(column, justify="left" if column == "net" else "right", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*row)
    return table


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
    console = terminal.console()
    console.print(f"{arch.label} ({arch.family} family), one image of {channels} x {size} x {size}")
    console.print(table)
