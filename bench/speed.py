"""What the commands of benchmarks do. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench import selection
from bench.errors import EXIT_NOTHING, EXIT_OK, InputError

if TYPE_CHECKING:
    from bench.benchmark import Benchmark
    from bench.checkout import Checkout
    from bench.comparison import Bout
    from bench.history import Calibration, History, Sample
    from bench.regress import Key
    from bench.rig import Rig
    from bench.session import Recorder
    from bench.trend import Limits


def measure(options: Namespace) -> int:
    """Measure benchmarks of this checkout, and add them to the history."""
    from bench import checkout, session, speedtables
    from bench.sample import HISTORY
    from bench.series import series

    study = selection.study(options)
    chosen, tell = selection.benchmarks(options, study), session.console()
    with checkout.opened(options.of) as here, session.opened(options, study, here) as rig:
        recorder = session.Recorder(_history(options), rig)
        samples = _take(recorder, here, chosen, options.samples, HISTORY, tell)
    points = [found.points[0] for found in series(samples, (), {})]
    print(speedtables.measured(points).text())
    for label, why in dict.fromkeys((s.name, s.outcome.failed) for s in samples if s.outcome.failed):
        print(f"{label}: not measured: {why}")
    print(session.place(rig), f"Recorded in {options.results}/samples, of {here.label}.", sep="\n")
    return EXIT_OK if points else EXIT_NOTHING


def _take(
    recorder: Recorder, here: Checkout, chosen: Sequence[Benchmark], processes: int, purpose: str, tell: Any
) -> list[Sample]:
    """Samples of each benchmark, from so many processes."""
    from bench.sampling import measure

    samples: list[Sample] = []
    for number in range(processes):
        tell(f"{purpose}: process {number + 1} of {processes}, benchmarks: {len(chosen)}")
        found: list[Any] = []
        try:
            found.extend(measure(here, chosen, recorder.rig.setting, recorder.rig.gauge))
        finally:  # what was measured before an interruption counts
            if found:
                samples += recorder.add(purpose, here, found)
    return samples


def compare(options: Namespace) -> int:
    """Compare the speed and the memory of two checkouts."""
    from bench import bulletin, checkout, comparison, session, speedtables

    study = selection.study(options)
    chosen, tell = selection.benchmarks(options, study), session.console()
    session.check_writable(options.markdown, options.junit, options.json)
    with (
        checkout.opened(options.base) as base,
        checkout.opened(options.head) as head,
        session.opened(options, study, head) as rig,
    ):
        history = _history(options)
        known = _calibrated(history, rig, options)
        bout = _bout(options, base, head, chosen, rig, known)
        tell(f"{head.label} against {base.label}; benchmarks: {len(chosen)}, pairs: {bout.pairs}; {rig.host.label}")
        verdicts = comparison.compare(bout, rig.gauge, tell, session.pairs_into(session.Recorder(history, rig), bout))
    lines = speedtables.of_comparison(verdicts)
    sides = {"base": _side(base), "head": _side(head)}
    facts = session.facts(study, rig, **sides, rule=vars(bout.rule) | {"pairs": bout.pairs})
    notes = [
        f"Base {base.label}, head {head.label}; {bout.pairs} pairs of fresh processes, whose windows take turns; bounds"
        f" are one-sided, {bout.rule.confidence:.0%}.",
        session.place(rig),
        speedtables.trust(known, verdicts, rig.host, bout.rule, bout.pairs),
    ]
    table = speedtables.compared(verdicts)
    session.publish(options, f"{base.name} → {head.name}", lines, table, facts, notes, _again(options))
    return bulletin.exit_code(lines)


def _side(checkout: Checkout) -> dict[str, Any]:
    return {"name": checkout.name, "commit": checkout.commit, "dirty": checkout.dirty}


def _again(options: Namespace) -> str:
    import shlex

    words = ["resbench", "compare", options.base, options.head, "--study", options.study]
    words += [word for setting in options.set for word in ("--set", setting)]
    words += ["--only", options.only] if options.only else []
    for name in ("device", "threads", "pairs", "windows"):
        words += [f"--{name}", getattr(options, name)]
    return shlex.join(map(str, [*words, "--margin", f"{100 * options.margin:g}"]))


def calibrate(options: Namespace) -> int:
    """Compare this checkout with itself, many times, and say what verdicts are worth here."""
    from dataclasses import asdict, replace

    from bench import calibration, checkout, comparison, session, speedtables
    from bench.history import Calibration
    from bench.sample import CALIBRATION
    from bench.table import escaped

    study = selection.study(options)
    chosen, tell, history = selection.benchmarks(options, study), session.console(), _history(options)
    session.check_writable(options.markdown)
    with checkout.opened(".") as here, session.opened(options, study, here) as rig:
        bout = replace(_bout(options, here, here, chosen, rig, {}), slowdown=options.inject or 0.0)
        recorder = session.Recorder(history, rig, **({"measurement": options.resume} if options.resume else {}))
        done = session.comparisons(recorder, bout, options.resume)
        tell(f"{here.label} against itself; benchmarks: {len(chosen)}, comparisons: {options.runs}; {rig.host.label}")
        tell(f"stopped, it goes on with --resume {recorder.measurement}")
        for number in sorted(set(range(options.runs)) - dict(done).keys()):
            record = session.pairs_into(recorder, bout, CALIBRATION, first=number * comparison.most_rounds(bout.pairs))
            said = f"comparison {number + 1} of {options.runs}"
            for _ in comparison.rounds(bout, chosen, said, rig.gauge, tell, record):
                pass
    done = session.comparisons(recorder, bout, options.resume)
    runs = [comparison.ratios(run) for _, run in done]
    spreads = calibration.spreads(runs, bout.slowdown)
    for label, why in dict.fromkeys(_without(chosen, done, spreads)):
        print(f"{label}: not measured: {why}")
    if not spreads:
        return EXIT_NOTHING
    found = [
        Calibration(
            calibration_id=recorder.measurement,
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
            started=recorder.started,
            **asdict(rates),
        )
        for (name, clock), rates in calibration.rates(runs, bout.rule, spreads, bout.slowdown).items()
    ]
    history.calibrate(found)
    names = {benchmark.id: benchmark.label for benchmark in chosen} | {calibration.ANY[0]: "any of them"}
    table = speedtables.calibrated(found, names)
    injected = f" head slower by {bout.slowdown:.1%} on purpose;" if bout.slowdown else ""
    note = f"{len(runs)} comparisons of equal code, of {bout.pairs} pairs each;{injected} {session.place(rig)}"
    print(table.text(), note, sep="\n")
    if options.markdown:
        session.write(options.markdown, f"{table.markdown()}\n\n{escaped(note)}\n")
    return EXIT_OK


def fit(options: Namespace) -> int:
    """Find the largest batch that fits into memory."""
    import json
    import tempfile
    from dataclasses import asdict
    from pathlib import Path

    from bench import fit, session
    from bench.cell import Recipe
    from bench.errors import FieldError

    arch, size, classes = selection.arch(options, "fit")
    try:
        recipe = Recipe(precision=options.precision, memory_format=options.memory_format)
        with tempfile.TemporaryDirectory() as folder:
            found = fit.largest_batch(
                arch,
                recipe,
                channels=options.channels,
                size=size,
                classes=classes,
                inference=options.inference,
                device=options.device,
                memory=options.memory,
                threads=options.threads,
                told=session.console(),
                log=Path(folder) / "fit.log",
            )
    except FieldError as error:
        raise error.at("resbench fit") from None
    if options.json:
        print(json.dumps({"arch": vars(arch), "size": size, "classes": classes} | asdict(found), indent=2))
        return EXIT_OK
    print(fit.described(found, arch, size))
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

    rule = Rule(margin=options.margin)
    if options.pairs < (least := rule.least_pairs(len(chosen))):
        raise InputError(f"--pairs {options.pairs}: cannot show that one of {len(chosen)} is slower; at least {least}")
    spreads = {key: c.spread for key, c in known.items() if c.spread is not None}
    return Bout(base, head, chosen, rig.setting, rule, options.pairs, spreads)


def _history(options: Namespace) -> History:
    from bench.history import History

    return History(options.results)


def _calibrated(history: History, rig: Rig, options: Namespace) -> dict[Key, Calibration]:
    """The latest calibration of each benchmark by each clock on this host, measured as here; if there is one, the
    latest of as many pairs, judged by the same margin."""
    setting = rig.setting
    here = rig.host.id, setting.device, setting.threads, setting.windows
    alike = [c for c in history.calibrations() if (c.host_id, c.device, c.threads, c.windows) == here]
    alike.sort(key=lambda c: (c.pairs, c.margin) == (options.pairs, options.margin))
    return {(c.benchmark_id, c.clock): c for c in alike if not c.injected}


def _without(chosen: Sequence[Benchmark], done: Sequence[Any], spreads: Any) -> list[tuple[str, str]]:
    """The benchmarks that no comparison has a valid pair of, and why."""
    found = {name for name, _ in spreads}
    return [
        (benchmark.label, next((pair.trouble for _, run in done for pair in run[benchmark.id]), "no pair was taken"))
        for benchmark in chosen
        if benchmark.id not in found
    ]


def gate(options: Namespace) -> int:
    """Measure this checkout, and judge it by the history of this host."""
    from bench import bulletin, checkout, session, speedtables
    from bench import gate as gates
    from bench.sample import CONFIRMATION, HISTORY
    from bench.trend import Limits

    study = selection.study(options)
    chosen, tell, history = selection.benchmarks(options, study), session.console(), _history(options)
    limits = Limits(minimum=options.margin)
    session.check_writable(options.markdown, options.junit, options.json)
    with checkout.opened(".") as here, session.opened(options, study, here) as rig:
        recorder = session.Recorder(history, rig)
        before = history.samples(HISTORY)
        taken = _take(recorder, here, chosen, options.samples, HISTORY, tell)
        levels = _levels(history, before, taken, [], chosen, limits)
        if doubtful := gates.flagged(levels):
            tell(f"out of line: {len(doubtful)}; measured again")
            suspects = [benchmark for benchmark in chosen if benchmark.id in doubtful]
            again = _take(recorder, here, suspects, options.samples, CONFIRMATION, tell)
            levels = _levels(history, before, taken, again, chosen, limits)
    found = list(levels.values())
    lines = speedtables.of_gate(found)
    facts = session.facts(study, rig, head=_side(here), limits=vars(limits))
    notes = [f"{here.label}. {session.place(rig)}", *_strangers(history, before, rig)]
    session.publish(options, f"{here.label} by its history", lines, speedtables.gated(found), facts, notes)
    return bulletin.exit_code(lines)


def _levels(
    history: History,
    before: Sequence[Sample],
    taken: Sequence[Sample],
    again: Sequence[Sample],
    chosen: Sequence[Benchmark],
    limits: Limits,
) -> dict[str, Any]:
    from bench import gate as gates
    from bench.series import series

    hosts, marks = history.hosts(), history.marks()
    host_id = taken[0].taking.host_id
    now, fresh = ({s.benchmark_id: s.points[0] for s in series(samples, (), {})} for samples in (taken, again))
    earlier = {s.benchmark_id: s for s in series(before, marks, hosts) if s.alike(taken[0])}
    assert all(series.host_id == host_id for series in earlier.values())
    return {
        benchmark.id: gates.judge(
            benchmark,
            earlier.get(benchmark.id),
            now.get(benchmark.id),
            [sample.outcome for sample in taken if sample.benchmark_id == benchmark.id],
            limits,
            fresh.get(benchmark.id),
        )
        for benchmark in chosen
    }


def _strangers(history: History, before: Sequence[Sample], rig: Rig) -> list[str]:
    """What in the history it was not held against, and what tells it apart: other hosts, this one used otherwise."""
    from bench.host import unlike

    hosts, setting = history.hosts(), rig.setting
    ways = {(s.taking.host_id, s.taking.device, s.taking.threads) for s in before}
    others = {host_id for host_id, _, _ in ways} & hosts.keys() - {rig.host.id}
    notes = [f"Not compared with host {other}: {unlike(hosts[other], rig.host)}." for other in sorted(others)]
    for host_id, device, threads in sorted(ways - {(rig.host.id, setting.device, setting.threads)}):
        if host_id == rig.host.id:
            here = f"device {device} against {setting.device}; threads {threads} against {setting.threads}"
            notes.append(f"Not compared with what was measured otherwise on this host: {here}.")
    return notes


def accept(options: Namespace) -> int:
    """Record that benchmarks' levels from a commit on are accepted."""
    from datetime import UTC, datetime

    from bench import checkout
    from bench.history import Mark

    study = selection.study(options)
    chosen, history = selection.benchmarks(options, study), _history(options)
    if not options.note.strip():
        raise InputError("--note: must say why the level is accepted")
    if options.host is not None and options.host not in (hosts := history.hosts()):
        there = ", ".join(sorted(hosts)) or "none"
        raise InputError(f"--host {options.host}: no host of {options.results}; there are: {there}")
    with checkout.opened(options.commit) as at:
        if at.commit is None:
            raise InputError(f"{options.commit}: not a commit")
    now = datetime.now(UTC)
    history.accept([Mark(b.id, options.host, at.commit, at.committed, options.note.strip(), now) for b in chosen])
    print(f"accepted from {at.label} on, of {len(chosen)} benchmarks: {options.note.strip()}")
    return EXIT_OK
