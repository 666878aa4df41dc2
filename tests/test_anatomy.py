"""Pictures of the nets' insides: which nets, which numbers, and that what is not finite breaks nothing."""

from dataclasses import replace

import numpy as np
import pytest
from drawn import a_slice, a_summary, some_layers
from synthetic import RECIPE, a_cell

from bench import figures
from bench.analysis import SlicePoint


def cells(depths, shortcuts=("none", "A"), seeds=2):
    return [a_cell(depth, shortcut, seed) for depth in depths for shortcut in shortcuts for seed in range(seeds)]


def test_responses_are_means_over_seeds_at_the_end_in_both_orders():
    def shuffled(cell):  # of 7 layers, response 1..7 times (1 + seed), in an order of its own; larger before the end
        return [
            replace(layer, response_std=(1 + cell.seed) * (layer.layer * 3 % 8) * (1 if layer.iteration == 100 else 9))
            for layer in some_layers(cell, (50, 100))
        ]

    picture = figures.draw("responses", a_summary(cells([8]), layers=shuffled))
    plain, residual, plain_ranked, _ = picture.canvas.axes
    assert (plain.get_title(), residual.get_title()) == ("plain nets", "residual nets")
    expected = [1.5 * (n * 3 % 8) for n in range(1, 8)]
    assert list(plain.get_lines()[0].get_ydata()) == pytest.approx(expected)
    assert list(plain_ranked.get_lines()[0].get_ydata()) == pytest.approx(sorted(expected, reverse=True))
    ranked = picture.series[1]
    assert ranked.points[0][2] == "plain-8, layer 5: 10.5"  # 5 · 3 mod 8 = 7, the largest
    assert "mean over 2 seeds" in picture.caption and "Shown" not in picture.caption


def test_of_many_nets_the_shallowest_and_deepest_of_plain_and_of_the_first_shortcut():
    summary = a_summary(cells([8, 14, 20, 32, 56], ("none", "A", "B", "C"), 1), layers=some_layers)
    caption = figures.draw("responses", summary).caption
    assert "Shown: plain-8, plain-20, plain-56, ResNet-8-A, ResNet-20-A, ResNet-56-A, of 20 nets." in caption


def test_the_paper_s_depths_are_shown_where_they_are_all_there():
    summary = a_summary(cells([20, 32, 44, 56, 110], seeds=1), layers=some_layers)
    caption = figures.draw("responses", summary).caption
    assert "Shown: plain-20, plain-56, plain-110, ResNet-20-A, ResNet-56-A, ResNet-110-A, of 10 nets." in caption


def test_gradients_stand_side_by_side_from_initialisation_to_the_end():
    summary = a_summary(cells([8, 20]), layers=lambda cell: some_layers(cell, range(0, 101, 10)))
    picture = figures.draw("gradients", summary)
    assert [panel.get_title() for panel in picture.canvas.axes] == ["plain-8", "plain-20", "ResNet-20-A"]
    labels = [entry.label for entry in picture.entries]
    assert labels[0] == "at initialisation" and labels[-1] == "iteration 100" and len(labels) == 4
    panel = picture.canvas.axes[1]
    assert panel.get_yscale() == "log"
    assert list(panel.get_lines()[0].get_ydata()) == pytest.approx([1.5 * n for n in range(1, 20)])
    assert picture.series[0].points[0][2] == "plain-8, at initialisation, layer 1: gradient norm 1.5"


def test_slices_share_their_levels_and_say_loss_and_error():
    picture = figures.draw("slices", a_summary(cells([8, 20]), slices=a_slice))
    line, plain, residual, bar = picture.canvas.axes
    assert (plain.get_title(), residual.get_title()) == ("plain-20", "ResNet-20-A")
    assert [entry.label for entry in picture.entries] == ["plain-8", "plain-20", "ResNet-8-A", "ResNet-20-A"]
    assert list(line.get_lines()[1].get_ydata()) == pytest.approx([0.1 + 20 * a * a for a in (-1, -0.5, 0, 0.5, 1)])
    levels = [panel.collections[0].levels for panel in (plain, residual)]
    assert list(levels[0]) == list(levels[1]) and levels[0][0] == pytest.approx(0.1)
    assert "plain-20 at (0, -0.5): loss 5.1, error 50.0 %" in [p[2] for s in picture.series for p in s.points]
    assert bar.get_ylabel() == "training loss, nats"


@pytest.mark.parametrize("one", [True, False])
def test_slices_of_one_kind_alone(one):
    picture = figures.draw(
        "slices",
        a_summary(cells([8]), slices=lambda cell: [p for p in a_slice(cell) if (p.dimensions == 1) == one]),
    )
    assert len(picture.canvas.axes) == (1 if one else 3) and bool(picture.entries) == one


@pytest.mark.parametrize("bad", [float("inf"), 1e30])
def test_diverged_nets_break_nothing(bad):
    def layers(cell):
        spoilt = cell.arch.shortcut == "none"
        return [
            replace(layer, gradient_norm=bad if layer.iteration else 0.0, response_std=bad) if spoilt else layer
            for layer in some_layers(cell)
        ]

    def slices(cell):
        spoilt = [replace(p, loss=bad if p.a < 1 else np.nan) if p.a > 0 else p for p in a_slice(cell)]
        return spoilt if cell.arch.shortcut == "none" else a_slice(cell)

    summary = a_summary(cells([8, 20]), layers=layers, slices=slices)
    for kind in ("responses", "gradients", "slices"):
        picture = figures.draw(kind, summary)
        assert len(picture.svg) > 1000
        shown = [text for series in picture.placed for _, _, text in series.points]
        assert shown and not any(word in text for text in shown for word in ("nan", "inf"))


def test_nothing_finite_is_no_picture():
    nothing = SlicePoint(1, 0.0, None, float("nan"), 1.0, 10, 0)
    summary = a_summary(
        cells([8]),
        layers=lambda cell: [replace(n, response_std=np.nan, gradient_norm=0.0) for n in some_layers(cell)],
        slices=lambda _: [nothing],
    )
    assert [figures.draw(kind, summary) for kind in ("responses", "gradients", "slices")] == [None] * 3


def test_of_many_variants_the_first_that_has_data():
    all_cells = [a_cell(8, "none", 0, replace(RECIPE, lr=lr)) for lr in (0.1, 0.2, 0.3)]
    summary = a_summary(all_cells, layers=lambda cell: [] if cell.recipe.lr == 0.1 else some_layers(cell))
    assert "Shown: plain-8 lr=0.2, of 2 nets." in figures.draw("responses", summary).caption
