"""What the commands of benchmarks do. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench import selection
from bench.errors import EXIT_OK, InputError
from bench.history import Calibration

if TYPE_CHECKING:
    from bench.benchmark import Benchmark
    from bench.checkout import Checkout
    from bench.comparison import Bout, Verdict
    from bench.history import History
    from bench.regress import Key
    from bench.rig import Rig
    from bench.study import Study


@contextmanager
def _rig(options: Namespace, study: Study, checkout: Checkout) -> Iterator[Rig]:
    from bench import rig
    from bench.sampling import Setting

    setting = Setting(threads=options.threads, windows=options.windows)
    with rig.opened(options.device, setting, checkout, study.sources) as opened:
        yield opened


def compare(options: Namespace) -> int:
    """Compare the speed and the memory of two checkouts."""
    from bench import bulletin, checkout, comparison

    study = selection.study(options)
    chosen = selection.benchmarks(options, study)
    tell = _console()
    with (
        checkout.opened(options.base) as base,
        checkout.opened(options.head) as head,
        _rig(options, study, head) as rig,
    ):
        history = _history(options)
        known = _calibrated(history, rig)
        bout = _bout(options, base, head, chosen, rig, known)
        tell(
            f"{base.label} against {head.label} on {rig.host.label}: {len(chosen)} benchmarks, {bout.pairs} pairs each"
        )
        verdicts = comparison.compare(bout, rig.gauge, tell, _recorder(history, rig, bout))
    facts = _facts(study, rig, bout)
    notes = [_where(rig, bout), bulletin.trust(known, verdicts, rig.host), f"Again: `{_again(options)}`"]
    _publish(options, f"{base.name} → {head.name}", verdicts, facts, notes)
    return bulletin.exit_code(verdicts)


def calibrate(options: Namespace) -> int:
    """Compare this checkout with itself, many times, and say what verdicts are worth here."""
    from bench import bulletin, calibration, checkout, comparison
    from bench.sample import CALIBRATION

    study = selection.study(options)
    chosen = selection.benchmarks(options, study)
    tell, history = _console(), _history(options)
    code, started = options.resume or uuid4().hex[:12], datetime.now(UTC)
    with checkout.opened(".") as here, _rig(options, study, here) as rig:
        bout = replace(_bout(options, here, here, chosen, rig, {}), slowdown=options.inject or 0.0)
        most = bout.pairs + bout.pairs // 2  # rounds of a comparison
        done = len(comparison.recorded(history.samples(CALIBRATION), code, most))
        tell(f"{here.label} against itself on {rig.host.label}: {len(chosen)} benchmarks, {options.runs} comparisons")
        tell(f"{done} are recorded; stopped, it goes on with --resume {code}")
        for number in range(done, options.runs):
            record = _recorder(history, rig, bout, CALIBRATION, code, first=number * most)
            said = f"comparison {number + 1} of {options.runs}"
            for _ in comparison.rounds(bout, chosen, said, rig.gauge, tell, record):
                pass
    runs = comparison.recorded(history.samples(CALIBRATION), code, most)
    spreads = calibration.spreads(runs)
    found = [
        Calibration(
            calibration_id=code,
            benchmark_id=name,
            clock=clock,
            host_id=rig.host.id,
            device=rig.setting.device,
            threads=rig.setting.threads,
            pairs=bout.pairs,
            windows=rig.setting.windows,
            window_seconds=rig.setting.window_seconds,
            margin=bout.rule.margin,
            injected=bout.slowdown,
            spread=spreads.get((name, clock)),
            slowdowns=calibration.SLOWDOWNS,
            commit=here.commit,
            started=started,
            **asdict(rates),
        )
        for (name, clock), rates in calibration.rates(runs, bout.rule, spreads).items()
    ]
    history.calibrate(found)
    names = {benchmark.id: benchmark.label for benchmark in chosen} | {calibration.ANY[0]: "any of them"}
    result = bulletin.calibrated(found, names)
    print(result.text())
    print(
        f"{rig.host.label} (host {rig.host.id}), torch {rig.host.torch}: {len(runs)} comparisons of {bout.pairs} pairs"
    )
    if options.markdown:
        _write(options.markdown, result.markdown() + "\n")
    return EXIT_OK


def _bout(
    options: Namespace,
    base: Checkout,
    head: Checkout,
    chosen: Sequence[Benchmark],
    rig: Rig,
    known: dict[Key, Calibration],
) -> Bout:
    from bench.comparison import Bout
    from bench.regress import Rule

    spreads = {name: c.spread for name, c in known.items() if c.spread is not None}
    return Bout(base, head, chosen, rig.setting, Rule(margin=options.margin), options.pairs, spreads)


def _history(options: Namespace) -> History:
    from bench.history import History

    return History(options.results)


def _calibrated(history: History, rig: Rig) -> dict[Key, Calibration]:
    """The latest calibration of each benchmark by each clock on this host, measured as here."""
    found = {}
    for c in history.calibrations():
        alike = (c.host_id, c.threads, c.windows) == (rig.host.id, rig.setting.threads, rig.setting.windows)
        if alike and c.device == rig.setting.device and not c.injected:
            found[c.benchmark_id, c.clock] = c
    return found


def _recorder(
    history: History, rig: Rig, bout: Bout, purpose: str | None = None, measurement: str | None = None, first: int = 0
) -> Any:
    """What writes each round's samples down; `purpose` in place of that of the round."""
    from bench.history import sample_of
    from bench.sample import Taking

    measurement, started = measurement or uuid4().hex[:12], datetime.now(UTC)
    history.add_host(rig.host)

    def record(said: str, number: int, found: Sequence[Any]) -> None:
        samples = []
        for index, (name, side) in enumerate((("base", bout.base), ("head", bout.head))):
            taking = Taking(
                measurement,
                purpose or said,
                name,
                first + number,
                side.commit,
                side.dirty,
                side.committed,
                rig.host.id,
                rig.setting.device,
                rig.setting.threads,
                bout.slowdown if name == "head" else None,
                started,
            )
            samples += [sample_of(benchmark, taking, outcomes[index]) for benchmark, *outcomes in found]
        history.add(samples)

    return record


def _facts(study: Study, rig: Rig, bout: Bout) -> dict[str, Any]:
    sides = {
        name: {"name": side.name, "commit": side.commit, "dirty": side.dirty}
        for name, side in (("base", bout.base), ("head", bout.head))
    }
    rule = asdict(bout.rule) | {"pairs": bout.pairs, "windows": rig.setting.windows}
    return sides | {"study": study.name, "rule": rule, "host": asdict(rig.host) | {"id": rig.host.id}}


def _where(rig: Rig, bout: Bout) -> str:
    from bench.sampling import CLOCKS

    host, setting = rig.host, rig.setting
    cuda = f", CUDA {host.cuda}, driver {host.driver}" if host.gpu else f", threads: {setting.threads}"
    return (
        f"Base {bout.base.label}, head {bout.head.label}. {host.label}, torch {host.torch}{cuda}; "
        f"timed by {CLOCKS[setting.clock]}. {bout.pairs} pairs of fresh processes, {setting.windows} windows "
        f"of {setting.window_seconds:g} s a side, in turns; bounds are one-sided, {bout.rule.confidence:.0%}."
    )


def _again(options: Namespace) -> str:
    only = f" --only '{options.only}'" if options.only else ""
    return f"resbench compare {options.base} {options.head} --study {options.study}{only} --pairs {options.pairs}"


def _publish(
    options: Namespace, title: str, verdicts: Sequence[Verdict], facts: dict[str, Any], notes: Sequence[str]
) -> None:
    """Print the table, and write the files that were asked for."""
    from bench import bulletin

    print(bulletin.compared(verdicts).text())
    for line in [*bulletin.reasons(verdicts), f"{title}: {bulletin.tally(verdicts)}", *notes]:
        print(line)
    texts = {
        options.markdown: lambda: bulletin.markdown(title, verdicts, notes),
        options.junit: lambda: bulletin.junit(title, verdicts),
        options.json: lambda: bulletin.as_json(facts, verdicts),
    }
    for path, text in texts.items():
        if path is not None:
            _write(path, text())


def _write(path: Path, text: str) -> None:
    from bench.parts import replacing

    try:
        with replacing(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _console() -> Any:
    """Tells how it goes, on standard error: standard output has the result."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    return lambda text: console.print(text, markup=False, highlight=False)
