"""Points and series of a history, made by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from scripted import failed, outcome
from synthetic import a_cell, a_host

from bench.benchmark import Benchmark
from bench.history import Mark, sample_of
from bench.sample import HISTORY, WALL, Taking
from bench.series import series

START = datetime(2026, 1, 1, tzinfo=UTC)
BENCHMARK = Benchmark("train", a_cell())


def a_sample(day, *seconds, benchmark=BENCHMARK, commit=None, measured=None, **fields):
    """A measurement's sample of the commit of a day."""
    at = START + timedelta(days=day)
    plain = {
        "measurement_id": f"m{day}" if measured is None else measured,
        "purpose": HISTORY,
        "side": None,
        "pair": None,
        "commit": commit or f"c{day}",
        "dirty": False,
        "committed": at,
        "host_id": "here",
        "device": "cpu",
        "threads": 1,
        "injected": None,
        "started": at,
    }
    outcome_fields = {name: fields.pop(name) for name in ("clock", "trouble") if name in fields}
    made = outcome(seconds[0], **outcome_fields) if seconds else failed()
    return sample_of(benchmark, Taking(**(plain | fields)), made)


def a_mark(day, commit=None, benchmark=BENCHMARK, host_id=None, note="so be it"):
    at = START + timedelta(days=day)
    return Mark(benchmark.id, host_id, commit or f"c{day}", at, note, at)


def test_a_point_is_a_measurement_and_its_seconds_the_median_of_its_processes():
    samples = [a_sample(0, 0.01), a_sample(0, 0.05), a_sample(0, 0.02), a_sample(1, 0.04)]
    (found,) = series(samples, [], {"here": a_host()})
    assert [point.seconds for point in found.points] == pytest.approx([0.02, 0.04])
    assert [point.images_per_second for point in found.points] == pytest.approx([32 / 0.02, 32 / 0.04])
    assert [point.taking.commit for point in found.points] == ["c0", "c1"]
    assert (found.benchmark_id, found.name, found.host_id, found.host) == (
        BENCHMARK.id,
        BENCHMARK.label,
        "here",
        a_host(),
    )


def test_what_failed_or_is_in_trouble_is_no_point():
    samples = [a_sample(0), a_sample(1, 0.01), a_sample(2, 0.01, trouble="thermal slowdown for 1 s")]
    (found,) = series(samples, [], {})
    assert [point.taking.commit for point in found.points] == ["c1"] and found.host is None
    assert series([a_sample(0)], [], {}) == []


def test_benchmarks_hosts_devices_threads_and_clocks_are_apart():
    other = Benchmark("inference", a_cell())
    samples = [a_sample(day, 0.01) for day in range(2)]
    samples += [a_sample(0, 0.01, host_id="there"), a_sample(0, 0.01, device="cuda:0"), a_sample(0, 0.01, threads=2)]
    samples += [a_sample(0, 0.01, clock=WALL), a_sample(0, 0.01, benchmark=other)]
    found = series(samples, [], {})
    assert [len(s.points) for s in found] == [2, 1, 1, 1, 1, 1]
    assert [s.alike(samples[0]) for s in found] == [True, False, False, False, True, True]


@pytest.mark.parametrize(
    ("mark", "index"),
    [
        (a_mark(3), 3),  # of a commit that was measured
        (a_mark(2.5, commit="between"), 3),  # of one that was not: from the next on
        (a_mark(-1, commit="before"), 0),
        (a_mark(9, commit="not yet measured"), 5),
    ],
)
def test_a_mark_holds_from_its_commit_on(mark, index):
    (found,) = series([a_sample(day, 0.01) for day in range(5)], [mark], {})
    assert found.accepted == {index: "so be it"}


def test_marks_of_other_benchmarks_and_hosts_do_not_hold():
    other = Benchmark("inference", a_cell())
    marks = [a_mark(1, benchmark=other), a_mark(2, host_id="there"), a_mark(3, host_id="here", note="mine")]
    (found,) = series([a_sample(day, 0.01) for day in range(5)], marks, {})
    assert found.accepted == {3: "mine"}


def test_change_points_and_the_baseline():
    levels = [0.010] * 20 + [0.012] * 20
    (found,) = series([a_sample(day, s * (1 + 0.002 * (day % 3))) for day, s in enumerate(levels)], [], {})
    assert [step.index for step in found.steps] == [20]
    assert found.baseline().start == 20 and found.baseline().open.index == 20
    (accepted,) = series([s for point in found.points for s in point.samples], [a_mark(20)], {})
    assert accepted.baseline().open is None
