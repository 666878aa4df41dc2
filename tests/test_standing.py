"""Where benchmarks stand: levels, changes and states against histories whose levels are known."""

import math

import pytest
from histories import OURS, accepted, all_series, commit, noisy, samples
from synthetic import a_cell, a_host

from bench import standing
from bench.benchmark import Benchmark
from bench.sample import CPU
from bench.standing import standings

STEP = noisy([0.01] * 30 + [0.0106] * 20)
OTHER = Benchmark("inference", a_cell())
GPU = a_host(gpu="Imagined GPU", driver="1")


def rows(table):
    return [dict(zip((column.head for column in table.columns), row, strict=True)) for row in table.rows]


def test_a_row_has_the_newest_point_the_level_and_the_last_change():
    found = all_series(samples(STEP, a_host(), peak_rss_bytes=900, base_rss_bytes=400))
    (row,) = rows(standing.latest(standings(found)[0], "latest"))
    assert row["points"] == 50 and row["images/s"] == pytest.approx(32 / STEP[-1])
    assert row["level, ms"] == pytest.approx(0.0106, rel=0.005)
    assert row["level, images/s"] == pytest.approx(32 / 0.0106, rel=0.005)
    assert row["spread, %"] == pytest.approx(0.005, rel=0.8)
    assert row["since"] == row["at"] == commit(30)[:7]
    assert row["last change, %"] == pytest.approx(0.06, abs=0.005)
    assert row["state"].startswith("✘ open, +") and row["state"].endswith(commit(30)[:7])
    assert row["memory, MB"] == 500
    assert "J/1000 images" not in row and "of bandwidth, %" not in row


@pytest.mark.parametrize(
    ("seconds", "marks", "state"),
    [
        (noisy([0.01] * 30), [], "✔ steady"),
        (noisy([0.01] * 9), [], "too few points"),
        (STEP, [accepted(30, "on purpose")], "accepted"),
        (STEP, [accepted(45, "on purpose")], "accepted, too few points"),
        (STEP, [accepted(50, "to come")], "accepted, too few points"),
    ],
)
def test_states(seconds, marks, state):
    ((found,),) = standings(all_series(samples(seconds, a_host()), marks))
    assert found.state == state


def test_a_level_that_is_to_come_has_no_values():
    found = all_series(samples(STEP, a_host()), [accepted(50, "to come")])
    (row,) = rows(standing.latest(standings(found)[0], "latest"))
    assert row["since"] == "the next commit" and "spread, %" not in row and "level, ms" not in row


def test_of_processes_that_tell_a_quantity_the_median_counts():
    host = a_host(gpu="Imagined GPU")
    taken = samples([0.01], host, joules_per_1000_images=2.0) + samples([0.01], host, joules_per_1000_images=None)
    (row,) = rows(standing.latest(standings(all_series(taken, hosts=[host]))[0], "latest"))
    assert row["J/1000 images"] == 2.0


def test_what_is_open_comes_first_then_what_changed():
    works = [Benchmark("train", a_cell(depth)) for depth in (8, 14, 20, 26)]
    levels = [[0.01] * 50, [0.01] * 25 + [0.008] * 25, [0.01] * 25 + [0.0105] * 25, [0.01] * 25 + [0.012] * 25]
    taken = [s for work, level in zip(works, levels, strict=True) for s in samples(noisy(level), a_host(), work)]
    groups = standings(all_series(taken))
    assert [group[0].series.benchmark for group in groups] == [works[3], works[2], works[1], works[0]]


def test_hosts_that_share_a_label_are_told_apart():
    other = a_host(gpu="Imagined GPU", driver="2")
    taken = samples(noisy([0.01] * 5), GPU) + samples(noisy([0.01] * 5), other)
    taken += samples([0.01] * 5, a_host()) + samples([0.01] * 5, a_host(), clock=CPU, cpu_seconds=(0.01,))
    (group,) = standings(all_series(taken, hosts=[GPU, other]))
    labels = [found.host for found in group]
    assert labels == sorted(labels) and len(set(labels)) == 4
    assert {f"Imagined GPU, host {GPU.id}", f"Imagined GPU, host {other.id}"} < set(labels)
    assert "Imagined CPU, 2 cores, by CPU time" in labels


def test_a_host_that_is_not_recorded_has_a_name():
    (group,) = standings(all_series(samples([0.01], GPU)))
    assert group[0].host == "unknown host"


def test_changes_and_marks_are_listed_newest_first():
    levels = noisy([0.01] * 25 + [0.0107] * 25 + [0.0101] * 25)
    marks = [accepted(25, "exact sums"), accepted(75, "to come", host=a_host())]
    (group,) = standings(all_series(samples(levels, a_host()), marks))
    coming, second, first = rows(standing.changes(group))
    assert (coming["commit"], coming["accepted"], coming["p"]) == ("the next commit", "to come", None)
    assert (second["commit"], first["commit"]) == (commit(50)[:7], commit(25)[:7])
    assert first["takes longer by, %"] == pytest.approx(0.07, abs=0.005) and first["accepted"] == "exact sums"
    assert second["takes longer by, %"] == pytest.approx(0.0101 / 0.0107 - 1, abs=0.005)
    assert float(first["p"]) < 0.002


def test_the_terminal_s_table_names_hosts_where_there_are_several():
    one = standing.listing(all_series(samples(STEP, a_host()) + samples(STEP, a_host(), OTHER)))
    assert "host" not in [column.head for column in one.columns] and len(one.rows) == 2
    two = standing.listing(all_series(samples(STEP, a_host()) + samples(STEP, GPU), hosts=[GPU]))
    assert [row["host"] for row in rows(two)] == ["Imagined CPU, 2 cores", "Imagined GPU"]
    assert OURS.label in one.text() and "✘ open" in one.text()


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (3.14159, "3.142"), (0.00012345, "0.0001234")])
def test_numbers_have_four_digits(value, text):
    assert standing.number(value) == text
    assert standing.share(math.expm1(0.05)) == "+5.1 %" and standing.count(1, "point") == "1 point"
