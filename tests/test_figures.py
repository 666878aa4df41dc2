"""Figures draw the numbers of the tables: read back from the drawn axes."""

import numpy as np
import pytest
from synthetic import a_cell, a_curve, a_host, a_run

from bench import figures
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
    assert [figures.draw(kind, empty) for kind in ("curves", "errors", "throughput", "memory")] == [None] * 4
