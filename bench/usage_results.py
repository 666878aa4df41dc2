"""The command line of results folders: what may be written after `resbench compact` and `doctor`."""

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
DOCTOR_EPILOG = """\
Looks at Python, torch, GPUs, cache and disk, and at every file of a results folder: checksums, versions, rows without
their curves, what no row names. Changes nothing without --fix; with it, what is damaged is set aside in
results/damaged/, with the rows that depend on it, so that resbench run does their cells again. Says what it did.

exit codes: 0 all is sound, or was mended; 1 something is left; 5 the folder cannot be read or written

examples:
  resbench doctor
  resbench doctor --results results/large --fix
"""


def add(subparsers: Any) -> None:
    """Add the commands."""
    parser = command(subparsers, "compact", commands.compact, "put many small files of tables into few", COMPACT_EPILOG)
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")
    parser = command(subparsers, "doctor", commands.doctor, "is everything sound, here and in a folder?", DOCTOR_EPILOG)
    parser.add_argument("--results", type=Path, default=Path("results"), help="the tables' folder (default: results)")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended")
