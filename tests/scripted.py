"""A measuring layer that measures nothing: benchmarks take what a script says, in no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import host
from bench import study as studies
from bench.benchmark import Benchmark
from bench.checkout import Checkout
from bench.cli import main
from bench.host import Host, Toolkit
from bench.sample import CPU, WALL, Outcome
from bench.sampling import Setting

TORCH = {"torch": "2.11.0", "cuda": None, "cudnn": None, "cuda_available": False}
STUDY = """
title = "Speed"
question = "Slower?"
[bench]
work = ["train", "inference"]
[matrix]
data = "digits"
depth = 8
"""
MB = 10**6

Script = Callable[[str, Benchmark, int], "Outcome | float"]


def outcome(seconds: float = 0.01, windows: int = 4, waits: float = 0.0, **fields: Any) -> Outcome:
    """What a sample on one thread of a CPU gave: `seconds` of CPU time a call, and `waits` beside."""
    plain = {
        "clock": CPU,
        "images": 32,
        "calls": 10,
        "cpu_seconds": (10 * seconds,) * windows,
        "window_seconds": (10 * (seconds + waits),) * windows,
        "steady": True,
        "parameters": 1000,
        "multiply_adds": 5000,
        "peak_rss_bytes": 300 * MB,
        "base_rss_bytes": 200 * MB,
    }
    return Outcome(**(plain | fields))


def failed(why: str = "RuntimeError: broken", cause: str = "error", clock: str = CPU) -> Outcome:
    return Outcome(failed=why, cause=cause, clock=clock)


def this_host() -> Host:
    """The machine that tests run on, as a rig without a GPU describes it."""
    return host.describe(Toolkit(**TORCH), None)


@dataclass
class Instrument:
    """In place of a process."""

    checkout: Checkout
    toolkit: dict[str, Any]

    def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:  # noqa: ARG002
        return {"failed": "nothing is measured", "cause": "refused"}


class Layer:
    """Takes samples by a script, which is told the checkout's name, the benchmark and the number of the sample of it;
    an answer in seconds is as good as an outcome. `taken` has each call: the names of its sides and the benchmark."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.taken: list[tuple[tuple[str, ...], str]] = []
        self.open = 0
        self._numbers: dict[tuple[str, str], int] = {}

    @contextmanager
    def instruments(self, checkouts: Sequence[Checkout], setting: Setting) -> Iterator[list[Instrument]]:  # noqa: ARG002
        self.open += 1
        try:
            yield [Instrument(checkout, dict(TORCH)) for checkout in checkouts]
        finally:
            self.open -= 1

    def sample(
        self,
        sides: Sequence[Instrument],
        benchmark: Benchmark,
        setting: Setting,
        gauge: Any,  # noqa: ARG002
        slowdowns: Sequence[float] = (0.0, 0.0),
    ) -> list[Outcome]:
        self.taken.append((tuple(side.checkout.name for side in sides), benchmark.work))
        found = []
        for side, slowdown in zip(sides, slowdowns, strict=False):
            place = side.checkout.name, benchmark.id
            number = self._numbers[place] = self._numbers.get(place, -1) + 1
            made = self.script(side.checkout.name, benchmark, number)
            made = outcome(made, setting.windows) if isinstance(made, float) else made
            longer = [tuple((1 + slowdown) * s for s in made.windows(clock)) for clock in (CPU, WALL)]
            found.append(replace(made, cpu_seconds=longer[0], window_seconds=longer[1]))
        return found


def scripted(monkeypatch: pytest.MonkeyPatch, script: Script) -> Layer:
    """Put a script in the place of processes."""
    layer = Layer(script)
    for module in ("sampling", "comparison", "rig"):
        monkeypatch.setattr(f"bench.{module}.instruments", layer.instruments)
    for module in ("sampling", "comparison"):
        monkeypatch.setattr(f"bench.{module}.sample", layer.sample)
    return layer


def a_folder(root: Path, name: str) -> Path:
    """A checkout with no code in it."""
    package = root / name / "bench"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return root / name


WOBBLE = (0.998, 1.003, 0.999, 1.001)
START = datetime(2026, 1, 1, tzinfo=UTC)


def side_of(name: str) -> str:
    """base or head."""
    return name.rsplit("/", 1)[-1]


def times(base: float = 0.01, head: float = 0.01, works: Sequence[str] = ("train", "inference")) -> Script:
    """A script: seconds of checkouts' names that end so, and a little wobble; of head in these kinds of work alone."""

    def script(name: str, benchmark: Benchmark, number: int) -> float:
        slower = side_of(name) == "head" and benchmark.work in works
        return (head if slower else base) * WOBBLE[(number + (side_of(name) == "head")) % 4]

    return script


def on(place: Path, command: str, *more: Any) -> int:
    """A command on the study there; its exit code."""
    measured = () if command in ("accept", "history", "report") else ("--device", "cpu", "--windows", "4")
    return main(list(map(str, (command, place / "speed.toml", "--results", place / "results", *measured, *more))))


def benchmarks(place: Path) -> tuple[Benchmark, ...]:
    """Those of the study there."""
    return studies.load(place / "speed.toml").benchmarks


def bad(capsys: pytest.CaptureFixture[str], expected: str, *arguments: Any) -> None:
    """One line, exit code 2, no traceback; argparse's own errors have its usage before."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2 and "Traceback" not in error
    assert expected in error.splitlines()[-1]
    if not error.startswith("usage:"):
        assert len(error.splitlines()) == 1
