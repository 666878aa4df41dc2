"""How far a count of things has come: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from bench.progress import SILENCE_SECONDS, duration

Told = Callable[[int, int], None]  # how many are done, of how many


def words(done: int, total: int, seconds: float, what: str) -> str:
    """`1,200 of 5,000 images, 400 a second, 10 s left`: at the pace since the start, where there's one."""
    rate = done / seconds if seconds > 0 else 0.0
    pace = f", {rate:,.0f} a second" if rate else ""
    left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
    return f"{done:,} of {total:,} {what}{pace}{left}"


@contextmanager
def pacing(console: Console, what: str = "images") -> Iterator[Told]:
    """A function to be told how many of how many `what` are done."""
    began = said = time.monotonic()
    if console.is_terminal:
        with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
            task = bar.add_task("")
            yield lambda done, total: bar.update(
                task, completed=done, total=total, description=words(done, total, time.monotonic() - began, what)
            )
        return

    def told(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > SILENCE_SECONDS:
            said = time.monotonic()
            console.print(Text(words(done, total, said - began, what)), soft_wrap=True)

    yield told
