"""What commands that measure have in common: where they do, what they write down, how they tell."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench import bulletin, rig, terminal
from bench.benchmark import Benchmark
from bench.bulletin import Line
from bench.checkout import Checkout
from bench.comparison import Bout, Run, Take, recorded
from bench.errors import InputError, StoreError
from bench.history import History, Sample, sample_of
from bench.parts import replacing
from bench.rig import Rig
from bench.sample import CALIBRATION, Outcome, Taking
from bench.sampling import CLOCKS, Setting
from bench.study import Study
from bench.table import Table
from bench.terminal import say


@contextmanager
def opened(options: Namespace, study: Study, checkout: Checkout) -> Iterator[Rig]:
    """The rig that the options name.

    Raises:
        DeviceError, InputError: as `bench.rig.opened`.
        StoreError: where what is measured could not be recorded.
    """
    _check_results(options.results)
    setting = Setting(threads=options.threads, windows=options.windows)
    with rig.opened(options.device, setting, checkout, study.sources) as found:
        yield found


def _check_results(root: Path) -> None:
    try:
        _try_to_write(root)
    except OSError as error:
        raise StoreError(f"{root}: {error.strerror}") from None


def _try_to_write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@dataclass(frozen=True)
class Recorder:
    """Writes one command's samples into the history, under one measurement."""

    history: History
    rig: Rig
    measurement: str = field(default_factory=lambda: uuid4().hex[:12])
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(
        self,
        purpose: str,
        checkout: Checkout,
        found: Sequence[tuple[Benchmark, Outcome]],
        *,
        side: str | None = None,
        pair: int | None = None,
        injected: float | None = None,
    ) -> list[Sample]:
        """Write a part with the outcomes of one checkout's processes; the samples they are."""
        taking = Taking(
            measurement_id=self.measurement,
            purpose=purpose,
            side=side,
            pair=pair,
            commit=checkout.commit,
            dirty=checkout.dirty,
            committed=checkout.committed,
            host_id=self.rig.host.id,
            device=self.rig.setting.device,
            threads=self.rig.setting.threads,
            injected=injected,
            started=self.started,
        )
        samples = [sample_of(benchmark, taking, outcome) for benchmark, outcome in found]
        self.history.add_host(self.rig.host)
        self.history.add(samples)
        return samples


def history(options: Namespace) -> History:
    """That of the results folder which the options name."""
    return History(options.results)


def side(checkout: Checkout) -> dict[str, Any]:
    """What JSON tells of a checkout."""
    return {"name": checkout.name, "commit": checkout.commit, "dirty": checkout.dirty}


def pairs_into(recorder: Recorder, bout: Bout, purpose: str | None = None, first: int = 0) -> Take:
    """What writes each round's samples down, `purpose` in place of the round's own; pairs are numbered from `first`."""

    def record(said: str, number: int, found: Sequence[Any]) -> None:
        sides = (("base", bout.base, None), ("head", bout.head, bout.slowdown or None))
        for index, (side, checkout, injected) in enumerate(sides):
            outcomes = [(benchmark, both[index]) for benchmark, *both in found]
            recorder.add(purpose or said, checkout, outcomes, side=side, pair=first + number, injected=injected)

    return record


def comparisons(recorder: Recorder, bout: Bout, resumed: str | None = None) -> list[tuple[int, Run]]:
    """The finished comparisons of a calibration, with their numbers; of one that is `resumed`, also those of before.

    Raises:
        InputError: where what is to be resumed is not there, or was measured otherwise.
    """
    rig, samples = recorder.rig, recorder.history.samples(CALIBRATION)
    ours = [sample for sample in samples if sample.taking.measurement_id == recorder.measurement]
    where = f"--resume {resumed}"
    if resumed and not ours:
        raise InputError(f"{where}: no calibration in {recorder.history.root} has this id")
    as_here = rig.host.id, rig.setting.device, rig.setting.threads, bout.slowdown
    for sample in ours:
        taking, windows = sample.taking, len(sample.outcome.window_seconds)
        injected = (taking.injected or 0.0) if taking.side == "head" else bout.slowdown
        as_there = taking.host_id, taking.device, taking.threads, injected
        if as_there != as_here or windows not in (0, rig.setting.windows):
            raise InputError(f"{where}: measured elsewhere or otherwise; repeat its --threads, --windows and --inject")
    try:
        return recorded(ours, bout.benchmarks, bout.pairs)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def console() -> Callable[[str], None]:
    """Tells how it goes, on standard error: standard output has the result."""
    return terminal.console(stderr=True, soft_wrap=True).print


def place(rig: Rig) -> str:
    """On what was measured, and how, in a sentence or two."""
    host, setting = rig.host, rig.setting
    system = f"CUDA {host.cuda}, driver {host.driver}" if host.gpu else f"threads: {setting.threads}"
    return (
        f"{host.label} (host {host.id}), torch {host.torch}, {system}; timed by {CLOCKS[setting.clock]}, in "
        f"{setting.windows} windows of at least {setting.window_seconds:g} s a process."
    )


def publish(
    options: Namespace,
    title: str,
    lines: Sequence[Line],
    table: Table,
    facts: Mapping[str, Any],
    notes: Sequence[str],
    again: str | None = None,
) -> None:
    """Print a result, and write it into the files that the options name. `again` is the command that repeats it.

    Raises:
        InputError: where one cannot be written.
    """
    say(table.text())
    told = [*bulletin.reasons(lines), f"{title}: {bulletin.tally(lines)}", *notes]
    say(*told, *([f"Again: {again}"] if again else []))
    texts = {
        options.markdown: lambda: bulletin.markdown(title, lines, table, notes, again),
        options.junit: lambda: bulletin.junit(title, lines),
        options.json: lambda: bulletin.as_json(facts, lines),
    }
    for path, text in texts.items():
        if path is not None:
            write(path, text())


def check_writable(*paths: Path | None) -> None:
    """Whether the files that are asked for can be written: said before anything is measured.

    Raises:
        InputError: where one cannot.
    """
    for path in filter(None, paths):
        try:
            _try_to_write(path.parent)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        if path.is_dir():
            raise InputError(f"{path}: cannot be written: it is a folder")


def write(path: Path, text: str) -> None:
    """Write a file that was asked for.

    Raises:
        InputError: where it cannot be.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode(errors="replace"))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def facts(study: Study, rig: Rig, **others: Any) -> dict[str, Any]:
    """What JSON tells beside verdicts."""
    setting = asdict(rig.setting)
    del setting["sources"]
    return {"study": study.name, "host": asdict(rig.host) | {"id": rig.host.id}, "setting": setting} | others
