"""The command line of benchmarks: what may be written after `resbench compare` and its like."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench import speed, tracking
from bench.arguments import add_arch, command, count, memory, percent

COMPARE_EPILOG = """\
BASE and HEAD are commits of this git repository, or folders with a checkout ("." is this one as it is). Both are
measured by the instrument of the resbench that runs, in this environment; the samples are kept in --results.

exit codes: 0 no regression; 1 a regression (in time, memory or size); 2 bad input; 3 inconclusive; 4 nothing measured

examples:
  resbench compare HEAD~1 HEAD
  resbench compare main . --study throughput-short --only 'work=train|inference' --pairs 6
  resbench compare v1 v2 --study throughput --margin 1 --markdown comparison.md --junit comparison.xml
"""
MEASURE_EPILOG = """\
examples:
  resbench measure
  resbench measure throughput --only 'work=train,depth=20' --samples 5
  resbench measure --of v1.0                 an older commit, into its place in the history
"""
GATE_EPILOG = """\
Each benchmark is measured by some fresh processes, and their median added to the history. It is held against the points
since the last change of level on this very host: a slowdown beyond the margin and beyond its noise is measured again,
and is a regression if it is seen again. So is one that became the level, until it is accepted or gone. Fewer than 10
points are reported only.

exit codes: 0 no regression; 1 a regression (in time, memory or size); 2 bad input; 3 inconclusive; 4 nothing measured

examples:
  resbench gate
  resbench gate throughput --device cuda --results history --markdown gate.md --junit gate.xml
"""
ACCEPT_EPILOG = """\
examples:
  resbench accept --only work=train --note 'exact sums instead of fast ones'
  resbench accept throughput --commit 1a2b3c4 --note 'new driver'
"""
HISTORY_EPILOG = """\
Without a study all that was measured is drawn, each host by itself.

examples:
  resbench history
  resbench history throughput --only work=train --reports pages
  resbench history --import benchmarks.json            make bench JSON=benchmarks.json writes one
"""
FIT_EPILOG = """\
Found by trying, each time in a fresh process that takes some steps on noise, and tried again; one more image does not
fit. On a CPU the limit is set for real; to try all of its memory takes very long, so name some with --memory.

examples:
  resbench fit --depth 110 --device cuda --precision bf16
  resbench fit --depth 110 --memory 1GiB --device cpu
  resbench fit --depth 50 --family imagenet --shortcut B --inference
"""
CALIBRATE_EPILOG = """\
Compares this checkout with itself, many times, and says how often that is called a regression, and how often
slowdowns of known size are found. Goals: false alarms at most 1 %; 2 % found 9 times in 10 on a quiet GPU (--margin 1:
a slowdown as large as the margin is right at it), 5 % on a noisy CPU. The result is kept in --results, and stands
beside the verdicts of resbench compare on this host. --resume ID judges what was measured by another --margin.

examples:
  resbench calibrate --only 'work=train|inference' --pairs 6 --runs 50
  resbench calibrate --only work=train --pairs 6 --runs 10 --inject 5
"""


def add(subparsers: Any) -> None:
    """Add the commands."""
    _add_measure(subparsers)
    _add_compare(subparsers)
    _add_gate(subparsers)
    _add_accept(subparsers)
    _add_history(subparsers)
    _add_fit(subparsers)
    _add_calibrate(subparsers)


def _add_measure(subparsers: Any) -> None:
    says = "measure throughput and memory, and add it to the history"
    parser = command(subparsers, "measure", tracking.measure, says, MEASURE_EPILOG)
    _add_selection(parser, "study")
    _add_measurement(parser)
    _add_samples(parser)
    parser.add_argument(
        "--of", default=".", metavar="CHECKOUT", help="a commit or a folder (default: this one as it is)"
    )


def _add_gate(subparsers: Any) -> None:
    parser = command(
        subparsers, "gate", tracking.gate, "judge throughput and memory by this host's history", GATE_EPILOG
    )
    _add_selection(parser, "study")
    _add_measurement(parser)
    _add_samples(parser)
    _add_judgement(parser)


def _add_accept(subparsers: Any) -> None:
    parser = command(
        subparsers, "accept", tracking.accept, "accept a new level of benchmarks, with a note", ACCEPT_EPILOG
    )
    _add_selection(parser, "study")
    parser.add_argument("--note", required=True, help="why: it stands in the history")
    parser.add_argument("--commit", default="HEAD", help="from which on (default: HEAD)")
    parser.add_argument("--host", metavar="ID", help="on this host alone (default: on every host)")


def _add_fit(subparsers: Any) -> None:
    parser = command(subparsers, "fit", speed.fit, "find the largest batch that fits into memory", FIT_EPILOG)
    add_arch(parser)
    parser.add_argument("--precision", default="fp32", help="fp32, tf32 or bf16 (default: fp32)")
    parser.add_argument("--memory-format", default="channels_last", help="or contiguous")
    parser.add_argument("--recompute", action="store_true", help="activations computed again in the backward pass")
    parser.add_argument("--inference", action="store_true", help="to classify with; else to train with")
    parser.add_argument(
        "--memory", type=memory, metavar="BYTES", help="what may be taken, as 4GiB (default: what there is)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where")
    parser.add_argument("--threads", type=count(1, 1024), default=1, help="of torch, on a CPU (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_history(subparsers: Any) -> None:
    parser = command(subparsers, "history", tracking.history, "draw the trends of what was measured", HISTORY_EPILOG)
    _add_selection(parser, "study")
    parser.set_defaults(study=None)
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="the pages' folder (default: reports)")
    parser.add_argument(
        "--import", dest="take_in", type=Path, action="append", default=[], metavar="FILE",
        help="first take in a file of pytest-benchmark's --benchmark-json",
    )  # fmt: skip


def _add_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=count(1, 100), default=3, help="processes, whose median counts (default: 3)")


def _add_compare(subparsers: Any) -> None:
    parser = command(
        subparsers, "compare", speed.compare, "compare the speed and memory of two commits", COMPARE_EPILOG
    )
    parser.add_argument("base", metavar="BASE", help="what it is compared with")
    parser.add_argument("head", metavar="HEAD", help="what may be slower")
    _add_selection(parser, "--study")
    _add_measurement(parser)
    parser.add_argument("--pairs", type=count(5, 40), default=12, help="of fresh processes (default: 12; from 5 to 40)")
    _add_judgement(parser)


def _add_calibrate(subparsers: Any) -> None:
    says = "measure what verdicts on speed are worth on this host"
    parser = command(subparsers, "calibrate", speed.calibrate, says, CALIBRATE_EPILOG)
    _add_selection(parser, "study")
    _add_measurement(parser)
    parser.add_argument("--pairs", type=count(5, 40), default=12, help="of a comparison (default: 12; from 5 to 40)")
    parser.add_argument("--runs", type=count(2, 10_000), default=20, help="comparisons (default: 20)")
    parser.add_argument("--inject", type=percent, metavar="PERCENT", help="slow head down by so much, for real")
    parser.add_argument("--margin", type=percent, default=0.02, metavar="PERCENT", help="what may be lost (default: 2)")
    parser.add_argument("--resume", metavar="ID", help="go on with a calibration that was stopped")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")


def _add_selection(parser: argparse.ArgumentParser, study: str) -> None:
    default = "throughput-short"
    where = f"a study of benchmarks: a file, or the name of one in ablations/ (default: {default})"
    if study.startswith("-"):
        parser.add_argument(study, default=default, help=where)
    else:
        parser.add_argument(study, nargs="?", default=default, help=where)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace an axis or a field")
    parser.add_argument("--only", metavar="KEY=VALUE,…", help="these benchmarks alone; KEY=A|B for several values")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")
    parser.set_defaults(name=None)


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it is measured")
    parser.add_argument(
        "--threads", type=count(1, 1024), default=1, help="of torch, on a CPU (default: 1, as for cells)"
    )
    parser.add_argument("--windows", type=count(4, 1000), default=12, help="of 0.1 s, a sample (default: 12)")


def _add_judgement(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--margin", type=percent, default=0.02, metavar="PERCENT", help="what may be lost (default: 2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the result for a summary or a comment")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it as JSON, at full precision")
