"""Figures draw the numbers of the tables: read back from the drawn axes."""

from dataclasses import replace

import numpy as np
import pytest
from drawn import a_summary
from synthetic import RECIPE, a_cell, a_curve, a_host, a_run

from bench import figures, study
from bench.stats import estimate
from bench.store import Store
from bench.summary import summaries

ERRORS = {
    ("none", 8): (0.02, 0.03, 0.04),
    ("none", 20): (0.3, 0.5, 0.4),
    ("A", 8): (0.02, 0.02, 0.05),
    ("A", 20): (0.01, 0.02, 0.03),
}


@pytest.fixture
def summary(tmp_path):
    store = Store(tmp_path)
    store.add_host(a_host())
    cells = []
    for (shortcut, depth), errors in ERRORS.items():
        for seed, error in enumerate(errors):
            cells.append(a_cell(depth, shortcut, seed))
            curve = a_curve(cells[-1], error)
            store.commit(cells[-1], a_run(cells[-1], curve), curve)
    return summaries(cells, store)[0]


def test_errors_are_the_means_with_their_intervals(summary):
    picture = figures.draw("errors", summary)
    train = picture.canvas.axes[0]
    assert [panel.get_title() for panel in picture.canvas.axes] == ["training error", "validation error", "test error"]
    for container, shortcut in zip(train.containers, ("none", "A"), strict=True):
        line, _, (bars,) = container.lines
        expected = [estimate(ERRORS[shortcut, depth]) for depth in (8, 20)]
        assert line.get_ydata() == pytest.approx([e.mean for e in expected])
        for segment, e in zip(bars.get_segments(), expected, strict=True):
            assert segment[:, 1] == pytest.approx([e.low, e.high])
    assert train.get_ylim()[0] == 0 and train.get_ylim()[1] <= 1
    assert "3 seeds" in picture.caption and "plain-20 40.0 %" in picture.alternative


def test_curves_are_thin_for_training_and_bold_for_held_out(summary):
    picture = figures.draw("curves", summary)
    plain, identity = picture.canvas.axes
    assert (plain.get_title(), identity.get_title()) == ("plain", "identity (A)")
    thin = [line for line in plain.get_lines() if line.get_linewidth() == figures.THIN]
    bold = [line for line in plain.get_lines() if line.get_linewidth() == figures.BOLD]
    assert len(thin) == len(bold) == 2
    mean = np.mean(ERRORS["none", 20])
    assert sorted(line.get_ydata()[-1] for line in thin) == pytest.approx([0.03, mean])
    assert sorted(line.get_ydata()[-1] for line in bold) == pytest.approx([0.03 + 0.01, mean + 0.01])
    assert list(thin[0].get_xdata()) == [25, 50, 75, 100]


@pytest.mark.parametrize("kind", ["throughput", "memory"])
def test_costs_are_drawn_from_zero_and_name_the_device(summary, kind):
    picture = figures.draw(kind, summary)
    (panel,) = picture.canvas.axes
    assert panel.get_ylim()[0] == 0
    assert "Imagined CPU" in picture.caption and "1.8 cells shared" in picture.caption
    expected = 100 if kind == "memory" else summary.runs["images_per_second"].mean()
    assert panel.containers[0].lines[0].get_ydata() == pytest.approx([expected] * 2)


def test_the_same_tables_give_the_same_bytes(summary, tmp_path):
    for name in ("one", "two"):
        figures.draw("curves", summary).save(tmp_path / name)
    for suffix in ("svg", "png"):
        one, two = ((tmp_path / name / f"curves.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two and len(one) > 1000


def test_a_study_where_all_failed_has_no_figures(tmp_path):
    store = Store(tmp_path)
    store.add_host(a_host())
    store.commit(a_cell(), a_run(a_cell(), []), [])
    (empty,) = summaries([a_cell()], store)
    assert [figures.draw(kind, empty) for kind in study.FIGURES] == [None] * 7


def test_a_curve_is_the_mean_over_seeds_with_the_range_and_says_so(summary):
    picture = figures.draw("curves", summary)
    (series,) = [s for s in picture.series if s.labels == ("20 layers", "training") and s.panel.get_title() == "plain"]
    x, y, text = series.points[-1]
    assert (x, y) == (100, pytest.approx(np.mean(ERRORS["none", 20])))
    assert text == "plain-20, iteration 100: training error 40.0 % (mean of 3 seeds, 30.0 to 50.0)"
    _, band = series.artists
    edges = band.get_paths()[0].vertices
    assert {round(v, 6) for v in edges[edges[:, 0] == 100][:, 1]} == {0.3, 0.5}


def test_seeds_that_stopped_early_count_where_they_were_seen(summary):
    curves = summary.curves
    gone = curves["cell_id"].eq(a_cell(20, "none", 1).id) & curves["iteration"].gt(50)
    series = figures.draw("curves", replace(summary, curves=curves[~gone])).series
    (points,) = [s.points for s in series if s.labels == ("20 layers", "training") and s.panel.get_title() == "plain"]
    assert points[-1][1] == pytest.approx((0.3 + 0.4) / 2)
    assert "mean of 2 seeds, 30.0 to 40.0" in points[-1][2] and "mean of 3 seeds" in points[0][2]


def test_lines_against_depth_say_mean_interval_and_n(summary):
    series = {s.labels[0]: s for s in figures.draw("errors", summary).series[:2]}
    e = estimate(ERRORS["none", 20])
    said = f"plain-20: final training error {100 * e.mean:.1f} ± {100 * e.half_width:.1f} % (n = 3)"
    assert series["plain"].points[1][2] == said
    _, _, text = figures.draw("throughput", summary).series[0].points[0]
    assert text == "plain-8: 3,200 ± 0 training images a second (n = 3)"


def test_of_very_many_variants_the_first_are_drawn_and_the_caption_says_so():
    cells = [
        a_cell(d, s, 0, replace(RECIPE, lr=0.01 * (1 + n))) for n in range(40) for d in (8, 20) for s in ("none", "A")
    ]
    summary = a_summary(cells)
    curves, errors = (figures.draw(kind, summary) for kind in ("curves", "errors"))
    assert len(curves.canvas.axes) == 2 * 3 and "Shown: the first 3 of 40 variants." in curves.caption
    assert len(errors.entries) == 8 and "Shown: the first 4 of 40 variants." in errors.caption
    assert [entry.label for entry in errors.entries[:2]] == ["plain lr=0.01", "identity (A) lr=0.01"]


def test_of_very_many_depths_the_ends_are_drawn_and_some_between():
    depths = [8 + 6 * n for n in range(100)]
    summary = a_summary([a_cell(depth, "A") for depth in depths])
    curves, errors = (figures.draw(kind, summary) for kind in ("curves", "errors"))
    shown = [int(entry.label.split()[0]) for entry in curves.entries[:-2]]
    assert (len(shown), shown[0], shown[-1]) == (8, depths[0], depths[-1])
    assert "Shown: 8 of 100 depths." in curves.caption and "Shown: 16 of 100 depths." in errors.caption


def test_percentages_on_an_axis_are_not_rounded_to_others():
    assert [figures.PERCENT(value, 0) for value in (0, 0.025, 0.05, 0.075, 0.3)] == ["0%", "2.5%", "5%", "7.5%", "30%"]
