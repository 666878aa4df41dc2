"""What the commands of the long history do. Imports what it needs when it runs, so that help starts at once."""

from __future__ import annotations

from argparse import Namespace

from bench import selection
from bench.errors import EXIT_OK, InputError


def history(options: Namespace) -> int:
    """Draw the trends of a history; take a file of pytest-benchmark's into it."""
    from bench import chronicle, foreign, standing
    from bench.history import History
    from bench.sample import HISTORY, IMPORTED
    from bench.series import series

    kept = History(options.results)
    for path in options.take_in:
        imported = foreign.read(path)
        new = foreign.add(imported, kept)
        print(f"{path}: {len(imported.samples)} benchmarks {'imported' if new else 'are there already'}")
    if options.study is None and options.only:
        raise InputError("--only: of which study? resbench history STUDY --only …")
    study = options.study and selection.study(options)
    chosen = study and {benchmark.id for benchmark in selection.benchmarks(options, study)}
    samples = [sample for sample in kept.samples() if sample.taking.purpose in (HISTORY, IMPORTED)]
    found = series([s for s in samples if chosen is None or s.benchmark_id in chosen], kept.marks(), kept.hosts())
    title = f"{study.title}: its history" if study else "Throughput and memory: the history"
    page = chronicle.write(title, study and study.name, found, options.reports, options.results)
    print(standing.listing(found).text(), f"report: {page}", sep="\n")
    return EXIT_OK
