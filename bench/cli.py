"""The command line: what may be written, and what each command is for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import commands
from bench.errors import EXIT_INTERRUPTED, EXIT_OK, ResbenchError

EPILOG = """\
exit codes: 0 done; 1 done, but cells failed, or a claim contradicted; 2 bad input; 3 a claim undecided or untestable;
            5 results cannot be read or written; 130 interrupted (run again to continue)

examples:
  resbench run degradation                 the default study: digits, on a CPU in minutes
  resbench report degradation              its report, from the recorded tables alone
  resbench slices degradation              the loss around its trained nets
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
SLICES_EPILOG = """\
Filter-normalised random directions (Li et al. 2018). Without a seed in --only, the lowest seed of each net. A net that
was not kept is trained again first. ResNet-56 on digits: 441 points take about a minute on one core.

examples:
  resbench slices degradation --only 'depth=56,shortcut=none|A'
  resbench slices degradation --only depth=20 --one-dimensional --steps 51
"""
REPORT_EPILOG = """\
Works from the tables alone: no torch, no GPU, no data set. Give --set and --name as for the run.

examples:
  resbench report degradation
  resbench report degradation --results results/reference --reports reports/reference
  resbench report cifar10 cifar10-short            two studies, side by side
  resbench report results/reference results        two results folders, side by side
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
    subparsers = parser.add_subparsers(title="commands", metavar="")
    _add_run(subparsers)
    _add_slices(subparsers)
    _add_report(subparsers)
    _add_judge(subparsers)
    _add_net(subparsers)
    _add_data(subparsers)
    return parser


def _add(subparsers: Any, name: str, function: Any, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _add_study(parser: argparse.ArgumentParser, second: bool = False) -> None:
    parser.add_argument("study", help="a study file, or the name of one in ablations/")
    if second:
        parser.add_argument("other", nargs="?", help="with a second one, or two results folders: both, side by side")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace an axis or a field")
    parser.add_argument("--name", help="call the study so changed otherwise in its report")
    parser.add_argument("--only", metavar="KEY=VALUE,…", help="these cells alone; KEY=A|B for several values")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")


def _add_run(subparsers: Any) -> None:
    parser = _add(subparsers, "run", commands.run, "run the pending cells of a study", RUN_EPILOG)
    _add_study(parser)
    parser.add_argument("--dry-run", action="store_true", help="show cells, costs and expected time; run nothing")
    parser.add_argument("--workers", type=_count(1), help="processes side by side (default: one a core, or one a GPU)")
    parser.add_argument(
        "--gang", type=_count(1), metavar="N", help="cells of one net that a GPU trains at once (default: measured)"
    )
    parser.add_argument(
        "--until-decided", action="store_true", help="add seeds to the nets of undecided claims, up to 5, 8, 12, 18 …"
    )
    parser.add_argument(
        "--max-seeds", type=_count(1), metavar="N", help="most seeds a net gets by --until-decided (default: 20)"
    )
    parser.add_argument("--retries", type=_count(0), default=1, help="new attempts after a failed one (default: 1)")
    parser.add_argument("--timeout", type=_seconds, help="seconds an attempt may take (default: no limit)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where cells run")
    parser.add_argument("--no-analysis", action="store_true", help="do not record layers' responses and gradients")
    parser.add_argument("--keep-nets", action="store_true", help="keep the trained nets, for `resbench slices`")
    parser.add_argument(
        "--checkpoint-every", type=_seconds, default=10.0, metavar="SECONDS", help="between checkpoints (default: 10)"
    )


def _add_judge(subparsers: Any) -> None:
    parser = _add(subparsers, "judge", commands.judge, "judge a study's claims by the tables", JUDGE_EPILOG)
    _add_study(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_slices(subparsers: Any) -> None:
    parser = _add(
        subparsers, "slices", commands.slices, "measure the loss around the trained nets of a study", SLICES_EPILOG
    )
    _add_study(parser)
    parser.add_argument("--images", type=_count(1), default=500, help="the first of the training part (default: 500)")
    parser.add_argument("--steps", type=_odd, default=21, help="points a direction, an odd number (default: 21)")
    parser.add_argument("--span", type=_span, default=1.0, help="how far either way, in filter norms (default: 1)")
    parser.add_argument("--direction-seed", type=_count(0), default=0, metavar="SEED", help="of the directions")
    parser.add_argument("--one-dimensional", action="store_true", help="along one direction only")
    parser.add_argument("--workers", type=_count(1), help="cells side by side (default: one a core, or one a GPU)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where they are measured")


def _add_report(subparsers: Any) -> None:
    parser = _add(subparsers, "report", commands.report, "render a study's report from the tables", REPORT_EPILOG)
    _add_study(parser, second=True)
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="the pages' folder (default: reports)")


def _add_net(subparsers: Any) -> None:
    parser = _add(
        subparsers, "net", commands.net, "show a net's parameters and multiply-adds, layer group by group", NET_EPILOG
    )
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--shortcut", default="A", help="none, A, B or C (default: A)")
    parser.add_argument("--family", default="cifar", help="cifar or imagenet (default: cifar)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies every filter count (default: 1)")
    parser.add_argument("--stride", default="original", help="of bottlenecks: original or v1.5 (default: original)")
    parser.add_argument("--size", type=_count(1), help="pixels a side (default: the family's, 32 or 224)")
    parser.add_argument("--channels", type=_count(1), default=3, help="of the image (default: 3)")
    parser.add_argument("--classes", type=_count(1), help="outputs (default: the family's, 10 or 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_data(subparsers: Any) -> None:
    parser = _add(subparsers, "data", commands.data, "download (CIFAR), verify and describe a data set", DATA_EPILOG)
    parser.add_argument("source", help="digits, cifar10, cifar100, parquet:DIR or folder:DIR")


def _count(least: int) -> Any:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number of at least {least}")
        return int(text)

    return whole_number


def _odd(text: str) -> int:
    if (value := _count(3)(text)) % 2 == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: an odd number, so that the net itself is a point")
    return value


def _above_zero(unit: str, most: float) -> Any:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < most:
            raise argparse.ArgumentTypeError(f"{text!r}: a number of {unit} above 0 and below {most:g}")
        return value

    return number


_seconds = _above_zero("seconds", 1e9)
_span = _above_zero("filter norms", 1000)


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return EXIT_OK


def _version() -> int:
    from importlib.metadata import version

    print(f"resbench {version('resbench')}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
