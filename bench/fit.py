"""The largest batch that fits into memory: found by trying, each time in a fresh process, and tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import field, host, pool
from bench.cell import Arch, Recipe, values
from bench.errors import DeviceError
from bench.slots import choose_gpus, slots
from bench.task import Died, Task

ENTRY = "bench.footprint:take"
LARGEST = 65_536  # images, the most that a recipe allows
START = 16
GROWTH = 8  # times the batch that fits, at most, however small the net seems
SPARE = 0.1  # of a CPU's available memory left to others
CRASHES = tuple(f"killed by {name}" for name in ("SIGSEGV", "SIGABRT", "SIGBUS"))
KINDS = {
    "channels": field.whole(1, 65_536),
    "size": field.whole(1, 65_536),
    "classes": field.whole(1, 1_000_000),
    "memory": field.whole(1, 2**60),
    "threads": field.whole(1, 65_536),
}


@dataclass(frozen=True)
class Footprint:
    """The most memory that some steps on one batch took, in bytes.

    `allocated` and `reserved`: by torch on a GPU (None on a CPU). `resident`: of the process. `device`: in use on the
    whole GPU after the last step, as NVML tells it, and `others` how many other processes compute there (None: unread).
    """

    allocated: int | None
    reserved: int | None
    resident: int
    device: int | None
    others: int | None


def on_device(peak: Footprint) -> int:
    """What is in use on the whole device, as far as known."""
    return peak.device or in_process(peak)


def in_process(peak: Footprint) -> int:
    """What the process itself took."""
    return peak.reserved or peak.resident


Attempt = Callable[[int], Footprint | str]  # a batch to what it took, or to how it failed


@dataclass(frozen=True)
class Fit:
    """The largest batch that fits, which ran twice, and what it took the second time.

    `limit` is the memory there was, in bytes. `failed` is the smallest batch seen to fail and `failure` how; None where
    `batch` is the largest that a recipe allows. `note` says where a second try contradicted a first: that a larger
    batch needs more memory, and the same batch the same, is an assumption.
    """

    batch: int
    footprint: Footprint
    limit: int | None
    failed: int | None
    failure: str | None
    tries: int
    note: str | None


def largest_batch(
    arch: Arch,
    recipe: Recipe,
    *,
    channels: int = 3,
    size: int = 32,
    classes: int = 10,
    inference: bool = False,
    device: str = "auto",
    memory: int | None = None,
    threads: int = 1,
    told: Callable[[str], None],
    log: Path,
) -> Fit:
    """The largest batch of `channels` x `size` x `size` images on which the net trains with this recipe.

    Or, with `inference`, that it classifies. `recipe.batch` and its lengths play no part. `device` is auto, cpu or cuda
    (the first GPU), `memory` bytes that may be taken: by default on a GPU all there are, on a CPU those available less
    a tenth. Not in it: the data set, of which real training keeps all images on the device, and evaluations, which
    take 500 images at a time. `told` hears of each try; a child's output goes to `log`. Takes 8 to 20 tries.

    Raises:
        DeviceError: when no batch fits, or the device is not there or cannot do what is asked.
        FieldError: for a number out of range.
    """
    given = {"channels": channels, "size": size, "classes": classes, "memory": memory, "threads": threads}
    for key, value in given.items():
        if value is not None:
            field.canonical(key, KINDS[key], value)
    gpus = choose_gpus(device)[:1]
    place = slots(gpus, 1)[0]
    limit = memory
    if limit is None:
        limit = gpus[0].memory_bytes if gpus else _available()
    job = {
        **given,
        **{"arch": values(arch), "recipe": values(recipe), "inference": inference},
        **{"device": place.device, "uuid": gpus[0].uuid if gpus else None, "limit": memory if gpus else limit},
    }

    def attempt(batch: int) -> Footprint | str:
        end = pool.outcome(Task("fit", ENTRY, job | {"batch": batch}, log, place.environment), _nothing)
        if not isinstance(end, Died):
            return Footprint(**end.value)
        if end.cause == "out-of-memory":
            return end.reason
        if not gpus and end.reason in CRASHES:  # libraries under torch use what they did not get
            return f"{end.reason}, with its memory limited"
        raise DeviceError(f"{arch.label}, batch {batch:,}: {end.reason}")

    taken = on_device if memory is None else in_process
    return search(attempt, limit, told, f"{arch.label} at {size} x {size}", taken=taken)


def _available() -> int:
    found = host.available_memory()
    if found is None:
        raise DeviceError("this system does not say how much memory is available; give a limit with --memory")
    return int(found * (1 - SPARE))


def _nothing(_: Any) -> None:
    pass


def search(
    attempt: Attempt,
    limit: int | None,
    told: Callable[[str], None],
    name: str,
    *,
    most: int = LARGEST,
    taken: Callable[[Footprint], int] = on_device,
) -> Fit:
    """The largest batch up to `most` that `attempt` says fits, exact to one image, and tried twice.

    Grows until one fails, then closes in from both sides: where memory is a straight line through two batches that
    fitted, there are few tries. The line is of what is `taken`, followed to `limit` (bytes); without, batches double
    and the interval is halved.

    Raises:
        DeviceError: when a batch of one does not fit.
    """
    bracket = _Bracket(attempt, limit, told, most, taken)
    while bracket.low + 1 < bracket.high:
        bracket.attempt(bracket.proposal())
    if not bracket.low:
        room = f"into {gib(limit)}" if limit else "on the device"
        raise DeviceError(f"{name}: no batch fits {room}; a batch of 1 failed: {bracket.failed[1]}")
    batch, note = _checked(bracket)
    failed = min(bracket.failed, default=None)
    failure = None if failed is None else bracket.failed[failed]
    if not batch:
        raise DeviceError(f"{name}: no batch fits twice; a batch of {failed:,} failed: {failure}")
    return Fit(batch, bracket.fitted[batch], limit, failed, failure, bracket.tries, note)


class _Bracket:
    """Where the answer lies: `low` fits (0: nothing tried does), `high` does not (`most` + 1: nothing tried)."""

    def __init__(
        self,
        attempt: Attempt,
        limit: int | None,
        told: Callable[[str], None],
        most: int,
        taken: Callable[[Footprint], int],
    ) -> None:
        self._attempt, self._limit, self._told, self._taken = attempt, limit, told, taken
        self.low, self.high, self.most = 0, most + 1, most
        self.fitted: dict[int, Footprint] = {}
        self.failed: dict[int, str] = {}
        self.tries = self._guided = 0

    def attempt(self, batch: int) -> bool:
        """Whether the batch fits now; narrows the bracket."""
        self.tries += 1
        end = self._attempt(batch)
        if isinstance(end, str):
            self.failed[batch] = end
            self.high = min(self.high, batch)
            self._told(f"batch {batch:,}: does not fit")
            return False
        self.fitted[batch] = end
        self.low = max(self.low, batch)
        self._told(f"batch {batch:,}: {gib(self._taken(end))}")
        return True

    def proposal(self) -> int:
        """The next batch to try, between `low` and `high`."""
        growing, target = not self.failed, self._estimate()
        if not self.low:
            return min(START, self.most) if growing else self.high // 2
        if growing and (target is None or target > GROWTH * self.low):
            return min(self.low * (2 if target is None else GROWTH), self.most)
        margin = self._margin()
        if growing:
            return min(max(target, self.low + margin), self.most)
        if target is None or self.high - self.low <= 2 * margin:
            return (self.low + self.high) // 2
        return min(max(target, self.low + margin), self.high - margin)

    def _margin(self) -> int:
        """How far from what is known to try: further each time, so that a wrong line is left soon."""
        self._guided += 1
        return 4 ** (self._guided - 1)

    def _estimate(self) -> int | None:
        """The batch at which memory ends, on the line through the largest that fitted and one of at most half of it."""
        below = [batch for batch in self.fitted if 2 * batch <= self.low]
        if self._limit is None or not below:
            return None
        near, far = self.low, max(below)
        held, before = (self._taken(self.fitted[batch]) for batch in (near, far))
        rise = held - before
        if rise <= 0:
            return None
        return near + (self._limit - held) * (near - far) // rise


def _checked(bracket: _Bracket) -> tuple[int, str | None]:
    """A batch that fitted twice (0: none), from the bracket's down; and what a second try contradicted."""
    batch, above = bracket.low, bracket.high
    if bracket.attempt(batch):
        if above > bracket.most or not bracket.attempt(above):
            return batch, None
        return batch, f"a batch of {above:,} failed, and then fitted"
    note, step = f"a batch of {batch:,} fitted, and then failed", 1
    while (batch := batch - step) > 0 and not (bracket.attempt(batch) and bracket.attempt(batch)):
        step *= 2
    return max(batch, 0), note


def gib(size: int) -> str:
    """Bytes in words: `1.25 GiB`."""
    return f"{size / 2**30:.2f} GiB"


def described(fit: Fit, arch: Arch, size: int) -> str:
    """In words: the batch, what it took, what did not fit."""
    took = fit.footprint
    parts = {
        "allocated": took.allocated,
        "reserved": took.reserved,
        "resident": took.resident,
        "of the GPU": took.device,
    }
    memory = ", ".join(f"{_gib(value)} {name}" for name, value in parts.items() if value is not None)
    limit = "" if fit.limit is None else f" of {_gib(fit.limit)}"
    lines = [f"{arch.label}, {size} x {size} pixels: {fit.batch:,} images fit ({fit.tries} tries); {memory}{limit}"]
    lines.append("no larger batch is allowed" if fit.failed is None else f"{fit.failed:,} do not: {fit.failure}")
    return "\n".join([*lines, *([fit.note] if fit.note else [])])


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
