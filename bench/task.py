"""A task for a child process, and the events that tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Task:
    """A call to make in a child: `entry(payload, caller)`, with `environment` set and output going to `log`."""

    key: str
    entry: str
    payload: Any
    log: Path
    environment: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None  # seconds


@dataclass(frozen=True)
class Sent:
    """A child sent a message."""

    key: str
    message: Any


@dataclass(frozen=True)
class Returned:
    """A task ended and returned a value; `place` is where, if not on this machine (`bench.answer.Place`)."""

    key: str
    value: Any
    place: Any = None


@dataclass(frozen=True)
class Died:
    """A task raised, or its process ended without returning.

    `reason` is one line; `cause` is "refused" (it raised a ResbenchError: trying again is no use), "unwritable" (a
    StoreError), "error", "out-of-memory", "timed-out" or "stopped"; `log` the end of its output; `place` as above.
    """

    key: str
    cause: str
    reason: str
    log: str
    place: Any = None


Event = Sent | Returned | Died


class Failure(Exception):  # noqa: N818 - raised by a task that knows more of its end than an exception's name
    """How a task ended: `cause` and `reason` as in `Died`."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause, self.reason = cause, reason


class Caller(Protocol):
    """The parent process, as a child sees it."""

    def send(self, message: Any) -> None:
        """Tell the parent something."""

    def stopping(self) -> bool:
        """Whether the parent asked for an end."""
