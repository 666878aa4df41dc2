"""Pictures of histories: what answers to a pointer, and where it lies, against the histories they are drawn from."""

import re

import pytest
from histories import accepted, all_series, commit, noisy, samples
from hypothesis import given
from hypothesis import strategies as st
from synthetic import a_host

from bench import timeline
from bench.standing import standings

CPU, OTHER = a_host(), a_host(cpu="Another CPU")
GPU = a_host(gpu="Imagined GPU")
STEP = noisy([0.01] * 30 + [0.0106] * 20)


def drawn(taken, marks=()):
    return timeline.draw(standings(all_series(taken, marks, [OTHER, GPU]))[0])


def texts(picture, label):
    return [text for s in picture.placed for *_, text in s.points if label in s.labels and len(s.labels) <= 2]


def entries(picture):
    return [entry.label for entry in picture.entries]


def values(picture, host):
    """What the points of a host say, in order."""
    found = next(series.points for series in picture.series if series.labels == (host,))
    return [float(re.search(r": ([\d,.]+) ", text)[1].replace(",", "")) for *_, text in found]


def test_each_point_says_commit_date_value_processes_and_host():
    picture = drawn(samples([0.01, 0.02], CPU))
    first, second = picture.series[0].points
    assert first == (0, pytest.approx(3200), first[2]) and second == (1, pytest.approx(1600), second[2])
    assert first[2].startswith(f"{commit(0)[:7]}, 2026-01-01: 3,200 images/s (median of 3 processes, 3,187 to 3,213)")
    assert first[2].endswith("Imagined CPU, 2 cores")


def test_without_images_milliseconds_are_drawn():
    picture = drawn(samples([0.01] * 3, CPU, images=None, processes=1))
    assert values(picture, "Imagined CPU, 2 cores") == [10, 10, 10]
    assert "ms a call" in picture.caption and "processes" not in picture.caption


@pytest.mark.parametrize("count", [1, 2, 3, 60, 500])
def test_histories_of_any_length_are_drawn_with_every_point(count):
    picture = drawn(samples(noisy([0.01] * count), CPU))
    assert [x for x, *_ in picture.series[0].points] == list(range(count))
    assert len(picture.placed[0].points) == count
    axis = picture.canvas.axes[0]
    assert 1 <= len(axis.get_xticks()) <= timeline.MOST_TICKS
    assert axis.get_xticklabels()[0].get_text() == f"{commit(0)[:7]}\n2026-01-01"


def test_a_step_is_drawn_with_its_effect_and_commit_and_is_open():
    picture = drawn(samples(STEP, CPU))
    (said,) = texts(picture, "slower")
    assert said.startswith("+6.") and f"from {commit(30)[:7]} on" in said
    assert any(t.get_text().endswith(f"\n{commit(30)[:7]}") for t in picture.canvas.axes[0].texts)
    (still,) = texts(picture, timeline.STILL_OPEN)
    assert still.startswith(f"open since {commit(30)[:7]}: +6.")
    assert entries(picture) == ["Imagined CPU, 2 cores", "level", "slower", "open regression"]
    assert "1 change of level, open: +6." in picture.caption


def test_an_accepted_step_is_not_open_and_says_its_note():
    note = "exact sums " * 40
    picture = drawn(samples(STEP, CPU), [accepted(30, note)])
    assert timeline.STILL_OPEN not in entries(picture)
    (said,) = texts(picture, timeline.ACCEPTED)
    assert said == f"accepted from {commit(30)[:7]} on: {note.strip()}"
    (mark,) = [s for s in picture.series if timeline.ACCEPTED in s.labels]
    (line,) = [s for s in picture.series if "slower" in s.labels]
    assert mark.points[0][0] == line.points[0][0] == 29.5


def test_a_step_down_is_faster():
    assert texts(drawn(samples(STEP[::-1], CPU)), "faster")[0].startswith("-5.")


def test_the_levels_are_the_segments_medians():
    picture = drawn(samples(STEP, CPU))
    (line,) = next(s.artists for s in picture.series if timeline.LEVEL in s.labels)
    low, high = (sorted(32 / s for s in part) for part in (STEP[30:], STEP[:30]))
    medians = [(part[len(part) // 2 - 1] + part[len(part) // 2]) / 2 for part in (high, low)]
    assert list(line.get_ydata()) == pytest.approx([medians[0]] * 2 + [medians[1]] * 2)


@pytest.mark.parametrize("factor", [3.0, 0.3])
def test_an_outlier_does_not_flatten_the_picture_and_says_its_value(factor):
    seconds = noisy([0.01] * 40)
    seconds[20] *= factor
    picture = drawn(samples(seconds, CPU))
    low, high = picture.canvas.axes[0].get_ylim()
    assert high / low < 1.2
    assert len(picture.placed[0].points) == 40
    assert values(picture, "Imagined CPU, 2 cores")[20] == pytest.approx(32 / seconds[20], rel=1e-3)


def test_hosts_share_commits_and_have_a_panel_each_where_unlike():
    alike = drawn(samples(noisy([0.01] * 20), CPU) + samples(noisy([0.011] * 20), OTHER))
    assert len(alike.canvas.axes) == 1
    unlike = drawn(samples(noisy([0.01] * 20), CPU) + samples(noisy([0.0001] * 20), GPU, first=10))
    assert len(unlike.canvas.axes) == 2
    places = {s.labels[0]: [x for x, *_ in s.points] for s in unlike.series if len(s.labels) == 1}
    assert places == {"Imagined CPU, 2 cores": list(range(20)), "Imagined GPU": list(range(10, 30))}


def test_a_commit_measured_again_has_places_beside_each_other():
    again = [
        type(s)(
            s.benchmark_id, s.name, s.benchmark, type(s.taking)(**(vars(s.taking) | {"measurement_id": "b"})), s.outcome
        )
        for s in samples([0.01], CPU, first=1)
    ]
    picture = drawn(samples([0.01] * 3, CPU) + again + samples([0.0101] * 3, OTHER))
    places = {s.labels[0]: [x for x, *_ in s.points] for s in picture.series if len(s.labels) == 1}
    assert places == {"Another CPU, 2 cores": [0, 1, 3], "Imagined CPU, 2 cores": [0, 1, 2, 3]}


def test_of_very_many_hosts_the_first_are_drawn_and_the_rest_counted():
    hosts = [a_host(cpu=f"CPU {n}") for n in range(8)]
    taken = [s for host in hosts for s in samples([0.01] * 2, host)]
    picture = timeline.draw(standings(all_series(taken, hosts=hosts))[0])
    assert len([s for s in picture.series if len(s.labels) == 1]) == timeline.MOST_HOSTS
    assert "Not shown: 3 more hosts." in picture.caption


def test_the_same_history_gives_the_same_bytes():
    taken = samples(STEP, CPU) + samples(noisy([0.0001] * 30), GPU)
    assert drawn(taken).svg == drawn(taken[::-1]).svg


@given(st.text(max_size=300))
def test_a_title_fits(text):
    title = timeline._title(text)
    assert len(title) <= timeline.LONGEST_TITLE and title[:40] == text[:40] and title[-40:] == text[-40:]
