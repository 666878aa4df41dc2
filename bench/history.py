"""The history of measurements: parquet files that are only ever added, so that two histories are merged by copying.

samples/<part>.parquet        benchmarks measured, a row each: raw windows, memory, what the GPU said (`bench.sample`)
marks/<part>.parquet          levels accepted, with a note
calibrations/<part>.parquet   what comparisons of equal code gave on a host
hosts/<host id>.parquet       as in `bench.store`

A part's name is drawn by chance; names never meet, whoever writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import parts
from bench.benchmark import Benchmark, from_flat
from bench.cell import FIELDS
from bench.errors import StoreError
from bench.host import Host
from bench.index import Index
from bench.sample import Outcome, Taking
from bench.schema import TYPES, fields_of
from bench.store import Store

VERSION = 1  # of every schema here
_KEYS = [pa.field("schema_version", pa.int64()), pa.field("part", pa.string())]


@dataclass(frozen=True)
class Mark:
    """From this commit on, the level of a benchmark on a host is accepted. `host_id` None: on every host."""

    benchmark_id: str
    host_id: str | None
    commit: str
    committed: datetime
    note: str
    accepted: datetime


@dataclass(frozen=True)
class Calibration:
    """What comparisons of equal code gave for one benchmark by one clock on a host; as "any", for any of them by any.

    `spread` is the standard deviation of a pair's ln ratio. `alarms` of `runs` comparisons of `pairs` pairs found a
    regression, where there is none or, by `injected`, one made on purpose; `low` and `high` are the ends of the rate's
    95 % interval (Clopper and Pearson), `resampled` the share of those put together from their rounds that did so.
    `powers` are the shares of the comparisons that find slowdowns by `slowdowns`.
    """

    calibration_id: str
    benchmark_id: str
    clock: str
    host_id: str
    device: str
    threads: int
    pairs: int
    windows: int
    window_seconds: float
    runs: int
    margin: float
    injected: float
    spread: float | None
    alarms: int
    low: float
    high: float
    resampled: float
    slowdowns: tuple[float, ...]
    powers: tuple[float, ...]
    commit: str | None
    started: datetime


_BENCHMARK = [
    pa.field("benchmark_id", pa.string()),
    pa.field("name", pa.string()),
    pa.field("work", pa.string()),
    *(pa.field(name, TYPES[kind.type]) for name, kind in FIELDS.items()),
]
SAMPLES = pa.schema(
    [
        *_KEYS,
        *_BENCHMARK,
        *fields_of(Taking),
        *fields_of(Outcome),
        pa.field("seconds", pa.float64()),
        pa.field("images_per_second", pa.float64()),
    ]
)
MARKS = pa.schema([*_KEYS, *fields_of(Mark)])
CALIBRATIONS = pa.schema([*_KEYS, *fields_of(Calibration)])


@dataclass(frozen=True)
class Sample:
    """A benchmark's outcome, and how it was taken. Imported ones are not ours: they have a name and no benchmark."""

    benchmark_id: str
    name: str
    benchmark: Benchmark | None
    taking: Taking
    outcome: Outcome


def sample_of(benchmark: Benchmark, taking: Taking, outcome: Outcome) -> Sample:
    """A sample of one of our benchmarks."""
    return Sample(benchmark.id, benchmark.label, benchmark, taking, outcome)


class History:
    """The history in a results folder. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, samples: Sequence[Sample]) -> None:
        """Write samples as a part of their own.

        Raises:
            StoreError: when it cannot be written.
        """
        self._write("samples", SAMPLES, map(_row, samples))

    def samples(self, purpose: str | None = None) -> list[Sample]:
        """All samples (of a purpose), in order of their commits' times, then of their own.

        Raises:
            StoreError: naming the file that is damaged or written by a newer resbench.
        """
        rows = self._read("samples", SAMPLES).to_pylist()
        found = [_sample(row) for row in rows if purpose in (None, row["purpose"])]
        return sorted(found, key=lambda s: (s.taking.committed or s.taking.started, s.taking.started))

    def accept(self, marks: Sequence[Mark]) -> None:
        """Record that levels are accepted."""
        self._write("marks", MARKS, map(asdict, marks))

    def marks(self) -> list[Mark]:
        """The accepted levels, oldest commit first."""
        found = [_record(Mark, row) for row in self._read("marks", MARKS).to_pylist()]
        return sorted(found, key=lambda mark: (mark.committed, mark.accepted))

    def calibrate(self, calibrations: Sequence[Calibration]) -> None:
        """Record what a calibration gave."""
        self._write("calibrations", CALIBRATIONS, map(asdict, calibrations))

    def calibrations(self) -> list[Calibration]:
        """All that were recorded, oldest first."""
        found = [_record(Calibration, row) for row in self._read("calibrations", CALIBRATIONS).to_pylist()]
        return sorted(found, key=lambda calibration: calibration.started)

    def add_host(self, host: Host) -> None:
        """Record a machine that samples refer to."""
        Store(self.root).add_host(host)

    def hosts(self) -> dict[str, Host]:
        """The machines by id."""
        return Store(self.root).hosts()

    def _write(self, name: str, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
        part = uuid.uuid4().hex[:16]
        keyed = [{"schema_version": VERSION, "part": part} | row for row in rows]
        path = self.root / name / f"{part}.parquet"
        try:
            with parts.replacing(path) as temporary:
                parts.write(pa.Table.from_pylist(keyed, schema=schema), temporary)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        folder = self.root / name
        names = {path.name for path in folder.glob("*.parquet") if not path.name.startswith((".", "_"))}
        index = Index(folder, self.root / ".index" / f"{name}.arrow", schema, ("part",), VERSION)
        return index.read(names, schema.names)


def _row(sample: Sample) -> dict[str, Any]:
    flat = sample.benchmark.flat() if sample.benchmark else {}
    measured = {"seconds": sample.outcome.seconds, "images_per_second": sample.outcome.images_per_second}
    named = {"benchmark_id": sample.benchmark_id, "name": sample.name}
    return named | flat | asdict(sample.taking) | asdict(sample.outcome) | measured


def _sample(row: dict[str, Any]) -> Sample:
    flat = {name: row[name] for name in ("work", *FIELDS)}
    benchmark = from_flat(flat) if row["work"] else None
    return Sample(row["benchmark_id"], row["name"], benchmark, _record(Taking, row), _record(Outcome, row))


def _record(kind: Any, row: dict[str, Any]) -> Any:
    """The record in a row; what is null there, as in tables from before a column existed, has its default."""

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    told = {field.name: plain(row[field.name]) for field in fields(kind)}
    defaults = {field.name for field in fields(kind) if field.default is not MISSING}
    return kind(**{name: value for name, value in told.items() if value is not None or name not in defaults})
