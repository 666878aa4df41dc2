"""Samples, taken from scripted instruments under a scripted NVML; and from real processes with stand-in works."""

import math
from dataclasses import replace
from itertools import groupby

import fakeworks
import pytest
from fakenvml import FakeNvml
from hypothesis import given
from hypothesis import strategies as st
from synthetic import a_cell

from bench import memo, nvml, sampling
from bench.benchmark import Benchmark, benchmarks
from bench.errors import InputError
from bench.sample import CPU, DEVICE, WALL, Outcome
from bench.sampling import Setting, instruments, measure, sample
from bench.source import Source

(BENCHMARK,) = benchmarks(["train"], [a_cell()])
SETTING = Setting(windows=4)
READY = {
    **{"images": 32, "parameters": 5, "multiply_adds": 7, "call_bytes": 1000, "call_multiply_adds": 600},
    **{"warm_up": [0.02, 0.01], "steady": True, "call": 0.0095},
}
END = {"allocated": 1, "reserved": 2, "resident": 5 * 2**20, "base": 2**20}
FAILED = {"failed": "killed by SIGKILL", "cause": "died"}


class Scripted:
    """An instrument that answers as told, and writes down what it is asked."""

    def __init__(self, log=None, name="A", ready=READY, windows=None, end=END, during=lambda: None):
        self.log, self.name, self.ready, self.end, self.during = [] if log is None else log, name, ready, end, during
        self.windows = windows or (lambda number: {"seconds": 0.11 + number, "cpu_seconds": 0.1 + number})
        self.taken, self.child = 0, False

    def revive(self):
        self.log.append((self.name, "revive", None))

    def ask(self, message, seconds):
        assert seconds > 0
        kind = next(kind for kind in ("prepare", "window", "end", "ceilings") if kind in message)
        self.log.append((self.name, kind, message))
        assert self.child == (kind in ("window", "end")), f"{kind} would never be answered"
        answer = {"prepare": self.ready, "end": self.end}.get(kind)
        if kind == "prepare":
            self.taken = 0
        if kind == "window":
            self.during()
            answer, self.taken = self.windows(self.taken), self.taken + 1
        self.child = kind not in ("end", "ceilings") and "failed" not in answer
        return answer


@pytest.fixture
def no_gpu():
    with nvml.open_gauge(None) as gauge:
        yield gauge


@pytest.fixture
def gpu():
    """A driver of one GPU, and a gauge of it."""
    library = FakeNvml()
    with nvml.open_gauge("GPU-a", library) as gauge:
        yield library, gauge


def kinds(log):
    """What was asked of whom, in order, without repeats: `A window`."""
    return [key for key, _ in groupby(f"{name} {kind}" for name, kind, _ in log)]


# ---- order, calls, windows ----


def test_two_sides_take_turns(no_gpu):
    log = []
    sides = [Scripted(log, "A"), Scripted(log, "B")]
    sample(sides, BENCHMARK, Setting(windows=12), no_gpu)
    assert "".join(name for name, kind, _ in log if kind == "window") == "ABBA" * 6
    around = [f"{name} {kind}" for name, kind, _ in log if kind != "window"]
    assert around == ["A revive", "B revive", "A prepare", "B prepare", "A end", "B end"]


@given(st.integers(1, 20))
def test_sides_have_as_many_windows_and_a_drift_cancels(windows):
    log = []
    with nvml.open_gauge(None) as gauge:
        sample([Scripted(log, "A"), Scripted(log, "B")], BENCHMARK, Setting(windows=windows), gauge)
    order = [name for name, kind, _ in log if kind == "window"]
    places = {name: [place for place, found in enumerate(order) if found == name] for name in "AB"}
    assert len(places["A"]) == len(places["B"]) == windows
    if windows % 2 == 0:
        assert sum(places["A"]) == sum(places["B"])  # what grows with time is as much on both


@given(st.floats(1e-7, 100), st.floats(1e-7, 100), st.floats(0.1, 5))
def test_windows_are_of_as_many_calls_and_long_enough_for_the_faster(first, second, least):
    log = []
    sides = [Scripted(log, name, ready=READY | {"call": call}) for name, call in (("A", first), ("B", second))]
    with nvml.open_gauge(None) as gauge:
        found = sample(sides, BENCHMARK, Setting(windows=2, window_seconds=least), gauge)
    (calls,) = {message["window"] for _, kind, message in log if kind == "window"}
    assert [outcome.calls for outcome in found] == [calls] * 2
    faster = min(first, second)
    assert calls * faster >= least
    assert calls == 1 or (calls - 1) * faster <= 1.1 * least * (1 + 1e-9)  # and not much longer


@pytest.mark.parametrize("seconds", [0.0, 0.0999, -1.0])
def test_shorter_windows_are_refused(seconds):
    with pytest.raises(InputError, match=r"must be of at least 0\.1 s"):
        Setting(window_seconds=seconds)


def test_what_clock_counts():
    assert Setting(device="cpu", threads=1).clock == CPU
    assert Setting(device="cpu", threads=2).clock == WALL  # of several threads, CPU time is that of all
    assert Setting(device="cuda:0").clock == DEVICE


def test_what_the_instrument_is_asked_for(no_gpu):
    log = []
    benchmark = Benchmark("train", a_cell(data="folder:pictures"))
    source = Source.parse("folder:some/where/pictures")
    setting = Setting(windows=1, threads=2, sources={"folder:pictures": source})
    sample([Scripted(log)], benchmark, setting, no_gpu, [0.25])
    jobs = [message for _, kind, message in log if kind in ("prepare", "window")]
    where = {"source": "folder:some/where/pictures", "device": "cpu", "threads": 2}
    assert jobs == [{"prepare": benchmark.portable} | where, {"window": 12, "slowdown": 0.25}]


def test_what_is_answered_is_what_is_kept(no_gpu):
    (found,) = sample([Scripted()], BENCHMARK, SETTING, no_gpu)
    assert found == Outcome(
        clock=CPU,
        images=32,
        calls=12,
        window_seconds=(0.11, 1.11, 2.11, 3.11),
        cpu_seconds=(0.1, 1.1, 2.1, 3.1),
        warm_up_seconds=(0.02, 0.01),
        steady=True,
        call_bytes=1000,
        call_multiply_adds=600,
        parameters=5,
        multiply_adds=7,
        peak_allocated_bytes=1,
        peak_reserved_bytes=2,
        peak_rss_bytes=5 * 2**20,
        base_rss_bytes=2**20,
        unread=found.unread,
    )
    assert found.grown_bytes == 4 * 2**20
    assert found.seconds == pytest.approx((1.1 + 2.1) / 2 / 12)  # by CPU time
    assert "energy_joules: no GPU is used" in found.unread.split("; ")


# ---- what fails ----


@pytest.mark.parametrize("failing", ["A", "B", "AB"])
def test_where_a_side_cannot_be_prepared_no_window_is_taken(no_gpu, failing):
    log = []
    sides = [Scripted(log, name, ready=FAILED if name in failing else READY) for name in "AB"]
    found = sample(sides, BENCHMARK, SETTING, no_gpu)
    why = {True: (FAILED["failed"], "died"), False: (None, None)}
    assert [(o.failed, o.cause) for o in found] == [why[name in failing] for name in "AB"]
    assert {(o.clock, o.seconds) for o in found} == {(CPU, None)}
    asked = [f"{name} {kind}" for name, kind, _ in log if kind != "revive"]
    assert asked == ["A prepare", "B prepare", *(f"{name} end" for name in "AB" if name not in failing)]
    assert not any(side.child for side in sides)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_failure_in_a_window_ends_the_sample_at_once(no_gpu, at):
    """Nobody is asked who would not answer: that would take its five minutes."""
    log = []
    broken = Scripted(log, "B", windows=lambda number: FAILED if number == at else {"seconds": 1.0, "cpu_seconds": 1})
    found = sample([Scripted(log, "A"), broken], BENCHMARK, SETTING, no_gpu)
    assert [(o.failed, o.cause, o.clock) for o in found] == [(None, None, CPU), ("killed by SIGKILL", "died", CPU)]
    assert found[0].window_seconds == () and found[0].images is None  # half a sample is none
    assert kinds(log)[-2:] == ["B window", "A end"]
    assert (len([1 for name, kind, _ in log if (name, kind) == ("B", "window")])) == at + 1


def test_a_failure_at_the_end_counts(no_gpu):
    found = sample([Scripted(end=FAILED), Scripted()], BENCHMARK, SETTING, no_gpu)
    assert [o.failed for o in found] == ["killed by SIGKILL", None] and found[1].window_seconds == ()


# ---- what NVML tells ----


def test_energy_is_per_thousand_images_of_a_side_alone(gpu):
    library, gauge = gpu

    def during():
        library.millijoules += 5_500

    setting = replace(SETTING, device="cuda:0", windows=10)
    (alone,) = sample([Scripted(during=during)], BENCHMARK, setting, gauge)
    images = 10 * 12 * 32
    assert alone.joules_per_1000_images == pytest.approx(1000 * 10 * 5.5 / images)
    assert alone.power_watts > 0 and alone.gpu_memory_used_bytes == 2**30 and alone.trouble is None
    assert alone.clock == DEVICE and alone.seconds == pytest.approx((4.11 + 5.11) / 2 / 12)
    for side in sample([Scripted(during=during), Scripted(during=during)], BENCHMARK, setting, gauge):
        assert side.joules_per_1000_images is side.power_watts is side.gpu_memory_used_bytes is None


def test_without_an_energy_counter_there_is_no_energy():
    with nvml.open_gauge("GPU-a", FakeNvml(failing=["nvmlDeviceGetTotalEnergyConsumption"])) as gauge:
        (found,) = sample([Scripted()], BENCHMARK, SETTING, gauge)
    assert found.joules_per_1000_images is None and found.power_watts is None
    assert "energy_joules: Not Supported" in found.unread.split("; ")


def test_each_sides_clock_is_that_after_its_own_windows(gpu):
    library, gauge = gpu

    def at(megahertz):
        return lambda: setattr(library, "clock", megahertz)

    slow, fast = sample([Scripted(during=at(1500)), Scripted(during=at(1980))], BENCHMARK, SETTING, gauge)
    assert (slow.sm_clock_mhz, fast.sm_clock_mhz) == (1500, 1980)


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({270: 250_000_000}, "hardware thermal slowdown for 0.25 s"),
        ({271: 1_000_000_000}, "hardware power brake for 1 s"),
        ({74: 9_000_000_000}, None),  # a power cap is no trouble
        ({}, None),
    ],
)
def test_what_slows_the_gpu_meanwhile_spoils_both_sides(gpu, changes, trouble):
    library, gauge = gpu
    library.counters = dict.fromkeys(library.counters, 10**9)  # of before

    def during():
        for number, nanoseconds in changes.items():
            library.counters[number] = 10**9 + nanoseconds

    found = sample([Scripted(during=during), Scripted()], BENCHMARK, SETTING, gauge)
    assert [o.trouble for o in found] == [trouble] * 2
    assert found[0].slowdowns == ('{"software power cap": 9.0}' if 74 in changes else found[1].slowdowns)


def test_memory_errors_and_who_is_there_before_spoil_it_but_not_ones_own_children(gpu):
    library, gauge = gpu
    sides = [Scripted(during=lambda: library.computing.append(4711)), Scripted()]
    assert [o.trouble for o in sample(sides, BENCHMARK, SETTING, gauge)] == [None, None]
    library.computing = [4712]
    (found,) = sample([Scripted()], BENCHMARK, SETTING, gauge)
    assert found.trouble == "1 other process on the GPU"
    library.computing = []
    (found,) = sample([Scripted(during=lambda: setattr(library, "uncorrected", 2))], BENCHMARK, SETTING, gauge)
    assert found.trouble == "2 uncorrected memory errors"


def test_a_gpu_that_is_lost_meanwhile_crashes_nothing(gpu):
    library, gauge = gpu
    (found,) = sample([Scripted(during=lambda: setattr(library, "lost", True))], BENCHMARK, SETTING, gauge)
    assert found.seconds and found.sm_clock_mhz is None and "GPU is lost" in found.unread


# ---- shares of ceilings ----

CEILINGS = {"bandwidth": 1e6, "rates": {"fp32": 1e5}}


class Measured(Scripted):
    """One that tells ceilings, too."""

    def __init__(self, **options):
        super().__init__(**options)
        self.toolkit, self.ceilings = {"torch": "2.fake"}, CEILINGS

    def ask(self, message, seconds):
        return self.ceilings if "ceilings" in message else super().ask(message, seconds)


@pytest.fixture
def measured(monkeypatch, fresh_cache, no_gpu):  # noqa: ARG001
    """Measure benchmarks with a scripted instrument."""

    def take(instrument, *found):
        class Opened:
            def __enter__(self):
                return [instrument]

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(sampling, "instruments", lambda *_: Opened())
        return [outcome for _, outcome in measure(None, found, SETTING, no_gpu)]

    return take


def test_shares_are_needs_over_ceilings_and_seconds(measured):
    (found,) = measured(Measured(), BENCHMARK)
    assert found.arithmetic_share == pytest.approx(600 / 1e5 / found.seconds)
    assert found.bandwidth_share == pytest.approx(1000 / 1e6 / found.seconds)


def test_of_other_work_with_a_net_what_it_computes_forward(measured):
    ready = READY | {"call_bytes": None, "call_multiply_adds": None}
    (found,) = measured(Measured(ready=ready), BENCHMARK)
    assert found.arithmetic_share == pytest.approx(7 * 32 / 1e5 / found.seconds)
    assert found.bandwidth_share is None
    (found,) = measured(Measured(ready=ready | {"multiply_adds": None}), BENCHMARK)
    assert found.arithmetic_share is found.bandwidth_share is None


def test_the_most_that_the_device_ever_did_is_its_ceiling(measured):
    instrument = Measured()
    (alone,) = measured(instrument, BENCHMARK)
    instrument.ceilings = {"bandwidth": 2e6, "rates": {"fp32": 5e4, "bf16": 1.0}}  # under a load, but for the copy
    (loaded,) = measured(instrument, BENCHMARK)
    assert loaded.arithmetic_share == alone.arithmetic_share
    assert loaded.bandwidth_share == pytest.approx(alone.bandwidth_share / 2)
    (kept,) = memo.recall(sampling.CEILINGS).values()
    assert kept == {"bandwidth": 2e6, "rates": {"fp32": 1e5, "bf16": 1.0}}


def test_without_ceilings_or_windows_there_are_no_shares(measured):
    instrument = Measured()
    instrument.ceilings = FAILED
    (found,) = measured(instrument, BENCHMARK)
    assert found.seconds and found.arithmetic_share is found.bandwidth_share is None
    assert memo.recall(sampling.CEILINGS) == {}
    (found,) = measured(Measured(ready=FAILED), BENCHMARK)
    assert found.failed and found.arithmetic_share is None
    (bf16,) = benchmarks(["train"], [replace(a_cell(), recipe=replace(a_cell().recipe, precision="bf16"))])
    assert measured(Measured(), bf16)[0].arithmetic_share is None  # a precision without a ceiling


# ---- real processes ----


def at(source, **more):
    return Setting(windows=2, sources={"digits": source}, **more)


def test_a_benchmark_that_hangs_or_dies_costs_itself_alone(tmp_path, monkeypatch, fresh_cache, no_gpu):  # noqa: ARG001
    monkeypatch.setattr(sampling, "PREPARE_SECONDS", 1.5)
    checkout, (other,) = fakeworks.write(tmp_path / "fake"), benchmarks(["inference"], [a_cell(data="noise32")])
    for trouble, why in (("hang", "no answer within 1.5 s"), ("leave", "exited with status 7")):
        taken = measure(checkout, [BENCHMARK, other], at(f"trouble={trouble}"), no_gpu)
        (first, failed), (second, sound) = taken
        assert (first, second) == (BENCHMARK, other)
        assert (failed.failed, failed.cause) == (why, "died")
        assert sound.failed is None and len(sound.window_seconds) == 2
        assert min(sound.window_seconds) > 0 and sound.calls * fakeworks.SECONDS <= 1.2 * 0.11 + fakeworks.SECONDS


def test_two_checkouts_are_measured_by_one_instrument(tmp_path, no_gpu):
    sides = [
        fakeworks.write(tmp_path / "base"),
        fakeworks.write(tmp_path / "head", fakeworks.WORKS.replace("images=3", "images=4")),
    ]
    with instruments(sides, SETTING) as started:
        found = sample(started, BENCHMARK, SETTING, no_gpu)
        processes = [side._process for side in started]
    assert [o.images for o in found] == [3, 4]
    assert all(process.poll() is not None for process in processes)


def test_a_checkout_that_cannot_be_measured_is_named_and_nothing_stays(tmp_path, monkeypatch):
    opened = []
    real = sampling.subprocess.Popen
    monkeypatch.setattr(sampling.subprocess, "Popen", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
    sound, old = fakeworks.write(tmp_path / "sound"), fakeworks.write(tmp_path / "old", "import no_such_thing\n")
    with (
        pytest.raises(
            InputError, match=r"^old \(aaaaaaaaaaaa\): .*No module named 'no_such_thing'.*needs bench\.works$"
        ),
        instruments([sound, replace(old, name="old")], SETTING),
    ):
        pass
    assert len(opened) == 2 and all(process.poll() is not None for process in opened)


def test_another_checkouts_package_is_not_measured_in_its_place(tmp_path):
    here, other = fakeworks.write(tmp_path / "here"), fakeworks.write(tmp_path / "other")
    (here.root / "sitecustomize.py").write_text(f"import sys; sys.path.insert(0, {str(other.root)!r})")
    message = rf"^fake \(a{{12}}\): {other.root}/bench was imported in its place$"
    with pytest.raises(InputError, match=message), instruments([here], SETTING):
        pass


def test_a_gpu_is_told_by_its_uuid(tmp_path, monkeypatch):
    seen = {}
    real = sampling.subprocess.Popen
    monkeypatch.setattr(sampling.subprocess, "Popen", lambda *a, **k: seen.update(k["env"]) or real(*a, **k))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with instruments([fakeworks.write(tmp_path / "fake")], Setting(device="cuda:0", gpu_uuid="GPU-a")):
        pass
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-a" and seen["PYTHONPATH"] == str(tmp_path / "fake")
    assert "PYTHONDONTWRITEBYTECODE" not in seen and math.isfinite(float(seen["OPENBLAS_NUM_THREADS"]))
