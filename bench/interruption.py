"""An end asked for by a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818 - no error
    """A signal asked for an end; what ended before it is recorded, the rest resumes."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` within, once, on SIGINT or SIGTERM."""

    def interrupted(number: int) -> Interrupted:
        return Interrupted(f"interrupted by {signal.Signals(number).name}")

    with once((signal.SIGINT, signal.SIGTERM), interrupted):
        yield


@contextmanager
def once(numbers: Iterable[int], interrupted: Callable[[int], BaseException]) -> Iterator[None]:
    """Raise what `interrupted` makes of the first of these signals that comes within; further ones are ignored."""

    def interrupt(number: int, _: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # once is enough: the stop must not be interrupted
        raise interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
