"""What each command of the command line does. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import selection
from bench.errors import EXIT_CELLS_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNSOUND, InputError
from bench.interruption import Interrupted

if TYPE_CHECKING:
    from bench.study import Study


def run(options: Namespace) -> int:
    """Run the pending cells of a study, or show what they would cost."""
    from bench import progress, sweep, terminal
    from bench.store import Store
    from bench.where import LOCAL, Where

    if options.max_seeds and not options.until_decided:
        raise InputError("--max-seeds: only with --until-decided")
    for name in ("machine", "price"):
        if getattr(options, name) is not None and not options.dry_run:
            raise InputError(f"--{name}: only with --dry-run")
    where = Where(
        options.on, options.address, options.shared, options.partition, options.time_limit, dict(options.slurm)
    )
    where.check()
    if options.gang and where.on != LOCAL:
        raise InputError("--gang: only with --on local")
    study = selection.study(options)
    cells, store = selection.cells(options, study), Store(options.results)
    console = terminal.console(soft_wrap=False)
    if options.dry_run:
        from bench import plan

        money = {"devices": options.devices, "machine": options.machine, "price": options.price}
        plan.show(study, cells, store, options.device, options.workers, console, **money)
        return EXIT_OK
    if options.keep_nets and (recorded := len(cells) - len(sweep.pending(cells, store)[0])):
        console.print(
            f"{recorded} cells are recorded already and not trained again: of their nets none is kept now",
        )
    how = sweep.Options(
        options.workers,
        options.retries,
        options.timeout,
        options.device,
        checkpoint_seconds=options.checkpoint_every,
        gang=options.gang,
        loaders=options.loaders,
        bad_images=options.bad_images,
        analysis=not options.no_analysis,
        keep_nets=options.keep_nets,
        devices=options.devices,
        where=where,
    )

    def sweep_them(wanted: Sequence[Any]) -> dict[str, int]:
        with progress.watching(console) as watcher:
            return sweep.sweep(wanted, study.sources, store, how, watcher)

    try:
        outcomes = (
            _until_decided(options, study, cells, store, sweep_them, console)
            if options.until_decided
            else sweep_them(cells)
        )
    except Interrupted as reason:
        console.print(f"{reason}; what ended is recorded: run again to continue")
        return EXIT_INTERRUPTED
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    total = sum(outcomes.values())
    console.print(f"{study.name}: {total} cell{'s' if total != 1 else ''}: {counted}; tables in {store.root}/")
    failed = sweep.failures(outcomes)
    if failed:
        console.print(f"{failed} failed; why: the columns error and log of {store.root}/runs")
    return EXIT_CELLS_FAILED if failed else EXIT_OK


def _until_decided(
    options: Namespace, study: Study, cells: list[Any], store: Any, run: Any, console: Any
) -> dict[str, int]:
    from bench import rounds

    if not study.claims:
        raise InputError(f"--until-decided: {study.path} states no claim")
    most = options.max_seeds or rounds.MOST_SEEDS

    return rounds.until_decided(study, cells, store, most, run, console.print)


def judge(options: Namespace) -> int:
    """Say what the tables say of a study's claims."""
    from bench import rounds, statement
    from bench.store import Store
    from bench.terminal import say

    study = selection.study(options)
    cells, store = selection.cells(options, study), Store(options.results)
    if not study.claims:
        raise InputError(f"{study.path}: states no claim to judge; [[claim]] tables do")
    if not store.root.is_dir():
        raise InputError(f"--results {store.root}: no such folder")
    verdicts, hosts = rounds.verdicts(study, cells, _with_more_seeds(options, cells, store), store)
    if options.json:
        import json

        found = {"study": study.name, "host": hosts[0].label if hosts else None}
        print(json.dumps(found | {"verdicts": statement.plain(verdicts)}, indent=2))
    else:
        for verdict in verdicts:
            say(f"{statement.MARKS[verdict.ruling]} {verdict.ruling}: {verdict.claim.says}")
            say(f"    {statement.evidence(verdict)}")
        where = hosts[0].label if hosts else f"no host: nothing of it is recorded in {store.root}/"
        say(f"{study.name} on {where}: {statement.tally(verdicts)}")
    if others := hosts[1:]:
        say(f"not judged: runs on {', '.join(other.label for other in others)}", error=True)
    return statement.exit_code(verdicts)


def _with_more_seeds(options: Namespace, cells: list[Any], store: Any) -> list[Any]:
    """The cells, and those of further seeds that are recorded, unless the seeds are chosen by hand."""
    from bench import seeds

    return cells if selection.seeds_by_hand(options) else seeds.extended(cells, store)


def slices(options: Namespace) -> int:
    """Measure the loss around trained nets."""
    from bench import slices, terminal
    from bench.analysis import Slicing
    from bench.store import Store

    study = selection.study(options)
    cells, store = selection.cells(options, study), Store(options.results)
    if not selection.seeds_by_hand(options):
        cells = slices.lowest_seeds(cells)
    dimensions = 1 if options.one_dimensional else 2
    slicing = Slicing(options.images, options.steps, options.span, options.direction_seed, dimensions)
    console = terminal.console(soft_wrap=True)

    tell = console.print
    try:
        failed = slices.take(cells, study.sources, store, slicing, tell, device=options.device, workers=options.workers)
    except Interrupted as reason:
        tell(f"{reason}; slices taken before are recorded")
        return EXIT_INTERRUPTED
    tell(f"{study.name}: slices of {len(cells) - failed} nets; tables in {store.root}/")
    return EXIT_CELLS_FAILED if failed else EXIT_OK


def report(options: Namespace) -> int:
    """Render a study's report, or set two sides side by side."""
    from bench import report
    from bench.store import Store

    if options.other:
        from bench import sidebyside

        page = sidebyside.write(_side(options, options.study), _side(options, options.other), options.reports)
        print(f"report: {page}")
        return EXIT_OK
    study = selection.study(options)
    if study.works:
        from bench import tracking

        return tracking.history(Namespace(**vars(options) | {"take_in": []}))
    cells, store = selection.cells(options, study), Store(options.results)
    further = _with_more_seeds(options, cells, store)[len(cells) :]
    page = report.write(study, cells, store, options.reports, further=further)
    print(f"report: {page}")
    return EXIT_OK


def _side(options: Namespace, which: str) -> Any:
    """One of two: a folder that holds runs, or a study recorded in --results."""
    from bench import compare
    from bench.store import Store

    if (Path(which) / "runs").is_dir():
        return compare.of_folder(which, Store(Path(which)))
    study = selection.study(Namespace(**vars(options) | {"study": which, "name": None}))
    return compare.of_study(study.name, selection.cells(options, study), Store(options.results))


def net(options: Namespace) -> int:
    """Show what a net costs."""
    arch, size, classes = selection.arch(options, "net")
    from bench.cell import values
    from bench.cost import cost_of

    cost = cost_of(arch, channels=options.channels, size=size, classes=classes)
    if options.json:
        import json

        shape = {"size": size, "channels": options.channels, "classes": classes}
        print(json.dumps({**values(arch), **shape, **cost.as_dict()}, indent=2))
        return EXIT_OK
    from bench import plan

    plan.show_net(arch, size, options.channels, cost)
    return EXIT_OK


def compact(options: Namespace) -> int:
    """Put many small files of tables into few."""
    from bench import compact
    from bench.store import Store

    for outcome in compact.compact(Store(options.results)):
        left = f", {outcome.left} left as they are" if outcome.left else ""
        print(f"{outcome.table}: {outcome.packed} files packed{left}; packs: {outcome.packs}")
    return EXIT_OK


def doctor(options: Namespace) -> int:
    """Say what is wrong with the environment and a results folder, and mend what can be."""
    from bench import doctor, surroundings
    from bench.store import Store

    unsound = 0
    print("environment")
    for fact in surroundings.facts(options.results):
        print(f"  {'✓' if fact.sound else '✗'} {fact.says}")
        unsound += not fact.sound
    store = Store(options.results)
    if not store.root.is_dir():
        if not store.root.exists():
            print(f"{store.root}/: no such folder; resbench run makes it")
        return EXIT_UNSOUND if unsound else EXIT_OK
    findings = list(doctor.examine(store))
    print(f"{store.root}/")
    done: list[Any] = []
    if options.fix and any(finding.mend for finding in findings):
        with store.writing() as leases:
            for finding, how in doctor.mended(store, findings, leases):
                print(f"  ✓ {finding.what}\n      {how}")
                done.append(finding)
        findings = list(doctor.examine(store))
    for finding in findings:
        print(f"  ✗ {finding.what}\n      {'with --fix: ' if finding.mend else ''}{finding.advice}")
    if findings:
        mendable = 0 if options.fix else sum(finding.mend is not None for finding in findings)
        hint = f"; `resbench doctor --fix` mends {mendable} of them" if mendable else ""
        print(f"  {len(findings)} left, {len(done)} mended{hint}")
    else:
        print(f"  {doctor.counted(store)}")
    return EXIT_UNSOUND if unsound or findings else EXIT_OK
