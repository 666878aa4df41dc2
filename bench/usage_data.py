"""The command line of data sets: what may be written after `resbench data`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench import datacommands
from bench.arguments import command, count, sides
from bench.source import ALLOWED

DATA_EPILOG = """\
Data sets: digits (comes with scikit-learn), noise32 and noise224 (noise of CIFAR's and ImageNet's shape, for timing),
cifar10 and cifar100 (downloaded by this command and no other), parquet:DIR (train*.parquet and test*.parquet, image
bytes and labels), folder:DIR (train/<class>/*, test/<class>/*), webdataset:DIR (train*.tar and test*.tar, uncompressed:
0001.jpg and its label 0001.cls).
Images of one size are decoded and cached in $RESBENCH_CACHE, or resbench in the user's cache folder. Images of unlike
sizes are read while training, by recipes with a crop_size; their test folder may be ImageNet's flat val/ with its
ground-truth file.

examples:
  resbench data digits
  resbench data cifar10
  resbench data parquet:images
  resbench data make-folder photos --from cifar10 --classes 5
  resbench data imagenet-check imagenet
"""
MAKE_EPILOG = """\
OUT is written whole or not at all. Where the same command made it before, nothing is done; any other content is left
alone, with an error. Each image is cut to an aspect ratio between 3:4 and 4:3, so all it shows is of the original.

examples:
  resbench data make-folder digits-photos --from digits --classes 3 --train 60 --test 30 --size 32..64
  resbench data make-folder photos --from parquet:cifar10-jpeg --classes 10 --train 5000 --test 1000
"""
CHECK_EPILOG = """\
DIR holds train/<wnid>/*.JPEG, and val/<wnid>/*.JPEG or a flat val/*.JPEG with its ground-truth file: val.txt,
LOC_val_solution.csv, imagenet_2012_validation_synset_labels.txt, or ILSVRC2012_validation_ground_truth.txt together
with the devkit's meta.mat or map_clsloc.txt. Images are decoded as in training. With other numbers than ImageNet's,
each class needs an image of each part, and no more is asked of it.

exit codes: 0 all as it should be; 1 something is off; 2 no such layout

examples:
  resbench data imagenet-check imagenet
  resbench data imagenet-check photos --classes 10 --train 5000 --val 1000
"""


def add(subparsers: Any) -> None:
    """Add the commands."""
    says = "download (CIFAR), verify and describe a data set"
    parser = command(subparsers, "data", datacommands.data, says, DATA_EPILOG)
    parser.add_argument("source", help=ALLOWED)
    _add_make(subparsers)
    _add_check(subparsers)


def _add_make(subparsers: Any) -> None:
    says = "make a folder of JPEGs of many sizes from a data set's images"
    parser = command(subparsers, "data make-folder", datacommands.make_folder, says, MAKE_EPILOG)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    parser.add_argument("--from", dest="origin", required=True, metavar="SOURCE", help=ALLOWED)
    parser.add_argument("--classes", type=count(1), required=True, metavar="K", help="the first so many classes")
    parser.add_argument(
        "--size", type=sides, default=(96, 320), metavar="A..B", help="shorter side in pixels (default: 96..320)"
    )
    parser.add_argument("--train", type=count(1), metavar="N", help="training images in all (default: all there are)")
    parser.add_argument("--test", type=count(1), metavar="N", help="validation images in all (default: all there are)")
    parser.add_argument("--seed", type=count(0), default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--quality", type=count(1, 95), default=90, metavar="Q", help="of the JPEGs (default: 90)")


def _add_check(subparsers: Any) -> None:
    says = "check that a folder holds ImageNet, and that every image can be decoded"
    parser = command(subparsers, "data imagenet-check", datacommands.imagenet_check, says, CHECK_EPILOG)
    _add_numbers(parser)
    parser.add_argument("--workers", type=count(1), metavar="N", help="processes side by side (default: one a core)")


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="DIR", help="the folder with train/ and val/")
    parser.add_argument("--classes", type=count(1), default=1000, metavar="K", help="expected (default: 1000)")
    parser.add_argument("--train", type=count(1), default=1_281_167, metavar="N", help="images (default: 1281167)")
    parser.add_argument("--val", type=count(1), default=50_000, metavar="N", help="images (default: 50000)")
