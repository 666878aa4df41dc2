"""The command line of studies and nets: what may be written after `resbench run`, `evaluate` and the like of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench import commands, testing
from bench.accuracy import PROTOCOLS
from bench.arguments import add_arch, command, count, odd, price, seconds, setting, span
from bench.loading import BAD_IMAGES, FAIL

RUN_EPILOG = """\
A study is a file, or the name of one in ablations/. Only pending cells run; what is recorded is never run again.
Ctrl-C stops within seconds and loses nothing: run again to continue.
--set base=NAME takes another recipe: cifar, imagenet or imagenet-90 (docs/recipes.md). A dry run expects what runs of
the same net took on such a machine, else goes by training steps timed there (resbench measure), else says unknown.

examples:
  resbench run degradation --dry-run
  resbench run imagenet-degradation --set base=imagenet-90 --dry-run --machine 'NVIDIA H200' --devices 8 --price 2.50
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
Works from the tables alone: no torch, no GPU, no data set. Give --set and --name as for the run. Of a study of
benchmarks it is its history (resbench history).

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
EVALUATE_EPILOG = """\
WEIGHTS is a state dict with torchvision's names, as torchvision publishes them, or a net kept by `resbench run
--keep-nets` (results/nets/*.pt). A file does not say where bottlenecks subsample: torchvision's do in the 3x3 (v1.5).

examples:
  resbench evaluate resnet50-0676ba61.pth --data folder:imagenet --depth 50
  resbench evaluate resnet34-b627a593.pth --data folder:imagenet --depth 34 --protocol single 10-crop multi-scale
  resbench evaluate results/nets/NET.pt --data folder:imagenet --depth 50 --stride original --normalise mean
"""


def add(subparsers: Any) -> None:
    """Add the commands."""
    _add_run(subparsers)
    _add_slices(subparsers)
    _add_report(subparsers)
    _add_judge(subparsers)
    _add_net(subparsers)
    _add_evaluate(subparsers)


def add_study(parser: argparse.ArgumentParser, second: bool = False) -> None:
    parser.add_argument("study", help="a study file, or the name of one in ablations/")
    if second:
        parser.add_argument("other", nargs="?", help="with a second one, or two results folders: both, side by side")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace an axis or a field")
    parser.add_argument("--name", help="call the study so changed otherwise in its report")
    parser.add_argument("--only", metavar="KEY=VALUE,…", help="these cells alone; KEY=A|B for several values")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")


def _add_run(subparsers: Any) -> None:
    parser = command(subparsers, "run", commands.run, "run the pending cells of a study", RUN_EPILOG)
    add_study(parser)
    parser.add_argument("--dry-run", action="store_true", help="show cells, costs and expected time; run nothing")
    parser.add_argument(
        "--machine", metavar="DEVICE", help="with --dry-run: for a machine with this GPU or CPU that the tables tell of"
    )
    parser.add_argument("--price", type=price, help="with --dry-run: of an hour of one GPU, in any currency")
    parser.add_argument("--workers", type=count(1), help="processes side by side (default: one a core, or one a GPU)")
    parser.add_argument(
        "--gang", type=count(1), metavar="N", help="cells of one net that a GPU trains at once (default: measured)"
    )
    parser.add_argument(
        "--until-decided", action="store_true", help="add seeds to the nets of undecided claims, up to 5, 8, 12, 18 …"
    )
    parser.add_argument(
        "--max-seeds", type=count(1), metavar="N", help="most seeds a net gets by --until-decided (default: 20)"
    )
    parser.add_argument("--retries", type=count(0), default=1, help="new attempts after a failed one (default: 1)")
    parser.add_argument("--timeout", type=seconds, help="seconds an attempt may take (default: no limit)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where cells run")
    parser.add_argument(
        "--devices",
        type=count(1, 1024),
        default=1,
        metavar="N",
        help="GPUs, or processes on a CPU, that each cell is spread over; results differ by rounding (default: 1)",
    )
    parser.add_argument(
        "--loaders",
        type=count(0),
        metavar="N",
        help="processes that read a device's images, of any size (default: for a GPU its share of the cores, else 0)",
    )
    parser.add_argument(
        "--bad-images",
        choices=BAD_IMAGES,
        default=FAIL,
        help="what an image does that cannot be decoded: fail the cell, or be skipped and told of (default: fail)",
    )
    _add_engines(parser)
    parser.add_argument("--no-analysis", action="store_true", help="do not record layers' responses and gradients")
    parser.add_argument("--keep-nets", action="store_true", help="keep the trained nets, for `resbench slices`")
    parser.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="between checkpoints at least (default: 10), and 50 times as long as the last took to write",
    )


def _add_engines(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where cells run (docs/engines.md)")
    group.add_argument(
        "--on", choices=("local", "ray", "slurm"), default="local",
        help="this machine (default), a Ray cluster, or jobs of Slurm",
    )  # fmt: skip
    group.add_argument("--address", metavar="HOST:PORT", help="ray: of a cluster, or auto (default: one started here)")
    group.add_argument(
        "--shared", metavar="PATH_OR_URI",
        help="ray, slurm: storage that all machines see, for checkpoints and answers; with ray also s3://…, gs://…",
    )  # fmt: skip
    group.add_argument("--partition", help="slurm: of the jobs")
    group.add_argument("--time-limit", metavar="TIME", help="slurm: of a job, which then goes on in a new one")
    group.add_argument(
        "--slurm", type=setting, action="append", default=[], metavar="KEY=VALUE", help="slurm: any option of sbatch"
    )


def _add_judge(subparsers: Any) -> None:
    parser = command(subparsers, "judge", commands.judge, "judge a study's claims by the tables", JUDGE_EPILOG)
    add_study(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_slices(subparsers: Any) -> None:
    parser = command(
        subparsers, "slices", commands.slices, "measure the loss around the trained nets of a study", SLICES_EPILOG
    )
    add_study(parser)
    parser.add_argument("--images", type=count(1), default=500, help="the first of the training part (default: 500)")
    parser.add_argument("--steps", type=odd, default=21, help="points a direction, an odd number (default: 21)")
    parser.add_argument("--span", type=span, default=1.0, help="how far either way, in filter norms (default: 1)")
    parser.add_argument("--direction-seed", type=count(0), default=0, metavar="SEED", help="of the directions")
    parser.add_argument("--one-dimensional", action="store_true", help="along one direction only")
    parser.add_argument("--workers", type=count(1), help="cells side by side (default: one a core, or one a GPU)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where they are measured")


def _add_report(subparsers: Any) -> None:
    parser = command(subparsers, "report", commands.report, "render a study's report from the tables", REPORT_EPILOG)
    add_study(parser, second=True)
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="the pages' folder (default: reports)")


def _add_net(subparsers: Any) -> None:
    parser = command(
        subparsers, "net", commands.net, "show a net's parameters and multiply-adds, layer group by group", NET_EPILOG
    )
    add_arch(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_evaluate(subparsers: Any) -> None:
    says = "test a trained net on one crop, ten, or many scales"
    parser = command(subparsers, "evaluate", testing.evaluate, says, EVALUATE_EPILOG)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a file of weights")
    parser.add_argument("--data", required=True, help="whose test part is classified, as folder:DIR")
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--family", default="imagenet", help="cifar or imagenet (default: imagenet)")
    parser.add_argument("--shortcut", default="B", help="none, A, B or C (default: B)")
    parser.add_argument("--stride", help="of bottlenecks: original or v1.5 (default: v1.5)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies every filter count (default: 1)")
    parser.add_argument(
        "--protocol", nargs="+", choices=tuple(PROTOCOLS), default=["single"], help="one or several (default: single)"
    )
    parser.add_argument("--crop", type=count(1, 4096), help="pixels a side (default: the family's, 224 or 32)")
    parser.add_argument(
        "--normalise", choices=("torchvision", "mean"), default="torchvision",
        help="as torchvision's weights want it (default), or less the mean a pixel of the training part",
    )  # fmt: skip
    parser.add_argument("--split", choices=("full", "holdout"), default="full", help="what that mean is over")
    parser.add_argument("--split-seed", type=count(0), default=0, metavar="SEED", help="of a holdout (default: 0)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where")
    parser.add_argument("--batch", type=count(1, 65_536), default=128, help="crops at once (default: 128)")
    parser.add_argument(
        "--loaders", type=count(0, 1024), help="processes that decode (default: one a core for a GPU, else none)"
    )
    parser.add_argument("--bad-images", choices=BAD_IMAGES, default=FAIL, help="what cannot be decoded (default: fail)")
    parser.add_argument("--images", type=count(1), metavar="N", help="so many, evenly spaced (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
