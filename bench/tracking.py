"""What the commands of the long history do. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench import selection
from bench.errors import EXIT_NOTHING, EXIT_OK, InputError
from bench.terminal import say

if TYPE_CHECKING:
    from bench.benchmark import Benchmark
    from bench.checkout import Checkout
    from bench.history import History, Sample
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
        recorder = session.Recorder(session.history(options), rig)
        samples = _take(recorder, here, chosen, options.samples, HISTORY, tell)
    points = [found.points[0] for found in series(samples, (), {})]
    say(speedtables.measured(points).text())
    for label, why in dict.fromkeys((s.name, s.outcome.failed) for s in samples if s.outcome.failed):
        say(f"{label}: not measured: {why}")
    say(session.place(rig), f"Recorded in {options.results}/samples, of {here.label}.")
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


def gate(options: Namespace) -> int:
    """Measure this checkout, and judge it by the history of this host."""
    from bench import bulletin, checkout, session, speedtables
    from bench import gate as gates
    from bench.sample import CONFIRMATION, HISTORY
    from bench.trend import Limits

    study = selection.study(options)
    chosen, tell, history = selection.benchmarks(options, study), session.console(), session.history(options)
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
    facts = session.facts(study, rig, head=session.side(here), limits=vars(limits))
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
    now, fresh = ({s.benchmark_id: s.points[0] for s in series(samples, (), {})} for samples in (taken, again))
    earlier = {s.benchmark_id: s for s in series(before, marks, hosts) if s.alike(taken[0])}
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

    from bench import checkout, session
    from bench.history import Mark
    from bench.sample import HISTORY

    study = selection.study(options)
    chosen, history = selection.benchmarks(options, study), session.history(options)
    if not options.note.strip():
        raise InputError("--note: must say why the level is accepted")
    measured = {sample.benchmark_id for sample in history.samples(HISTORY)}
    if not (chosen := [benchmark for benchmark in chosen if benchmark.id in measured]):
        raise InputError(f"--results {options.results}: none of these benchmarks was measured there")
    if options.host is not None and options.host not in (hosts := history.hosts()):
        there = ", ".join(sorted(hosts)) or "none"
        raise InputError(f"--host {options.host}: no host of {options.results}; there are: {there}")
    with checkout.opened(options.commit) as at:
        if at.commit is None:
            raise InputError(f"{options.commit}: not a commit")
    now = datetime.now(UTC)
    history.accept([Mark(b.id, options.host, at.commit, at.committed, options.note.strip(), now) for b in chosen])
    say(f"accepted from {at.label} on: {options.note.strip()}", *(f"  {b.label}" for b in chosen))
    return EXIT_OK


def history(options: Namespace) -> int:
    """Draw the trends of a history; take a file of pytest-benchmark's into it."""
    from bench import chronicle, foreign, session, standing
    from bench.sample import HISTORY, IMPORTED
    from bench.series import series

    kept = session.history(options)
    for path in options.take_in:
        imported = foreign.read(path)
        new = foreign.add(imported, kept)
        say(f"{path}: {len(imported.samples)} benchmarks {'imported' if new else 'are there already'}")
    if options.study is None and options.only:
        raise InputError("--only: of which study? resbench history STUDY --only …")
    study = options.study and selection.study(options)
    chosen = study and {benchmark.id for benchmark in selection.benchmarks(options, study)}
    samples = [sample for sample in kept.samples() if sample.taking.purpose in (HISTORY, IMPORTED)]
    found = series([s for s in samples if chosen is None or s.benchmark_id in chosen], kept.marks(), kept.hosts())
    title = f"{study.title}: its history" if study else "Throughput and memory: the history"
    page = chronicle.write(title, study and study.name, found, options.reports, options.results)
    say(standing.listing(found).text(), f"report: {page}")
    return EXIT_OK
