"""Measurements of pytest-benchmark's: a file that `--benchmark-json` wrote, as samples of the history."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

from bench import field
from bench.benchmark import Benchmark, from_flat
from bench.errors import FieldError, InputError, shown
from bench.field import Kind, real, switch, whole
from bench.history import History, Sample, sample_of
from bench.host import VECTOR_FLAGS, Host
from bench.sample import IMPORTED, WALL, Outcome, Taking

UNKNOWN = ("unversioned", "unknown")  # what pytest-benchmark calls a commit outside of git, or where git failed


@dataclass(frozen=True)
class Imported:
    """What a file holds: the machine, and a sample for each of its benchmarks. The same file is one measurement."""

    host: Host
    samples: tuple[Sample, ...]


def read(path: Path) -> Imported:
    """The samples in a file of pytest-benchmark's.

    A benchmark is known by its full name. One of resbench's own has its fields in `extra_info["benchmark"]`, as
    `Benchmark.flat` gives them, and the file their host in `machine_info["resbench_host"]`. Of `extra_info` are also
    taken, where they are there, `calls` (how many a round has, else 1), `images` (of a call), `device` and `threads`.
    Windows are the rounds, or their median where the file was written without data; what is not known of a foreign
    host, and of its threads, is 0 or "unknown".

    Raises:
        InputError: where the file cannot be read or is not such a file: names file, key, value and what is allowed.
    """
    content, table = _parse(path)
    where = str(path)
    machine = _get(table, "machine_info", TABLE, where)
    host = _host(machine, f"{where}: machine_info")
    commit = _get(table, "commit_info", TABLE, where, {})
    about = f"{where}: commit_info"
    name = _get(commit, "id", TEXT, about, None)
    common = {
        "measurement_id": hashlib.sha256(content).hexdigest()[:12],
        "purpose": IMPORTED,
        "side": None,
        "pair": None,
        "commit": None if name in UNKNOWN else name,
        "dirty": _get(commit, "dirty", switch(), about, None),
        "committed": _get(commit, "time", WHEN, about, None),
        "host_id": host.id,
        "injected": None,
        "started": _get(table, "datetime", WHEN, where),
    }
    found = _get(table, "benchmarks", LIST, where)
    if not found:
        raise FieldError("benchmarks", found, "at least one", where)
    return Imported(
        host, tuple(_sample(item, common, host, f"{where}: benchmarks[{n}]") for n, item in enumerate(found))
    )


def add(imported: Imported, history: History) -> bool:
    """Write it into a history; False, and nothing written, where the same file is there already.

    Raises:
        StoreError: where the history cannot be read or written.
    """
    there = {sample.taking.measurement_id for sample in history.samples(IMPORTED)}
    if any(sample.taking.measurement_id in there for sample in imported.samples):
        return False
    history.add_host(imported.host)
    history.add(imported.samples)
    return True


def _parse(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = path.read_bytes()
        table = json.loads(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {str(error) or type(error).__name__}") from None
    if not isinstance(table, dict):
        raise InputError(f"{path}: must be what --benchmark-json writes, not {shown(table)}")
    return content, table


def _sample(item: Any, common: Mapping[str, Any], host: Host, where: str) -> Sample:
    if not isinstance(item, dict):
        raise InputError(f"{where}: must be a table, not {shown(item)}")
    name = _get(item, "fullname", TEXT, where)
    extra = _get(item, "extra_info", TABLE, where, {})
    about = f"{where}.extra_info"
    taking = Taking(
        device=_get(extra, "device", TEXT, about, "cuda:0" if host.gpu else "cpu"),
        threads=_get(extra, "threads", COUNT, about, 0),
        **common,
    )
    outcome = Outcome(
        clock=WALL,
        images=_get(extra, "images", COUNT, about, None),
        calls=_get(extra, "calls", COUNT, about, 1),
        window_seconds=_windows(_get(item, "stats", TABLE, where), f"{where}.stats"),
    )
    if flat := _get(extra, "benchmark", TABLE, about, None):
        return sample_of(_benchmark(flat, f"{about}.benchmark"), taking, outcome)
    return Sample(hashlib.sha256(name.encode()).hexdigest()[:16], name, None, taking, outcome)


def _windows(stats: dict[str, Any], where: str) -> tuple[float, ...]:
    if "data" not in stats:
        return (_get(stats, "median", SECONDS, where),)
    rounds = _get(stats, "data", LIST, where)
    if not rounds:
        raise FieldError("data", rounds, "at least one round's seconds", where)
    return tuple(_get({"data": value}, "data", SECONDS, where) for value in rounds)


def _benchmark(flat: dict[str, Any], where: str) -> Benchmark:
    for key in ("work", "data"):
        _get(flat, key, TEXT, where)
    try:
        return from_flat(flat)
    except FieldError as error:
        raise error.at(where) from None


def _host(machine: dict[str, Any], where: str) -> Host:
    if ours := _get(machine, "resbench_host", TABLE, where, None):
        return _own_host(ours, f"{where}.resbench_host")
    cpu = _get(machine, "cpu", TABLE, where, {})
    about = f"{where}.cpu"
    named = [_get(cpu, key, TEXT, about, None) for key in ("brand_raw", "brand")]
    flags = [_get({"flags": flag}, "flags", TEXT, about) for flag in _get(cpu, "flags", LIST, about, [])]
    system = [_get(machine, key, TEXT, where, None) for key in ("system", "machine")]
    empty = dict.fromkeys(("gpu", "gpu_memory_gib", "gpu_power_limit_watts", "driver", "cuda", "cudnn"))
    return Host(
        cpu=next(filter(None, named), "unknown"),
        cores=_get(cpu, "count", COUNT, about, 0),
        memory_gib=0,
        system=" ".join(filter(None, system)) or "unknown",
        torch="unknown",
        instructions=" ".join(sorted(flag for flag in flags if flag.startswith(VECTOR_FLAGS))) or None,
        **empty,
    )


def _own_host(fields: dict[str, Any], where: str) -> Host:
    """The host with these fields: `dataclasses.asdict` of it."""
    hints = typing.get_type_hints(Host)
    if unknown := [key for key in fields if key not in hints]:
        raise FieldError(unknown[0], fields[unknown[0]], ", ".join(hints), where)
    values = {}
    for key, hint in hints.items():
        optional = NoneType in typing.get_args(hint)
        kind = next(KINDS[t] for t in (typing.get_args(hint) or (hint,)) if t is not NoneType)
        values[key] = _get(fields, key, kind, where, *([None] if optional else []))
    return Host(**values)


def _get(table: Mapping[str, Any], key: str, kind: Kind, where: str, *default: Any) -> Any:
    """The value under a key, as `kind` has it; the default where there is one and no value."""
    value = table.get(key)
    if value is None:
        if default:
            return default[0]
        raise FieldError(key, "nothing", kind.allowed, where)
    try:
        return field.canonical(key, kind, value)
    except FieldError as error:
        raise error.at(where) from None


def _a(kind: type, words: str) -> Kind:
    def canonical(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError
        return value

    return Kind(kind, words, canonical)


def _text(value: Any) -> str:
    if not value.encode() or not value.strip():  # which raises for half a character
        raise ValueError
    return value


def _when(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _of_text(words: str, canonical: Callable[[Any], Any]) -> Kind:
    def checked(value: Any) -> Any:
        if type(value) is not str:
            raise ValueError
        return canonical(value)

    return Kind(str, words, checked)


TABLE, LIST = _a(dict, "a table"), _a(list, "a list")
TEXT, WHEN = _of_text("a text", _text), _of_text("a time as in ISO 8601", _when)
COUNT, SECONDS = whole(1, 2**53), real(1e-12, 1e9)
KINDS = {str: TEXT, int: whole(0, 2**53), float: real(0, 1e9)}
