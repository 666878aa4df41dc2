"""The command line of results folders: what may be written after `resbench compact`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import commands
from bench.arguments import command

COMPACT_EPILOG = """\
Writes the rows of cells that have ended, which lie in a file or more a cell, into few files of the same folders, each
read back and compared before what it was made of is removed. No value changes, and they stay parquet: a pattern like
results/runs/*.parquet finds them. Other commands may read and run meanwhile; a kill at any moment loses nothing.

examples:
  resbench compact
  resbench compact --results results/large
"""


def add(subparsers: Any) -> None:
    """Add the commands."""
    parser = command(subparsers, "compact", commands.compact, "put many small files of tables into few", COMPACT_EPILOG)
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")
