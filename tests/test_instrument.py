"""The instrument's protocol, spoken with a real process whose works are a stand-in; its clock, scripted."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fakeworks
import pytest

from bench import instrument as module
from bench.instrument import GROUP, MOST_WARM_UPS, Clock, warm_up
from bench.sampling import INSTRUMENT, Instrument, Setting

LIMIT = 20.0  # seconds, for answers that come at once


@pytest.fixture
def fake(tmp_path):
    """A checkout whose works are the stand-in."""
    return fakeworks.write(tmp_path / "fake")


@pytest.fixture
def instrument(fake):
    """A process that is ready."""
    started = Instrument(fake, Setting())
    started.start()
    yield started
    started.close()


def ask(instrument, message, seconds=LIMIT):
    return instrument.ask(message, seconds)


def prepare(instrument, source="", seconds=LIMIT, **fields):
    return ask(instrument, {"prepare": fields, "source": source, "device": "cpu", "threads": 1}, seconds)


def gone(pid):
    """Whether a process ends; its parent may be busy for a moment, and so may init."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
                continue
        return True
    return False


def told(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- what is answered ----


def test_it_tells_of_its_toolkit_and_whose_package_it_imported(instrument, fake):
    assert instrument.toolkit == {
        "torch": "0.fake",
        "cuda": None,
        "cudnn": None,
        "cuda_available": False,
        "package": str(fake.root / "bench"),
    }


def test_a_benchmark_from_preparation_to_its_end(instrument, tmp_path):
    said = tmp_path / "said"
    ready = prepare(instrument, f"told={said}", work="train", depth=8)
    names = ("images", "parameters", "multiply_adds", "call_bytes", "call_multiply_adds")
    assert [ready[name] for name in names] == [3, 5, 7, None, 11]
    assert 2 * GROUP <= len(ready["warm_up"]) <= MOST_WARM_UPS
    a_call = 0.99 * fakeworks.SECONDS  # two of the system's clocks need not agree to the last digit
    assert ready["call"] == min(ready["warm_up"]) >= a_call
    for calls in (1, 20):
        assert min(ask(instrument, {"window": calls}).values()) >= calls * a_call
    end = ask(instrument, {"end": True})
    assert end["resident"] >= end["base"] > 2**20
    assert end["allocated"] is end["reserved"] is None
    (seen,) = told(said)
    assert seen["fields"] == {"work": "train", "depth": 8} and (seen["device"], seen["threads"]) == ("cpu", 1)
    assert seen["cwd"] == str(Path.cwd())  # where the images' folder, and the cache, may be relative to
    assert seen["pid"] != instrument._process.pid and not Path(f"/proc/{seen['pid']}").exists()  # gone by then


def test_each_benchmark_has_a_process_of_its_own(instrument, tmp_path):
    said = tmp_path / "said"
    for _ in range(3):
        assert "call" in prepare(instrument, f"told={said}")
        assert "base" in ask(instrument, {"end": True})
    pids = [seen["pid"] for seen in told(said)]
    assert len(set(pids)) == 3 and all(map(gone, pids))


def test_a_slowdown_is_really_there(instrument):
    prepare(instrument, "sleep")
    least = 20 * fakeworks.SECONDS  # nobody wakes early
    assert ask(instrument, {"window": 20})["seconds"] >= least
    assert ask(instrument, {"window": 20, "slowdown": 2.0})["seconds"] >= 3 * least


def test_ceilings_come_from_the_works(instrument):
    assert ask(instrument, {"ceilings": "cpu", "threads": 1}) == {"bandwidth": 1e9, "rates": {"fp32": 2e9}}
    failed = ask(instrument, {"ceilings": "none", "threads": 1})
    assert failed == {"failed": "RuntimeError: no such device", "cause": "error"}
    assert "call" in prepare(instrument)


def test_what_works_print_is_no_answer(instrument):
    assert "call" in prepare(instrument, "print")
    assert ask(instrument, {"window": 5})["seconds"] >= 5 * fakeworks.SECONDS
    assert "base" in ask(instrument, {"end": True})


# ---- what fails ----

TROUBLES = {
    "raise": ("ZeroDivisionError: of the test", "error"),
    "refuse": ("not that", "refused"),
    "memory": ("MemoryError: MemoryError", "out-of-memory"),
    "allocator": ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried", "out-of-memory"),
    "exit": ("SystemExit: 3", "error"),
    "leave": ("exited with status 7", "died"),
    "kill": ("killed by SIGKILL", "died"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_costs_a_benchmark_and_is_told_once(instrument, tmp_path, trouble):
    """As it prepares, and as a window is taken: the next benchmark is measured as if nothing had been."""
    why, cause = TROUBLES[trouble]
    when = tmp_path / "now"
    assert prepare(instrument, f"trouble={trouble}") == {"failed": why, "cause": cause}
    assert "call" in prepare(instrument, f"trouble={trouble} when={when}")
    when.touch()
    assert ask(instrument, {"window": 1}) == {"failed": why, "cause": cause}
    assert "call" in prepare(instrument)
    assert "seconds" in ask(instrument, {"window": 1}) and "base" in ask(instrument, {"end": True})


def test_a_child_killed_between_two_windows_is_told_of_at_the_next(instrument, tmp_path):
    said = tmp_path / "said"
    prepare(instrument, f"told={said}")
    os.kill(told(said)[0]["pid"], signal.SIGKILL)
    assert ask(instrument, {"window": 1}) == {"failed": "killed by SIGKILL", "cause": "died"}
    assert "call" in prepare(instrument)
    assert "seconds" in ask(instrument, {"window": 1})


def test_one_that_hangs_is_given_up_with_its_child_and_can_be_started_again(instrument, tmp_path):
    said = tmp_path / "said"
    hung = prepare(instrument, f"told={said} trouble=hang", seconds=0.5)
    assert hung == {"failed": "no answer within 0.5 s", "cause": "died"}
    assert gone(told(said)[0]["pid"])
    assert instrument._process.poll() is not None
    assert prepare(instrument) == {"failed": "its process is gone", "cause": "died"}
    instrument.revive()
    process = instrument._process
    assert "call" in prepare(instrument)
    instrument.revive()  # of one that is well nothing is changed
    assert instrument._process is process and "seconds" in ask(instrument, {"window": 1})


def test_nothing_is_left_of_one_that_is_closed_while_its_child_works(instrument, tmp_path):
    said = tmp_path / "said"
    prepare(instrument, f"told={said}")
    instrument.close()
    assert gone(told(said)[0]["pid"]) and instrument._process.poll() is not None
    instrument.close()  # again is no error


@pytest.mark.parametrize("source", ["", "trouble=hang"])
def test_all_end_when_the_driver_dies(fake, tmp_path, source):
    """Killed, it can tell nobody: its end of the pipe is gone, and that is told."""
    said = tmp_path / "said"
    job = json.dumps({"prepare": {}, "source": f"told={said} {source}", "device": "cpu", "threads": 1})
    driver = f"""
import subprocess, sys, time
process = subprocess.Popen([sys.executable, "-P", {str(INSTRUMENT)!r}], stdin=subprocess.PIPE, bufsize=0)
process.stdin.write({job!r}.encode() + b"\\n")
print(process.pid, flush=True)
time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": str(fake.root)}
    command = [sys.executable, "-c", driver]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        instrument = int(process.stdout.readline())
        for _ in range(1000):
            if said.exists() and said.read_text():
                break
            time.sleep(0.01)
        (child,) = (seen["pid"] for seen in told(said))
        assert Path(f"/proc/{instrument}").exists() and Path(f"/proc/{child}").exists()
        process.kill()
    assert gone(child) and gone(instrument)


def test_ctrl_c_is_the_drivers_business(instrument):
    prepare(instrument)
    instrument._process.send_signal(signal.SIGINT)
    assert "seconds" in ask(instrument, {"window": 1})


# ---- the clock ----


class Time:
    """A clock that moves when it is told to, and a little at each look."""

    def __init__(self, monkeypatch, look=0.0):
        self.now, self.look = 0.0, look
        monkeypatch.setattr(module.time, "perf_counter", self.read)
        monkeypatch.setattr(module.time, "process_time", lambda: 2 * self.now)

    def read(self):
        self.now += self.look
        return self.now


def a_work(time, seconds):
    def call():
        time.now += seconds

    return SimpleNamespace(repeat=lambda calls: [call() for _ in range(calls)], stream=contextlib.nullcontext)


def test_seconds_are_those_of_all_calls(monkeypatch):
    time = Time(monkeypatch)
    assert Clock(a_work(time, 0.25), "cpu").seconds(8) == {"seconds": 2.0, "cpu_seconds": 4.0}


@pytest.mark.parametrize("slowdown", [0.0, 0.02, 0.5])
def test_a_slowdown_is_the_share_that_it_says(monkeypatch, slowdown):
    time = Time(monkeypatch, look=1e-5)
    seconds = Clock(a_work(time, 0.25), "cpu").seconds(8, slowdown)["seconds"]
    assert seconds == pytest.approx(2.0 * (1 + slowdown), abs=1e-4)


def test_on_a_gpu_its_events_tell_and_a_slowdown_is_more_calls(monkeypatch):
    """Events that are given the device's time when it comes to them."""
    device = SimpleNamespace(now=0.0, queue=[], waits=0)

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            device.queue.append(lambda: setattr(self, "at", device.now))

        def synchronize(self):
            device.waits += 1
            for work in device.queue:
                work()
            device.queue.clear()

        def elapsed_time(self, end):
            return 1000 * (end.at - self.at)

    def work():
        device.now += 0.01

    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock(
        SimpleNamespace(repeat=lambda calls: device.queue.extend([work] * calls), stream=contextlib.nullcontext),
        "cuda:0",
    )
    assert clock.seconds(100)["seconds"] == pytest.approx(1.0)
    assert clock.seconds(100, 0.05)["seconds"] == pytest.approx(1.05)
    assert device.waits == 2  # once a window


# ---- warming up ----


def warmed(per_call):
    """What `warm_up` says of work whose calls take these seconds, window by window (the last for ever)."""
    asked = []

    def seconds(calls):
        asked.append(calls)
        number = max(0, len(asked) - 6)  # the first five are single calls
        return calls * per_call[min(number, len(per_call) - 1)]

    return asked, warm_up(seconds)


def test_steady_work_is_warm_as_soon_as_that_can_be_seen():
    asked, (windows, steady, call) = warmed([0.001])
    assert asked == [1] * 5 + [100] * 2 * GROUP  # of a tenth of a second
    assert (windows, steady, call) == (pytest.approx([0.001] * 6), True, pytest.approx(0.001))


def test_a_slow_start_is_waited_for():
    _, (windows, steady, call) = warmed([0.004, 0.003, 0.002, 0.0015, 0.0012, 0.001])
    assert steady and len(windows) >= 5 + GROUP  # at least the last three are of the end
    assert call == pytest.approx(0.001)


def test_a_drift_is_not_steady_though_each_window_lasts_as_long():
    """Windows are sized by the one before: by their length alone a steady drift cannot be seen."""
    _, (windows, steady, _) = warmed([0.001 * 1.05**n for n in range(100)])
    assert not steady and len(windows) == MOST_WARM_UPS


def test_the_least_of_a_call_counts_so_that_windows_are_long_enough():
    _, (_, _, call) = warmed([0.001, 0.001, 0.001, 0.001, 0.001, 0.002])  # a neighbour in the last
    assert call == pytest.approx(0.001)


def test_calls_longer_than_a_window_are_made_one_at_a_time():
    asked, (windows, steady, call) = warmed([3.0])
    assert set(asked) == {1} and steady and (windows[0], call) == (3.0, 3.0)


# ---- a checkout that cannot be measured ----


def test_works_that_cannot_be_imported_are_told_of(tmp_path):
    fake = fakeworks.write(tmp_path / "old", "import nothing_of_this_name\n")
    process = Instrument(fake, Setting())
    try:
        assert "No module named 'nothing_of_this_name'" in process._answer(LIMIT)["failed"]
    finally:
        process.close()
