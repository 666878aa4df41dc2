"""What can go wrong, as one tree.

    ResbenchError                exit code
    ├── InputError               2   a study, an option or a file the user gave is not usable
    │   └── FieldError           2   one field of one: names the key, the value and what is allowed
    ├── DataError                2   a data set is absent, unreadable or not the one recorded
    ├── DeviceError              2   the device asked for is not there, or cannot do what is asked
    └── StoreError               5   results cannot be read or written

Exit codes of every command: 0 the job is done (`judge`: every claim is supported; `compare`, `gate`: no regression); 1
done, with cells that failed (`judge`: a claim is contradicted; `compare`, `gate`: a regression; `data imagenet-check`,
`doctor`: something is off); 2 bad input; 3 a claim is undecided or untestable, and none contradicted (`compare`,
`gate`: inconclusive); 4 nothing was measured; 5 results cannot be read or written; 130 interrupted (rerun to continue).
"""

from __future__ import annotations

from bench.texts import printable

EXIT_OK = 0
EXIT_CELLS_FAILED = 1
EXIT_CONTRADICTED = 1
EXIT_REGRESSION = 1
EXIT_UNSOUND = 1
EXIT_BAD_INPUT = 2
EXIT_UNDECIDED = 3
EXIT_NOTHING = 4
EXIT_STORE = 5
EXIT_INTERRUPTED = 130


class ResbenchError(Exception):
    """Every error a user can cause or mend; the command line prints it in one line and exits with `exit_code`."""

    exit_code = EXIT_BAD_INPUT


class InputError(ResbenchError):
    """A study, an option or a file the user gave is not usable."""


class FieldError(InputError):
    """One field has a value that is not allowed.

    `where` says which file or option it came from; whoever knows it adds it with `at`.
    """

    def __init__(self, key: str, value: object, allowed: str, where: str = "") -> None:
        self.key, self.value, self.allowed, self.where = key, value, allowed, where
        super().__init__(key, value, allowed, where)

    def __str__(self) -> str:
        prefix = f"{self.where}: " if self.where else ""
        return f"{prefix}{self.key} = {shown(self.value)} is not allowed; allowed: {self.allowed}"

    def at(self, where: str) -> FieldError:
        """The same error, with the place it came from."""
        return type(self)(self.key, self.value, self.allowed, f"{where}: {self.where}" if self.where else where)


class DataError(ResbenchError):
    """A data set is absent, unreadable or not the one recorded."""


class DeviceError(ResbenchError):
    """The device asked for is not there, or cannot do what is asked."""


class StoreError(ResbenchError):
    """Results cannot be read or written."""

    exit_code = EXIT_STORE


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the machine or of a device, ran out, as Python and torch tell it."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def in_a_line(error: BaseException) -> str:
    """The first line of what an error says, printable; its name where it says nothing."""
    return next(map(printable, str(error).splitlines()), "") or type(error).__name__


def shown(value: object, limit: int = 80) -> str:
    """A value as an error message shows it: its repr, cut to `limit` characters."""
    try:
        text = repr(value)
    except ValueError:  # an int with more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
