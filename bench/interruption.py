"""An end asked for by a signal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818 - no error
    """A signal asked for an end; what ended before it is recorded, the rest resumes."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` within, once, on SIGINT or SIGTERM."""

    def interrupt(number: int, _: object) -> None:
        for signal_number in before:
            signal.signal(signal_number, signal.SIG_IGN)  # once is enough: the stop must not be interrupted
        raise Interrupted(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
