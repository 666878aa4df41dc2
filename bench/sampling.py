"""Samples of benchmarks: each from a fresh process of one checkout, or pairs of two, their windows taken in turns."""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import host, memo
from bench.benchmark import Benchmark
from bench.checkout import Checkout
from bench.child import TEMPLATE
from bench.errors import InputError
from bench.nvml import Gauge, Reading
from bench.sample import CPU, DEVICE, WALL, Outcome
from bench.source import Source
from bench.span import POLLED, Span

CEILINGS = "ceilings.json"  # of the machine's memory
INSTRUMENT = Path(__file__).with_name("instrument.py")
PREPARE_SECONDS, WINDOW_SECONDS, START_SECONDS = 900.0, 300.0, 300.0  # after which a process is given up
CLOCKS = {DEVICE: "the GPU's events", CPU: "CPU time", WALL: "the wall's clock"}
ORDER = (0, 1, 1, 0)  # of two sides' windows, again and again: drift over four of them cancels


@dataclass(frozen=True)
class Setting:
    """How samples are taken: on which device (a torch device) and GPU, with how many threads of torch on a CPU, and
    how many windows of at least how many seconds a sample has. `sources` are data sets by identity."""

    device: str = "cpu"
    gpu_uuid: str | None = None
    threads: int = 1
    windows: int = 12
    window_seconds: float = 0.1
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        """What times a call (`Outcome.clock`)."""
        if self.device != "cpu":
            return DEVICE
        return CPU if self.threads == 1 else WALL

    def __post_init__(self) -> None:
        if self.window_seconds < 0.1:
            raise InputError(f"{self.window_seconds:g} s: a window must be of at least 0.1 s")


class Instrument:
    """A process that measures one checkout's benchmarks, one at a time (`bench.instrument`)."""

    def __init__(self, checkout: Checkout, setting: Setting) -> None:
        environment = os.environ | TEMPLATE | {"PYTHONPATH": str(checkout.root)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every start compiles anew
        if setting.gpu_uuid:
            environment["CUDA_VISIBLE_DEVICES"] = setting.gpu_uuid
        self.checkout, self._environment = checkout, environment
        self.toolkit: dict[str, Any] = {}
        self._open()

    def _open(self) -> None:
        self._pending = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", INSTRUMENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            bufsize=0,
        )

    def start(self) -> None:
        """Wait until it is ready; what it imported is that of its checkout.

        Raises:
            InputError: where the checkout cannot be measured.
        """
        answer = self._answer(START_SECONDS)
        if "failed" in answer:
            reason = answer["failed"]
            raise InputError(f"{self.checkout.label}: its benchmarks cannot be measured ({reason}); needs bench.works")
        if Path(answer["package"]).parent.resolve() != self.checkout.root.resolve():
            raise InputError(f"{self.checkout.label}: {answer['package']} was imported in its place")
        self.toolkit = answer

    def revive(self) -> None:
        """Start it again where it died or was given up.

        Raises:
            InputError: where that is no longer possible.
        """
        if self._process.poll() is not None:
            self.close()
            self._open()
            self.start()

    def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer; a process that does not answer in so many seconds is ended, and that is the answer."""
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
        except (OSError, ValueError):  # ValueError: it was given up
            return {"failed": "its process is gone", "cause": "died"}
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, until - time.monotonic())):
                    self.close()
                    return {"failed": f"no answer within {seconds:g} s", "cause": "died"}
                if not (found := os.read(self._process.stdout.fileno(), 1 << 16)):
                    return {"failed": f"its process ended with status {self._process.wait()}", "cause": "died"}
                self._pending += found
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line.decode(errors="replace"))

    def close(self) -> None:
        """End it, and with it the child that it waits for."""
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def instruments(checkouts: Sequence[Checkout], setting: Setting) -> Iterator[list[Instrument]]:
    """A fresh process for each checkout; they start side by side.

    Raises:
        InputError: where a checkout cannot be measured.
    """
    with ExitStack() as stack:
        started = []
        for checkout in checkouts:
            started.append(Instrument(checkout, setting))
            stack.callback(started[-1].close)
        for instrument in started:
            instrument.start()
        yield started


def measure(
    checkout: Checkout, benchmarks: Sequence[Benchmark], setting: Setting, gauge: Gauge
) -> Iterator[tuple[Benchmark, Outcome]]:
    """A fresh process's samples of each benchmark, with what share of the device's ceilings they reach.

    Raises:
        InputError: where the checkout cannot be measured.
    """
    with instruments([checkout], setting) as (instrument,):
        ceilings = _ceilings(instrument, setting)
        for benchmark in benchmarks:
            yield benchmark, _with_shares(sample([instrument], benchmark, setting, gauge)[0], benchmark, ceilings)


def _ceilings(instrument: Instrument, setting: Setting) -> dict[str, Any]:
    """The most that the device did, now or when it was measured before: under a load it does less."""
    found = instrument.ask({"ceilings": setting.device, "threads": setting.threads}, PREPARE_SECONDS)
    key = json.dumps([setting.gpu_uuid or host.cpu_model(), setting.threads, instrument.toolkit["torch"]])
    known = memo.recall(CEILINGS).get(key)
    if "failed" in found or not isinstance(known, dict):
        best = found
    else:
        rates = {name: max(rate, known["rates"].get(name, 0.0)) for name, rate in found["rates"].items()}
        best = {"bandwidth": max(found["bandwidth"], known["bandwidth"]), "rates": rates}
    if "failed" not in best:
        memo.remember(CEILINGS, {key: best})
    return best


def _with_shares(outcome: Outcome, benchmark: Benchmark, ceilings: Mapping[str, Any]) -> Outcome:
    rate = ceilings.get("rates", {}).get(benchmark.cell.recipe.precision)
    if outcome.seconds is None or rate is None:
        return outcome
    counted = outcome.call_multiply_adds or (outcome.multiply_adds and outcome.multiply_adds * outcome.images)
    return replace(
        outcome,
        arithmetic_share=counted and counted / rate / outcome.seconds,
        bandwidth_share=outcome.call_bytes and outcome.call_bytes / ceilings["bandwidth"] / outcome.seconds,
    )


def sample(
    sides: Sequence[Instrument],
    benchmark: Benchmark,
    setting: Setting,
    gauge: Gauge,
    slowdowns: Sequence[float] = (0.0, 0.0),
) -> list[Outcome]:
    """Measure a benchmark on one side, or on two in turns: what each of them gave, in their order.

    Each side's child prepares and warms up, then the windows are taken, of as many calls on every side, until a side
    fails. `slowdowns` slow a side down on purpose, by that share.
    """
    job = {
        "prepare": benchmark.portable,
        "source": str(setting.sources.get(benchmark.cell.data, benchmark.cell.data)),
        "device": setting.device,
        "threads": setting.threads,
    }
    for side in sides:
        side.revive()
    idle = gauge.read()  # of those on the GPU now, none is ours
    ready = [side.ask(job, PREPARE_SECONDS) for side in sides]
    if _any_failed(ready):
        return _given_up(sides, ready, setting)
    calls = math.ceil(1.1 * setting.window_seconds / min(answer["call"] for answer in ready))
    windows: list[list[dict[str, Any]]] = [[] for _ in sides]
    clocks: list[list[Reading]] = [[] for _ in sides]
    first, started = gauge.read(), time.monotonic()
    for number in range(setting.windows * len(sides)):
        which = ORDER[number % len(ORDER)] if len(sides) == 2 else 0
        window = sides[which].ask({"window": calls, "slowdown": slowdowns[which]}, WINDOW_SECONDS)
        if "failed" in window:
            return _given_up(sides, [window if side is sides[which] else {} for side in sides], setting)
        windows[which].append(window)
        clocks[which].append(gauge.read(names=POLLED))
    last, seconds = gauge.read(), time.monotonic() - started
    ends = [side.ask({"end": True}, WINDOW_SECONDS) for side in sides]
    if _any_failed(ends):
        return _given_up([], ends, setting)
    found = []
    for answers, polls in zip(zip(ready, windows, ends, strict=True), clocks, strict=True):
        span = replace(Span.between(first, last, polls, seconds), other_computing=idle.other_computing)
        found.append(_with_gpu(_outcome(*answers, calls, setting.clock), span, last, alone=len(sides) == 1))
    return found


def _any_failed(answers: Sequence[Mapping[str, Any]]) -> bool:
    return any("failed" in answer for answer in answers)


def _given_up(sides: Sequence[Instrument], answers: Sequence[Mapping[str, Any]], setting: Setting) -> list[Outcome]:
    """What is told where a side has failed, by the last answers: the children of the others are ended."""
    for side, answer in zip(sides, answers, strict=False):
        if "failed" not in answer:
            side.ask({"end": True}, WINDOW_SECONDS)
    return [Outcome(failed=answer.get("failed"), cause=answer.get("cause"), clock=setting.clock) for answer in answers]


def _outcome(
    ready: Mapping[str, Any], windows: Sequence[Mapping[str, Any]], end: Mapping[str, Any], calls: int, clock: str
) -> Outcome:
    """What one side's process told."""
    return Outcome(
        clock=clock,
        images=ready["images"],
        calls=calls,
        window_seconds=tuple(window["seconds"] for window in windows),
        cpu_seconds=tuple(window["cpu_seconds"] for window in windows),
        warm_up_seconds=tuple(ready["warm_up"]),
        steady=ready["steady"],
        parameters=ready["parameters"],
        multiply_adds=ready["multiply_adds"],
        call_bytes=ready["call_bytes"],
        call_multiply_adds=ready["call_multiply_adds"],
        peak_allocated_bytes=end["allocated"],
        peak_reserved_bytes=end["reserved"],
        peak_rss_bytes=end["resident"],
        base_rss_bytes=end["base"],
    )


def _with_gpu(outcome: Outcome, span: Span, last: Reading, *, alone: bool) -> Outcome:
    """And what NVML told meanwhile; power, energy and memory only of a side that had the GPU to itself."""
    joules = span.joules if alone else None
    images = outcome.images * outcome.calls * len(outcome.window_seconds)
    return replace(
        outcome,
        joules_per_1000_images=joules and 1000 * joules / images,
        power_watts=joules and joules / span.seconds,
        gpu_memory_used_bytes=last.memory_used_bytes if alone else None,
        sm_clock_mhz=span.sm_clock_mhz_median,
        temperature_celsius=span.temperature_celsius_max,
        slowdowns=json.dumps(span.slowdowns) if span.slowdowns else None,
        trouble=span.trouble(),
        unread="; ".join(f"{name}: {why}" for name, why in span.unread.items()) or None,
    )
