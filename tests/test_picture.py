"""Pictures: their bytes, and where their points lie in the SVG, against the drawn paths themselves."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import page, picture, texts
from bench.picture import Picture, Series, entry

SVG = "{http://www.w3.org/2000/svg}"


def drawn(points, title="", log=False, repeat=1):
    with picture.style():
        canvas = picture.new_canvas(3, 2, title)
        panel = canvas.subplots()
        lines = [
            panel.plot([x for x, *_ in points], [y for _, y, *_ in points], color="#0072b2") for _ in range(repeat)
        ]
        panel.set_yscale("log" if log else "linear")
        picture.legend(canvas, [entry("a line", color="#0072b2", lw=1.5, ls="--", marker="o")])
    series = tuple(Series(("a line",), panel, tuple(line), points) for line in lines)
    return Picture("made", canvas, "A caption.", "An alternative.", series)


@pytest.mark.parametrize("log", [False, True])
def test_points_are_where_the_line_is_drawn(log):
    made = drawn([(1, 0.5, "one"), (2, 30.0, "two"), (4, 7.0, "four")], "A title", log)
    root = ET.fromstring(made.svg)
    (placed,) = made.placed
    (element,) = [e for e in root.iter(f"{SVG}g") if e.get("id") == placed.ids[0]]
    path = element.find(f"{SVG}path").get("d")
    vertices = [tuple(map(float, pair)) for pair in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
    for (x, y, text), vertex, word in zip(placed.points, vertices, ("one", "two", "four"), strict=True):
        assert (x, y) == pytest.approx(vertex, abs=0.1) and text == word
    assert root.get("viewBox") == f"0 0 {made.size[0]:g} {made.size[1]:g}"
    legend = next(e for e in root.iter(f"{SVG}g") if e.get("id") == "legend_1")
    heights = [float(t.get("y", 0)) for t in legend.iter(f"{SVG}text")]
    assert all(made.legend_top < height < made.size[1] for height in heights if height)
    assert max(y for _, y, _ in placed.points) < made.legend_top


def test_points_that_are_not_shown_do_not_answer():
    made = drawn([(1, 1, "in"), (2, float("nan"), "nan"), (3, float("inf"), "inf"), (4, 5, "above"), (5, 2, "in too")])
    made.series[0].panel.set_ylim(0, 3)
    assert [text for _, _, text in made.placed[0].points] == ["in", "in too"]


def test_of_very_many_points_the_last_and_every_so_many_answer():
    points = [(n, n, str(n)) for n in range(4001)]
    first, second = drawn(points, repeat=2).placed
    assert len(first.points) == len(second.points) <= picture.MOST_POINTS / 2
    assert first.points[-1][2] == "4000"


def test_text_is_text_and_bytes_are_the_same_again():
    title = "Costs $5 & $6 <b> \\frac{ é"
    one, two = drawn([(1, 1, "a"), (2, 2, "b")], title).svg, drawn([(1, 1, "a"), (2, 2, "b")], title).svg
    assert one == two
    texts = ["".join(e.itertext()) for e in ET.fromstring(one).iter(f"{SVG}text")]
    assert title in texts and "a line" in texts


@given(st.text(max_size=40))
def test_any_title_can_be_drawn(title):
    text = texts.one_line(title)
    ET.fromstring(f"<a>{text.replace('&', '').replace('<', '')}</a>".encode())
    assert "\n" not in text


def test_an_undrawable_title_is_drawn_without_a_warning(tmp_path):
    drawn([(1, 1, "a"), (2, 2, "b")], "深い\x01網\n$\\bad{$").save(tmp_path)
    assert "深い�網 $" in (tmp_path / "made.svg").read_text()


def test_entries_look_as_the_legend_does():
    (found,) = drawn([(1, 1, "a")]).entries
    assert (found.label, found.colour, found.width, found.marker) == ("a line", "#0072b2", 1.5, "o")
    assert len(found.dash.split()) == 2


@pytest.mark.parametrize("number", range(1, 9))
def test_shades_are_distinct_ordered_and_seen_on_white(number):
    shades = picture.shades(number)
    assert len(set(shades)) == number
    ratios = [page.contrast(shade, "#ffffff") for shade in shades]
    assert ratios == sorted(ratios) and ratios[0] > 1.9


@given(st.lists(st.integers(), max_size=60, unique=True), st.integers(2, 20))
def test_spread_keeps_order_and_ends(items, most):
    found = picture.spread(items, most)
    assert len(found) == min(len(items), most) and found == [item for item in items if item in set(found)]
    assert not items or (found[0], found[-1]) == (items[0], items[-1])


@pytest.mark.parametrize(("count", "words"), [(1, 5), (4, 1), (4, 5), (7, 3), (5, 40)])
def test_a_legend_is_no_wider_than_its_picture(count, words):
    lines = [entry(f"{n} " + "identity precision " * words, color="k") for n in range(count)]
    with picture.style():
        canvas = picture.new_canvas(6.5, 2)
        canvas.subplots()
        picture.legend(canvas, lines)
        (legend,) = canvas.legends
    assert len(legend.get_texts()) == count
    assert legend.get_window_extent().width <= canvas.bbox.width or legend._ncols == 1
