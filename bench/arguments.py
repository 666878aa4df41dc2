"""What may be written on a command line: commands, and values; a wrong one is told what is allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def command(subparsers: Any, name: str, function: Any, summary: str, epilog: str) -> argparse.ArgumentParser:
    """Add a command, which calls `function`; its parser."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def add_arch(parser: argparse.ArgumentParser) -> None:
    """The options that name a net and its images."""
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--shortcut", default="A", help="none, A, B or C (default: A)")
    parser.add_argument("--family", default="cifar", help="cifar or imagenet (default: cifar)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies every filter count (default: 1)")
    parser.add_argument("--stride", default="original", help="of bottlenecks: original or v1.5 (default: original)")
    parser.add_argument("--size", type=count(1), help="pixels a side (default: the family's, 32 or 224)")
    parser.add_argument("--channels", type=count(1), default=3, help="of the image (default: 3)")
    parser.add_argument("--classes", type=count(1), help="outputs (default: the family's, 10 or 1000)")


def count(least: int, most: int = 999_999_999) -> Callable[[str], int]:
    """A whole number of at least `least`."""
    allowed = f"of at least {least}" if most == 999_999_999 else f"from {least} to {most}"

    def whole_number(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number {allowed}")
        return int(text)

    return whole_number


def sides(text: str) -> tuple[int, int]:
    """Pixels from A to B, `96..320`, or a single number."""
    first, dots, last = text.partition("..")
    try:
        least, most = count(8, 4096)(first), count(8, 4096)(last if dots else first)
    except argparse.ArgumentTypeError:
        least, most = 1, 0
    if least > most:
        raise argparse.ArgumentTypeError(f"{text!r}: pixels from A to B, as 96..320, both from 8 to 4096")
    return least, most


def odd(text: str) -> int:
    """An odd number of at least 3."""
    if (value := count(3)(text)) % 2 == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: an odd number, so that the net itself is a point")
    return value


def above_zero(unit: str, below: float) -> Callable[[str], float]:
    """A number above 0."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < below:
            raise argparse.ArgumentTypeError(f"{text!r}: a number of {unit} above 0 and below {below:g}")
        return value

    return number


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE, or KEY alone."""
    key, _, value = text.partition("=")
    if not key.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r}: KEY=VALUE, as mem=4G")
    return key.replace("_", "-"), value


def percent(text: str) -> float:
    """A percentage above 0 and below 100, as a fraction: decimals and a sign for percent are welcome."""
    return above_zero("percent", 100)(text.removesuffix("%").strip()) / 100


def memory(text: str) -> int:
    """Bytes: `4GiB`, `500MB`, a plain number."""
    units = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    number = text.rstrip("KMGiBkmgb ")
    unit = text[len(number) :].strip().upper()
    if unit not in units:
        raise argparse.ArgumentTypeError(f"{text!r}: bytes, as 4GiB or 500MB")
    return round(above_zero("bytes", 1e15)(number) * units[unit])


seconds = above_zero("seconds", 1e9)
price = above_zero("a currency", 1e6)
span = above_zero("filter norms", 1000)
