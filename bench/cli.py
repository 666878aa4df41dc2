"""The command line. Imports what a command needs when it runs, so that help and planning start at once."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import EXIT_CELLS_FAILED, EXIT_INTERRUPTED, EXIT_OK, FieldError, InputError, ResbenchError

if TYPE_CHECKING:
    from bench.study import Study

EPILOG = """\
exit codes: 0 done; 1 done, but cells failed, or a claim contradicted; 2 bad input; 3 a claim undecided or untestable;
            5 results cannot be read or written; 130 interrupted (run again to continue)

examples:
  resbench run degradation                 the default study: digits, on a CPU in minutes
  resbench report degradation              its report, from the recorded tables alone
  resbench judge degradation               what the tables say of its claims
  resbench net --depth 56 --shortcut A     parameters and multiply-adds of a net
  resbench data cifar10                    download and verify CIFAR-10
"""
RUN_EPILOG = """\
A study is a file, or the name of one in ablations/. Only pending cells run; what is recorded is never run again.
Ctrl-C stops within seconds and loses nothing: run again to continue.

examples:
  resbench run degradation --dry-run
  resbench run degradation --only 'depth=8|20,shortcut=none'
  resbench run cifar10 --only seed=0 --device cuda --timeout 7200
  resbench run degradation --until-decided --max-seeds 12
  resbench run degradation --name degradation-images --set data=parquet:images --set depth=8 --set crop_padding=4 \\
      --set iterations=300 --set 'drops=[150,225]' --set eval_every=300
"""
REPORT_EPILOG = """\
Works from the tables alone: no torch, no GPU, no data set. Give --set and --name as for the run.

examples:
  resbench report degradation
  resbench report degradation --results results/reference --reports reports/reference
"""
JUDGE_EPILOG = """\
Works from the tables alone. A claim is supported or contradicted where the chance of saying so falsely, over all claims
of the study and all looks at it as seeds are added, is at most 1 - confidence (docs/statistics.md).

exit codes: 0 every claim supported; 1 one contradicted; 2 bad input; 3 one undecided or untestable, none contradicted;
            5 results cannot be read

examples:
  resbench judge degradation
  resbench judge degradation --results results/reference --json
"""
NET_EPILOG = """\
examples:
  resbench net --depth 56 --shortcut A
  resbench net --depth 50 --family imagenet --shortcut B --stride v1.5
  resbench net --depth 20 --shortcut none --size 8 --channels 1 --json
"""
DATA_EPILOG = """\
Data sets: digits (comes with scikit-learn), cifar10 and cifar100 (downloaded by this command and no other),
parquet:DIR (train*.parquet and test*.parquet, image bytes and labels), folder:DIR (train/<class>/*, test/<class>/*).
Decoded images are cached in $RESBENCH_CACHE, or resbench in the user's cache folder.

examples:
  resbench data digits
  resbench data cifar10
  resbench data parquet:images
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except ResbenchError as error:
        print(f"resbench: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("resbench: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `resbench net … | head`
        sys.stderr.close()
        return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resbench",
        description="Benchmarks and ablations of residual learning.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(command=lambda options: _version() if options.version else _help(parser))
    commands = parser.add_subparsers(title="commands", metavar="")
    _add_run(commands)
    _add_report(commands)
    _add_judge(commands)
    _add_net(commands)
    _add_data(commands)
    return parser


def _add(commands: Any, name: str, function: Any, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study file, or the name of one in ablations/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace an axis or a field")
    parser.add_argument("--name", help="call the study so changed otherwise in its report")
    parser.add_argument("--only", metavar="KEY=VALUE,…", help="these cells alone; KEY=A|B for several values")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", _run, "run the pending cells of a study", RUN_EPILOG)
    _add_study(parser)
    parser.add_argument("--dry-run", action="store_true", help="show cells, costs and expected time; run nothing")
    parser.add_argument("--workers", type=_count(1), help="cells side by side (default: one a core, or one a GPU)")
    parser.add_argument("--until-decided", action="store_true", help="add seeds for claims that are undecided")
    parser.add_argument(
        "--max-seeds", type=_count(1), metavar="N", help="most seeds a net gets by --until-decided (default: 20)"
    )
    parser.add_argument("--retries", type=_count(0), default=1, help="new attempts after a failed one (default: 1)")
    parser.add_argument("--timeout", type=_seconds, help="seconds an attempt may take (default: no limit)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where cells run")
    parser.add_argument(
        "--checkpoint-every", type=_seconds, default=10.0, metavar="SECONDS", help="between checkpoints (default: 10)"
    )


def _add_judge(commands: Any) -> None:
    parser = _add(commands, "judge", _judge, "judge a study's claims by the tables", JUDGE_EPILOG)
    _add_study(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_report(commands: Any) -> None:
    parser = _add(commands, "report", _report, "render a study's report from the tables", REPORT_EPILOG)
    _add_study(parser)
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="the pages' folder (default: reports)")


def _add_net(commands: Any) -> None:
    parser = _add(commands, "net", _net, "show a net's parameters and multiply-adds, layer group by group", NET_EPILOG)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--shortcut", default="A", help="none, A, B or C (default: A)")
    parser.add_argument("--family", default="cifar", help="cifar or imagenet (default: cifar)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies every filter count (default: 1)")
    parser.add_argument("--stride", default="original", help="of bottlenecks: original or v1.5 (default: original)")
    parser.add_argument("--size", type=_count(1), help="pixels a side (default: the family's, 32 or 224)")
    parser.add_argument("--channels", type=_count(1), default=3, help="of the image (default: 3)")
    parser.add_argument("--classes", type=_count(1), help="outputs (default: the family's, 10 or 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_data(commands: Any) -> None:
    parser = _add(commands, "data", _data, "download (CIFAR), verify and describe a data set", DATA_EPILOG)
    parser.add_argument("source", help="digits, cifar10, cifar100, parquet:DIR or folder:DIR")


def _count(least: int) -> Any:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number of at least {least}")
        return int(text)

    return whole_number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of seconds above 0")
    return value


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return EXIT_OK


def _version() -> int:
    from importlib.metadata import version

    print(f"resbench {version('resbench')}")
    return EXIT_OK


def _study(options: argparse.Namespace) -> Study:
    from bench import study

    if options.name is not None and not options.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise FieldError("--name", options.name, "letters, digits, '.', '_' and '-'")
    return study.load(study.find(options.study), dict(map(_setting, options.set)), options.name)


def _setting(text: str) -> tuple[str, Any]:
    from bench.matrix import AXES, read_axes, unknown_key

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: must be KEY=VALUE")
    if key not in AXES:
        raise unknown_key(key, AXES, f"--set {text}")
    read_axes({key: _value(value)}, f"--set {text}")  # said here, where it was given
    return key, _value(value)


def _value(text: str) -> Any:
    """A value as TOML has it, or the bare word: `shortcut=none`."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _cells(options: argparse.Namespace, study: Study) -> list[Any]:
    from bench.matrix import read_selector, select

    if options.only is None:
        return list(study.cells)
    wanted: dict[str, Any] = {}
    for part in options.only.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"--only {options.only}: must be KEY=VALUE,KEY=VALUE")
        wanted[key.strip()] = [_value(item) for item in value.split("|")]
    cells = select(study.cells, read_selector(wanted, f"--only {options.only}"))
    if not cells:
        raise InputError(f"--only {options.only}: no cell of {study.name} matches")
    return cells


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from bench import progress, sweep
    from bench.store import Store

    if options.max_seeds and not options.until_decided:
        raise InputError("--max-seeds: only with --until-decided")
    study = _study(options)
    cells, store = _cells(options, study), Store(options.results)
    console = Console(soft_wrap=False)
    if options.dry_run:
        from bench import plan

        plan.show(study, cells, store, options.device, options.workers, console)
        return EXIT_OK
    how = sweep.Options(options.workers, options.retries, options.timeout, options.device, options.checkpoint_every)

    def run(wanted: Sequence[Any]) -> dict[str, int]:
        with progress.watching(console) as watcher:
            return sweep.sweep(wanted, study.sources, store, how, watcher)

    try:
        outcomes = _until_decided(options, study, cells, store, run, console) if options.until_decided else run(cells)
    except sweep.Interrupted as reason:
        console.print(f"{reason}; what ended is recorded: run again to continue", highlight=False)
        return EXIT_INTERRUPTED
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    total = sum(outcomes.values())
    console.print(
        f"{study.name}: {total} cell{'s' if total != 1 else ''}: {counted}; tables in {store.root}/", highlight=False
    )
    failed = sweep.failures(outcomes)
    if failed:
        console.print(f"{failed} failed; why: the columns error and log of {store.root}/runs", highlight=False)
    return EXIT_CELLS_FAILED if failed else EXIT_OK


def _until_decided(
    options: argparse.Namespace, study: Study, cells: list[Any], store: Any, run: Any, console: Any
) -> dict[str, int]:
    from bench import rounds

    if not study.claims:
        raise InputError(f"--until-decided: {study.path} states no claim")
    most = options.max_seeds or rounds.MOST_SEEDS

    def say(text: str) -> None:
        console.print(text, highlight=False)

    return rounds.until_decided(study, cells, store, most, run, say)


def _judge(options: argparse.Namespace) -> int:
    from bench import rounds, statement
    from bench.store import Store

    study = _study(options)
    cells, store = _cells(options, study), Store(options.results)
    if not study.claims:
        raise InputError(f"{study.path}: states no claim to judge; [[claim]] tables do")
    verdicts, hosts = rounds.verdicts(study, cells, _with_more_seeds(options, cells, store), store)
    if options.json:
        import json

        found = {"study": study.name, "host": hosts[0].label if hosts else None}
        print(json.dumps(found | {"verdicts": statement.plain(verdicts)}, indent=2))
    else:
        for verdict in verdicts:
            print(f"{statement.MARKS[verdict.ruling]} {verdict.ruling}: {verdict.claim.says}")
            print(f"    {statement.evidence(verdict)}")
        where = hosts[0].label if hosts else f"no host: nothing of it is recorded in {store.root}/"
        print(f"{study.name} on {where}: {statement.tally(verdicts)}")
    if others := hosts[1:]:
        print(f"not judged: runs on {', '.join(other.label for other in others)}", file=sys.stderr)
    return statement.exit_code(verdicts)


def _with_more_seeds(options: argparse.Namespace, cells: list[Any], store: Any) -> list[Any]:
    """The cells, and those of further seeds that are recorded, unless the seeds are chosen by hand."""
    from bench import seeds

    by_hand = any(part.partition("=")[0].strip() == "seed" for part in (options.only or "").split(","))
    return cells if by_hand else seeds.extended(cells, store)


def _report(options: argparse.Namespace) -> int:
    from bench import report
    from bench.store import Store

    study = _study(options)
    page = report.write(study, _cells(options, study), Store(options.results), options.reports)
    print(f"report: {page}")
    return EXIT_OK


def _net(options: argparse.Namespace) -> int:
    from bench.cell import Arch

    try:
        arch = Arch(options.family, options.depth, options.shortcut, options.width, options.stride)
    except FieldError as error:
        raise error.at("resbench net") from None
    from bench.cost import cost_of

    size, classes = (224, 1000) if arch.family == "imagenet" else (32, 10)
    size, classes = options.size or size, options.classes or classes
    cost = cost_of(arch, channels=options.channels, size=size, classes=classes)
    if options.json:
        import json

        shape = {"size": size, "channels": options.channels, "classes": classes}
        print(json.dumps({**vars(arch), **shape, **cost.as_dict()}, indent=2))
        return EXIT_OK
    from bench import plan

    plan.show_net(arch, size, options.channels, cost)
    return EXIT_OK


def _data(options: argparse.Namespace) -> int:
    from bench import builtin, dataset
    from bench.source import Source

    source = Source.parse(options.source)
    if source.kind in builtin.DOWNLOADED:
        builtin.download(source)
    images = dataset.load(source)
    channels, size, classes = images.shape
    print(f"{source.identity}: {channels} x {size} x {size} pixels, {classes} classes")
    print(f"training images: {len(images.train_labels):,}, of which a holdout takes {images.holdout:,} for validation")
    print(f"test images: {len(images.test_labels):,}")
    print(f"sha256: {images.sha256}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
