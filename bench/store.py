"""Results on disk: parquet tables with versioned schemas, written atomically, read as plain parquet.

runs/<cell id>.parquet            one row: the cell has ended. This file is the commit marker.
runs/packed-<…>.parquet           many such rows (`resbench compact`), and the like of curves, layers and slices.
curves/<cell id>-<run id>.parquet its evaluations; counts only while a row of `runs` names it.
layers/, slices/                  likewise: its layers at each evaluation, and its loss slices, where they were taken.
nets/<cell id>-<run id>.pt        its trained net, where it was kept.
hosts/<host id>.parquet           one row: a machine that rows refer to.
damaged/                          what was set aside (`bench.damage`).
checkpoints/, logs/               of cells under way; no table, safe to delete between runs.
shared/                           of cells on other machines (`bench.shared`), where no other storage is given
.orchestrators/, .lock            who runs which cell now (`bench.leases`).
.footers/, .packing/              of packs (`bench.salvage`).
.index/                           copies of many part files in one, made from them alone, safe to delete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import damage, packed, parts
from bench.analysis import Layer, SlicePoint
from bench.cell import FIELDS, Cell
from bench.errors import InputError, StoreError, shown
from bench.evaluation import Evaluation
from bench.host import Host
from bench.leases import Leases
from bench.parted import Parted
from bench.parts import DamagedError, MissingError, replacing, sync
from bench.run import Run, row
from bench.schema import TYPES, fields_of

VERSION = 1  # of every schema; a file of a newer one is refused, a column an older one lacks reads as null

_VERSION_COLUMN = pa.field("schema_version", pa.int64())
_CELL_COLUMNS = [pa.field(name, TYPES[kind.type]) for name, kind in FIELDS.items()]
_KEYS = [pa.field("cell_id", pa.string()), pa.field("run_id", pa.string())]
RUNS = pa.schema([_VERSION_COLUMN, *_KEYS, *_CELL_COLUMNS, *(c for c in fields_of(Run) if c not in _KEYS)])
CURVES = pa.schema([_VERSION_COLUMN, *_KEYS, *fields_of(Evaluation)])
LAYERS = pa.schema([_VERSION_COLUMN, *_KEYS, *fields_of(Layer)])
SLICES = pa.schema([_VERSION_COLUMN, *_KEYS, *fields_of(SlicePoint)])
HOSTS = pa.schema([_VERSION_COLUMN, pa.field("host_id", pa.string()), *fields_of(Host)])
_TABLES = {"runs": RUNS, "curves": CURVES, "layers": LAYERS, "slices": SLICES, "hosts": HOSTS}
_FILE_OF = {"runs": ("cell_id",), "hosts": ("host_id",)}  # the columns that name a row's file; else cell and run
_PARTS = (*(f"{name}/*.parquet" for name in damage.PARTS), "nets/*.pt")  # of a run; its row names them

_IDS = re.compile(r"[\w]+-[\w]+", re.ASCII)


class Store:
    """A results folder. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def commit(
        self,
        cell: Cell,
        run: Run,
        curve: Sequence[Evaluation],
        layers: Sequence[Layer] = (),
        net: Path | None = None,
    ) -> None:
        """Record how a cell ended: its curve, layers and net first, then its row, which makes them count.

        `net` is a file in this folder that becomes the run's. The row of an earlier attempt at the cell is replaced,
        and that attempt's parts removed; but not a row of a newer resbench.

        Raises:
            StoreError: when a file cannot be written, or replaced; what was recorded before stays.
        """
        row_file = self.table("runs").file(run.cell_id)
        if replaced := row_file.exists():
            self._check_replaceable(row_file)
        self._write_part("curves", run.cell_id, run.run_id, curve, CURVES)
        self._write_part("layers", run.cell_id, run.run_id, layers, LAYERS)
        if net:
            self.keep_net(run.cell_id, run.run_id, net)
        self._write(row_file, [row(cell, run)], RUNS)
        if replaced:  # looking through the folders takes time, so only then
            for stale in self._parts_of(run.cell_id):
                if stale.stem != f"{run.cell_id}-{run.run_id}":
                    stale.unlink(missing_ok=True)

    def _check_replaceable(self, row_file: Path) -> None:
        try:
            parts.read([row_file], pa.schema([_VERSION_COLUMN]), VERSION)
        except DamagedError:
            self.set_aside(row_file)

    def _parts_of(self, cell_id: str) -> Iterator[Path]:
        for part in _PARTS:
            yield from self.root.glob(part.replace("*", f"{cell_id}-*"))

    def keep_net(self, cell_id: str, run_id: str, file: Path) -> None:
        """Make a synced file in this folder the net of a finished run.

        Raises:
            StoreError: when it cannot be.
        """
        path = self.net(cell_id, run_id)
        with _storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file.replace(path)
            sync(path.parent)

    def commit_slices(self, cell_id: str, run_id: str, points: Sequence[SlicePoint]) -> None:
        """Record the loss slices of a finished run, in place of those taken before.

        Raises:
            StoreError: when the file cannot be written.
        """
        self._write_part("slices", cell_id, run_id, points, SLICES)

    def add_host(self, host: Host) -> None:
        """Record a machine that runs will refer to; once is enough."""
        path = self.root / "hosts" / f"{host.id}.parquet"
        if not path.exists():
            self._write(path, [{"host_id": host.id} | dataclasses.asdict(host)], HOSTS)

    def runs(self, ids: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of `runs`, of the cells in `ids` alone and with these columns alone where given, by cell.

        Raises:
            StoreError: naming the file that is damaged or written by a newer resbench.
        """
        named = None if columns is None else list(dict.fromkeys([*columns, "cell_id"]))
        rows = self._read("runs", ids, named).sort_by("cell_id")
        return rows if columns is None else rows.select(list(dict.fromkeys(["schema_version", *columns])))

    def recorded(self) -> set[str]:
        """The ids of the cells that have a row, however they ended; read from file names alone."""
        with _storing(self.root / "runs"):
            return self.table("runs").stems()

    def curves(self, runs: pa.Table) -> pa.Table:
        """The evaluations that belong to these rows of `runs`, in order of iteration within each run.

        Raises:
            StoreError: naming the file that is damaged, of a newer resbench, or missing.
        """
        found = self._read_parts("curves", runs)
        if lacking := damage.lacks(runs, found):
            if still := self.lacking(lacking):
                raise MissingError(damage.named(still.values()))
            raise StoreError(f"{self.root}: changed while it was read; try again")
        return found.sort_by([("cell_id", "ascending"), ("iteration", "ascending")])

    def layers(self, runs: pa.Table) -> pa.Table:
        """The layers that belong to these rows of `runs`, by iteration and depth within each run."""
        keys = ("cell_id", "iteration", "layer")
        return self._read_parts("layers", runs).sort_by([(key, "ascending") for key in keys])

    def slices(self, runs: pa.Table) -> pa.Table:
        """The points of loss slices that belong to these rows of `runs`."""
        keys = ("cell_id", "dimensions", "a", "b")
        return self._read_parts("slices", runs).sort_by([(key, "ascending") for key in keys])

    def table(self, name: str) -> Parted:
        """One of the tables: runs, curves, layers, slices, hosts."""
        return Parted(self.root, name, _TABLES[name], _FILE_OF.get(name, ("cell_id", "run_id")), VERSION)

    def _tables(self) -> dict[str, Parted]:
        return {name: self.table(name) for name in _TABLES}

    def hosts(self) -> dict[str, Host]:
        """The machines that rows refer to, by the id that rows name."""
        names = [f.name for f in dataclasses.fields(Host)]
        hosts = self._read("hosts").to_pylist()
        return {host["host_id"]: Host(**{name: host[name] for name in names}) for host in hosts}

    def data_checksums(self) -> dict[tuple[str, bool], set[str]]:
        """The checksums recorded for what cells read (`Cell.reads`)."""
        found: dict[tuple[str, bool], set[str]] = {}
        for seen in self._read("runs", columns=["data", "crop_size", "data_sha256"]).to_pylist():
            found.setdefault((seen["data"], bool(seen["crop_size"])), set()).add(seen["data_sha256"])
        return found

    def damaged(self, ids: Collection[str] | None = None) -> list[DamagedError]:
        """What is damaged of rows, of machines, and of the parts of these cells (None: of all), by checksums alone.

        Raises:
            StoreError: for a file that cannot be read for another reason.
        """
        with _storing(self.root):
            return damage.find(self.root, ids)

    def lacking(self, ids: Iterable[str] | None = None) -> dict[str, Path]:
        """Of these cells (None: of all) those that ended for good and have no curve, with the file where it should be.

        Raises:
            StoreError: when a table is damaged or newer.
        """
        with _storing(self.root):
            return damage.lacking(self._tables(), ids)

    def set_aside(self, path: Path) -> damage.Aside | None:
        """Move a damaged file into `damaged/`, and with it its run, whose cell is pending then.

        None where nothing damaged is there any more. Only where no other resbench writes (`Leases.held`).

        Raises:
            StoreError: when it cannot be moved.
        """
        return damage.set_aside(self._tables(), self.root, path)

    def withdraw(self, ids: Iterable[str]) -> tuple[list[Path], Path]:
        """Move those of these cells' runs that lack their curve into `damaged/`, so that the cells are pending.

        The files where the curves should have been, and the folder where the runs are now. Only where no other resbench
        writes (`Leases.held`).

        Raises:
            StoreError: when one cannot be moved.
        """
        return damage.withdraw(self._tables(), self.root, ids)

    def net(self, cell_id: str, run_id: str) -> Path:
        """Where a finished run's net is, if it was kept."""
        return self.root / "nets" / f"{_stem(cell_id, run_id)}.pt"

    def unclaimed_net(self, cell_id: str) -> Path:
        """Where a child leaves the net of a cell, until `commit` or `keep_net` makes it a run's."""
        return self.root / "nets" / f".{cell_id}.tmp"

    def checkpoint(self, cell_id: str) -> Path:
        """Where a cell under way keeps its state."""
        return self.root / "checkpoints" / f"{cell_id}.pt"

    def log(self, cell_id: str) -> Path:
        """Where a cell's output goes."""
        return self.root / "logs" / f"{cell_id}.log"

    @contextlib.contextmanager
    def writing(self) -> Iterator[Leases]:
        """Write, within, what is leased; the first orchestrator of several clears what a killed one left half-written.

        Raises:
            InputError: where it is no folder.
            StoreError: when the folder cannot be written.
        """
        with _storing(self.root):
            if self.root.exists() and not self.root.is_dir():
                raise InputError(f"--results {self.root}: is no folder")
            self.root.mkdir(parents=True, exist_ok=True)
        leases = Leases(self.root)
        with leases.owned():
            self._clear_if_alone(leases)
            yield leases
            with contextlib.suppress(StoreError):  # what was run is recorded; who reads it is told what is damaged
                if not leases.alone:
                    self._clear_if_alone(leases)  # what others left that were killed meanwhile
                for name in ("runs", "curves"):
                    with _storing(self.root / name):
                        self.table(name).refresh()

    def leftovers(self) -> Iterator[Path]:
        """Files half-written, and parts that no row names; of those that others are writing nothing is known here.

        Raises:
            StoreError: when a table cannot be read.
        """
        yield from self.root.glob("*/.*.tmp")
        named = self._read("runs", columns=["cell_id", "run_id"])
        kept = {f"{run['cell_id']}-{run['run_id']}" for run in named.to_pylist()}
        for pattern in _PARTS:
            for part in self.root.glob(pattern):
                if part.stem not in kept and packed.number(part.name) is None:
                    yield part

    def _clear_if_alone(self, leases: Leases) -> None:
        with leases.held():
            if not leases.others():
                self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        with contextlib.suppress(DamagedError):  # of which run parts are cannot be told before those are set aside
            for leftover in self.leftovers():
                with _storing(leftover):
                    leftover.unlink(missing_ok=True)

    def _write_part(self, name: str, cell_id: str, run_id: str, records: Sequence[Any], schema: pa.Schema) -> None:
        if records:
            keys = {"cell_id": cell_id, "run_id": run_id}
            path = self.root / name / f"{_stem(cell_id, run_id)}.parquet"
            self._write(path, [keys | vars(record) for record in records], schema)  # flat: nothing to copy

    def _write(self, path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        table = pa.Table.from_pylist([{"schema_version": VERSION} | values for values in rows], schema=schema)
        with _storing(path), replacing(path) as temporary:
            parts.write(table, temporary)

    def _read_parts(self, name: str, runs: pa.Table) -> pa.Table:
        pairs = zip(runs["cell_id"].to_pylist(), runs["run_id"].to_pylist(), strict=True)
        return self._read(name, (f"{cell_id}-{run_id}" for cell_id, run_id in pairs))

    def _read(self, name: str, stems: Iterable[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        with _storing(self.root / name):
            return self.table(name).read(stems, columns)


def _stem(cell_id: str, run_id: str) -> str:
    """What a run's files are called.

    Raises:
        StoreError: for ids that are none of ours: a row that somebody made up must not lead out of its folder.
    """
    stem = f"{cell_id}-{run_id}"
    if not _IDS.fullmatch(stem):
        raise StoreError(f"{shown(stem)}: not the ids of a run; a row of another's making is not followed")
    return stem


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"{path}: {reason}") from None
