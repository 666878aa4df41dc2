"""Imports of pytest-benchmark's files: against files that pytest-benchmark writes here, whole and mutilated."""

import copy
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import a_cell, a_host

from bench import foreign
from bench.benchmark import Benchmark
from bench.errors import InputError
from bench.history import History, sample_of
from bench.sample import HISTORY, IMPORTED, WALL, Outcome, Taking
from bench.series import series

BENCHES = """
def test_sums(benchmark):
    benchmark.pedantic(sum, (range(1000),), rounds=7, iterations=3)

def test_images(benchmark):
    benchmark.extra_info |= {extra}
    benchmark.pedantic(sum, (range(1000),), rounds=4)
"""
OURS = Benchmark("train", a_cell())
EXTRA = {"images": 32, "calls": 5, "threads": 2, "device": "cpu", "benchmark": OURS.flat()}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A file of the installed pytest-benchmark's, in a git repository of one commit, as a table."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "test_own.py").write_text(BENCHES.replace("{extra}", repr(EXTRA)))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--benchmark-json=out.json", "test_own.py"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # no worker of xdist's
    subprocess.run(command, cwd=folder, env=own, check=True, capture_output=True)
    return json.loads((folder / "out.json").read_text())


def put(folder, table):
    path = folder / "out.json"
    path.write_text(json.dumps(table))
    return path


def test_each_benchmark_is_a_sample(written, tmp_path):
    sums, images = foreign.read(put(tmp_path, written)).samples
    found = {item["name"]: item["stats"] for item in written["benchmarks"]}
    assert sums.name == "test_own.py::test_sums" and sums.benchmark is None
    assert sums.benchmark_id == "35d45c2df992daa2"  # printf test_own.py::test_sums | sha256sum
    assert sums.outcome.window_seconds == tuple(found["test_sums"]["data"]) and len(sums.outcome.window_seconds) == 7
    assert sums.outcome.seconds == pytest.approx(found["test_sums"]["median"])
    assert (sums.outcome.calls, sums.outcome.images, sums.outcome.clock) == (1, None, WALL)
    assert (images.benchmark, images.benchmark_id, images.name) == (OURS, OURS.id, OURS.label)
    assert images.outcome.seconds == pytest.approx(found["test_images"]["median"] / 5)
    assert images.outcome.images_per_second == pytest.approx(32 / images.outcome.seconds)
    assert (images.taking.threads, images.taking.device, sums.taking.threads) == (2, "cpu", 0)
    assert sums.taking.measurement_id == images.taking.measurement_id and sums.taking.purpose == IMPORTED


def test_commit_and_times_are_those_of_the_file(written, tmp_path):
    taking = foreign.read(put(tmp_path, written)).samples[0].taking
    assert re.fullmatch("[0-9a-f]{40}", taking.commit) and taking.commit == written["commit_info"]["id"]
    assert taking.dirty is False and taking.committed <= taking.started and taking.started.tzinfo is UTC
    assert taking.committed == datetime.fromisoformat(written["commit_info"]["time"])


@pytest.mark.parametrize("name", ["unversioned", "unknown"])
def test_outside_of_git_there_is_no_commit(written, tmp_path, name):
    for info in ({"id": name, "time": None, "dirty": False}, None):
        taking = foreign.read(put(tmp_path, written | {"commit_info": info})).samples[0].taking
        assert taking.commit is None and taking.committed is None


def test_without_data_the_median_is_taken(written, tmp_path):
    table = copy.deepcopy(written)
    for item in table["benchmarks"]:
        del item["stats"]["data"]
    (sums, _) = foreign.read(put(tmp_path, table)).samples
    data = next(item for item in written["benchmarks"] if item["name"] == "test_sums")["stats"]["data"]
    assert sums.outcome.window_seconds == (pytest.approx(statistics.median(data)),)


def test_a_foreign_host_is_told_by_what_is_known(written, tmp_path):
    host = foreign.read(put(tmp_path, written)).host
    cpu = written["machine_info"]["cpu"]
    assert (host.cpu, host.cores) == (cpu.get("brand_raw", "unknown"), cpu["count"])
    assert host.system.startswith("Linux") and (host.torch, host.memory_gib, host.gpu) == ("unknown", 0, None)
    bare = foreign.read(put(tmp_path, written | {"machine_info": {"cpu": {}}})).host
    assert (bare.cpu, bare.cores, bare.system) == ("unknown", 0, "unknown") and bare.id != host.id


@pytest.mark.parametrize(("gpu", "device"), [(None, "cpu"), ("Imagined GPU", "cuda:0")])
def test_our_own_host_keeps_its_id(written, tmp_path, gpu, device):
    ours = a_host(gpu=gpu, gpu_power_limit_watts=700.0 if gpu else None)
    machine = written["machine_info"] | {"resbench_host": asdict(ours)}
    found = foreign.read(put(tmp_path, written | {"machine_info": machine}))
    assert found.host == ours and {sample.taking.host_id for sample in found.samples} == {ours.id}
    assert found.samples[0].taking.device == device


def test_a_file_is_added_once_and_shown_with_measured_ones(written, tmp_path):
    history = History(tmp_path / "results")
    found = foreign.read(put(tmp_path, written))
    assert foreign.add(found, history) and not foreign.add(found, history)
    again = foreign.read(put(tmp_path, written | {"datetime": "2026-02-03T04:05:06"}))
    assert foreign.add(again, history)
    assert history.samples(IMPORTED) == [*again.samples, *found.samples]
    assert history.hosts() == {found.host.id: found.host}
    now = datetime.now(UTC)
    taking = Taking("m", HISTORY, None, None, None, None, None, found.host.id, "cpu", 2, None, now)
    measured = sample_of(OURS, taking, Outcome(clock=WALL, images=32, calls=1, window_seconds=(0.1,)))
    (ours,) = [s for s in series([*history.samples(), measured], [], history.hosts()) if s.benchmark == OURS]
    assert [point.taking.purpose for point in ours.points] == [IMPORTED, IMPORTED, HISTORY]


WRONG = {
    "machine_info": ([], "machine_info = [] is not allowed; allowed: a table"),
    "datetime": ("yesterday", "datetime = 'yesterday' is not allowed; allowed: a time as in ISO 8601"),
    "benchmarks": ([], "benchmarks = [] is not allowed; allowed: at least one"),
    "benchmarks[0].fullname": ("\ud800", "fullname = '\\ud800' is not allowed; allowed: a text"),
    "benchmarks[0].stats.data": ([0.1, -1], "data = -1 is not allowed; allowed: a number from 1e-12 to 1e+09"),
    "benchmarks[1].extra_info.images": (0.5, "images = 0.5 is not allowed; allowed: a whole number from 1 to"),
    "benchmarks[1].extra_info.benchmark.depth": (7, "depth = 7 is not allowed; allowed: 6n+2"),
    "benchmarks[1].extra_info.benchmark.work": (None, "work = 'nothing' is not allowed; allowed: a text"),
    "benchmarks[1].extra_info.benchmark.deep": (7, "deep = 7 is not allowed; allowed: family, depth"),
    "machine_info.resbench_host": ({"cpu": "x"}, "cores = 'nothing' is not allowed"),
}


@pytest.mark.parametrize("place", WRONG)
def test_what_is_wrong_is_named(written, tmp_path, place):
    value, says = WRONG[place]
    table = copy.deepcopy(written)
    *way, last = [int(key) if key.isdigit() else key for key in re.findall(r"\w+", place)]
    target = table
    for key in way:
        target = target[key]
    target[last] = value
    path = put(tmp_path, table)
    with pytest.raises(InputError) as error:
        foreign.read(path)
    assert str(error.value).startswith(str(path)) and says in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "out.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"out\.json: ") as error:
        foreign.read(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        foreign.read(tmp_path / "absent.json")


def _places(value, way=()):
    yield way
    for key, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from _places(item, (*way, key))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_mutilated_file_is_read_or_refused_in_a_line(written, tmp_path_factory, data):
    table = copy.deepcopy(written)
    table["machine_info"]["resbench_host"] = asdict(a_host())
    for item in table["machine_info"]["cpu"], *table["benchmarks"]:
        item.pop("flags", None), item.pop("options", None)
    way = data.draw(st.sampled_from(list(_places(table))[1:]))
    target = table
    for key in way[:-1]:
        target = target[key]
    if isinstance(target, dict) and data.draw(st.booleans()):
        del target[way[-1]]
    else:
        target[way[-1]] = data.draw(ANY)
    folder = tmp_path_factory.mktemp("mutilated")
    try:
        found = foreign.read(put(folder, table))
    except InputError as error:
        assert "\n" not in str(error) and "out.json: " in str(error)
        return
    history = History(folder / "results")
    assert foreign.add(found, history)
    assert set(history.samples()) == set(found.samples)
