"""What the commands that compare do, and `fit`. Imports what it needs when it runs, so that help starts at once."""

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
    from bench.history import Calibration, History
    from bench.regress import Key
    from bench.rig import Rig


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
        history = session.history(options)
        known = _calibrated(history, rig, options)
        bout = _bout(options, base, head, chosen, rig, known)
        tell(f"{head.label} against {base.label}; benchmarks: {len(chosen)}, pairs: {bout.pairs}; {rig.host.label}")
        verdicts = comparison.compare(bout, rig.gauge, tell, session.pairs_into(session.Recorder(history, rig), bout))
    lines = speedtables.of_comparison(verdicts)
    sides = {"base": session.side(base), "head": session.side(head)}
    facts = session.facts(study, rig, **sides, rule=vars(bout.rule) | {"pairs": bout.pairs})
    notes = [
        f"Base {base.label}, head {head.label}; {bout.pairs} pairs of fresh processes, whose windows take turns; bounds"
        f" are one-sided, {bout.rule.confidence:.0%}.",
        session.place(rig),
        speedtables.trust(known, verdicts, rig.host, bout.rule, bout.pairs),
    ]
    table = speedtables.compared(verdicts)
    session.publish(options, f"{base.name} → {head.name}", lines, table, facts, notes, _again(options, base, head))
    return bulletin.exit_code(lines)


def _again(options: Namespace, *sides: Checkout) -> str:
    import shlex
    from pathlib import Path

    words = ["resbench", "compare", *(side.name if Path(side.name).is_dir() else side.commit[:12] for side in sides)]
    words += ["--study", options.study]
    words += [word for setting in options.set for word in ("--set", setting)]
    words += ["--only", options.only] if options.only else []
    words += ["--results", options.results.as_posix()] if str(options.results) != "results" else []
    for name in ("device", "threads", "pairs", "windows"):
        words += [f"--{name}", getattr(options, name)]
    return shlex.join(map(str, [*words, "--margin", f"{100 * options.margin:g}"]))


def calibrate(options: Namespace) -> int:
    """Compare this checkout with itself, many times, and say what verdicts are worth here."""
    from dataclasses import asdict, replace

    from bench import calibration, checkout, comparison, session, speedtables
    from bench.history import Calibration
    from bench.sample import CALIBRATION
    from bench.terminal import say
    from bench.texts import escaped

    study = selection.study(options)
    chosen, tell, history = selection.benchmarks(options, study), session.console(), session.history(options)
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
        say(f"{label}: not measured: {why}")
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
    say(table.text(), note)
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
    from bench.cell import Recipe, values
    from bench.errors import FieldError

    arch, size, classes = selection.arch(options, "fit")
    try:
        recipe = Recipe(precision=options.precision, memory_format=options.memory_format, recompute=options.recompute)
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
        print(json.dumps({"arch": values(arch), "size": size, "classes": classes} | asdict(found), indent=2))
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
