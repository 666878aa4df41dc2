"""The page: what is in it, and how it behaves in a real browser (Debian's Chromium, where there is one)."""

import re
import xml.etree.ElementTree as ET

import pytest
from drawn import a_slice, a_summary, some_layers
from synthetic import a_cell

from bench import figures, page, study
from bench.page import contrast

NASTY = "</script><script>alert(1)</script><b onload=x>"
TABLE = """
| net | training error, % | images/s | note |
| --- | --: | --: | --- |
| plain-20 | 6.1 ± 2.9 | 1,321 ± 156 | b |
| plain-8 | – | 1,767 ± 331 | – |
| plain-56 | 86.8 ± 5.1 | 433 ± 60 | a |
| ResNet-56-A | −0.5 | diverged | c |
"""


@pytest.fixture(scope="session")
def html():
    """A page with every kind of picture, in a study whose texts are hostile."""
    cells = [a_cell(depth, shortcut, seed) for depth in (8, 20) for shortcut in ("none", "A") for seed in range(2)]
    summary = a_summary(cells, lambda cell: cell.arch.depth / 100, some_layers, a_slice)
    drawn = {f"figures/{kind}.svg": figures.draw(kind, summary, NASTY) for kind in study.FIGURES}
    parts = [f"# Made {NASTY}", "What is <i>asked</i>?", "**Supported**: it is. **contradicted** **a claim**"]
    for path, picture in drawn.items():
        parts += [f"![{picture.alternative}]({path})", f"*{picture.caption}*"]
    return page.render(f"Made {NASTY}", "\n\n".join([*parts, "## All nets", TABLE]), drawn)


def test_texts_stay_texts(html):
    assert "<script>alert" not in html and "<b onload" not in html and "<i>asked" not in html
    assert html.count("</script>") == html.count("<script") == 1 + len(study.FIGURES)
    escaped = NASTY.replace("<", "&lt;").replace(">", "&gt;")
    assert f"<title>Made {escaped} · resbench</title>" in html and f"<h1>Made {escaped}</h1>" in html


def test_the_page_names_no_other_file(html):
    without_names = html.replace('xmlns="http://www.w3.org/2000/svg"', "").replace("http://www.w3.org/1999/xlink", "")
    assert "http" not in without_names.replace("http-equiv", "")
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)


def test_every_svg_is_named_has_ids_of_its_own_and_no_fixed_ink(html):
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(ids)
    for svg in re.findall(r'<svg[^>]* role="img".*?</svg>', html, re.DOTALL):
        root = ET.fromstring(svg)
        assert len(root.get("aria-label")) > 20
        assert not re.search(r"#(ffffff|000000|1b1f24|e3e6ea)", svg)


def test_verdicts_have_a_class_and_captions_belong_to_figures(html):
    assert '<strong class="verdict supported">Supported</strong>' in html
    assert '<strong class="verdict contradicted">' in html and "<strong>a claim</strong>" in html
    assert html.count("<figure") == html.count("<figcaption>") == len(study.FIGURES)
    assert "<h1>" in html and html.index("<h1>") < html.index("<h2>") and '<html lang="en">' in html


def test_other_images_and_emphasis_stay():
    made = page.render("t", "![x](other.svg)\n\n*One* and *two*", {})
    assert '<img src="other.svg" alt="x"' in made and "<p><em>One</em> and <em>two</em></p>" in made


@pytest.mark.parametrize("colour", ["#440154", "#0072b2", "#d55e00", "#ffffff", "#000000"])
def test_bright_colours_are_seen_on_the_dark_paper(colour):
    assert contrast(page.bright(colour), page.DARK_PAPER) >= 4.5
    assert page.bright("#ffffff") == "#ffffff"


def test_contrast_is_wcags():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known near miss


@pytest.fixture(scope="session")
def path(html, tmp_path_factory):
    found = tmp_path_factory.mktemp("page") / "index.html"
    found.write_text(html)
    return found


@pytest.fixture
def opened(browser, path):
    """Open the page; afterwards: nothing complained, and no other file was asked for."""
    pages, complaints, requests = [], [], []

    def open_page(**options):
        found = browser.new_page(**({"viewport": {"width": 1280, "height": 800}} | options))
        found.on("console", lambda message: complaints.append(message.text))
        found.on("pageerror", lambda error: complaints.append(str(error)))
        found.on("request", lambda request: requests.append(request.url))
        found.goto(path.as_uri())
        pages.append(found)
        return found

    yield open_page
    for found in pages:
        found.close()
    assert complaints == [] and set(requests) <= {path.as_uri()}


def first_point(found, number=0):
    """Where the first point of the first series lies on the screen, and its text."""
    return found.evaluate(
        """number => {
            const figure = document.querySelectorAll(".picture")[number], svg = figure.querySelector(".plot svg");
            svg.scrollIntoView({ block: "center" });
            const [x, y, text] = JSON.parse(figure.querySelector("script").textContent).series[0].points[0];
            const place = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
            return [place.x, place.y, text];
        }""",
        number,
    )


def test_pointing_shows_the_value(opened):
    found = opened()
    tip = found.locator(".tip:visible")
    for number in range(len(study.FIGURES)):
        x, y, text = first_point(found, number)
        found.mouse.move(x + 0.5, y + 0.5)
        assert tip.all_inner_texts() == [text]
    found.mouse.move(2, 2)
    assert tip.count() == 0


def test_touch_and_keys_show_values_too(opened):
    found = opened(has_touch=True)
    x, y, text = first_point(found)
    found.touchscreen.tap(x, y)
    assert found.locator(".tip:visible").inner_text() == text
    found.locator(".plot").first.focus()
    for key, said in (("Escape", None), ("ArrowRight", "iteration 25"), ("ArrowRight", "iteration 50")):
        found.keyboard.press(key)
        tips = found.locator(".tip:visible").all_inner_texts()
        assert tips == [] if said is None else said in tips[0]
    assert "training error" in tips[0]
    found.keyboard.press("ArrowDown")
    assert "validation error" in found.locator(".tip:visible").inner_text()


def test_a_button_hides_its_lines_and_their_values(opened):
    found = opened()
    figure = found.locator(".picture").first
    x, y, text = first_point(found)
    lines = figure.locator('[id^="f1-s"]:visible')
    before = lines.count()
    button = figure.get_by_role("button", name="8 layers", exact=True)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert lines.count() == before / 2
    figure.get_by_role("button", name="training", exact=True).click()
    assert lines.count() == before / 4
    found.mouse.move(x, y)
    assert text not in found.locator(".tip").all_inner_texts()
    button.click()
    assert button.get_attribute("aria-pressed") == "true" and lines.count() == before / 2


def test_the_legend_is_drawn_only_where_there_are_no_buttons(opened):
    live, still = opened(), opened(java_script_enabled=False)
    assert live.locator(".toggles:visible").count() == len(study.FIGURES)
    assert still.locator(".toggles:visible").count() == 0
    assert still.locator("th button").count() == 0
    heights = [found.locator(".plot").first.bounding_box()["height"] for found in (live, still)]
    assert heights[0] < heights[1]


def test_tables_are_sorted_by_their_numbers(opened):
    found = opened()

    def sort(column, *, key=False):
        button = found.get_by_role("columnheader", name=column).get_by_role("button")
        if key:
            button.focus()
            found.keyboard.press("Enter")
        else:
            button.click()
        state = found.get_by_role("columnheader", name=column).get_attribute("aria-sort")
        return state, found.locator("tbody tr td:first-child").all_inner_texts()

    assert sort("training error") == ("ascending", ["ResNet-56-A", "plain-20", "plain-56", "plain-8"])
    assert sort("training error", key=True) == ("descending", ["plain-56", "plain-20", "ResNet-56-A", "plain-8"])
    assert sort("images/s") == ("ascending", ["plain-56", "plain-20", "plain-8", "ResNet-56-A"])
    assert sort("net") == ("ascending", ["plain-8", "plain-20", "plain-56", "ResNet-56-A"])
    assert sort("note") == ("ascending", ["plain-56", "plain-20", "ResNet-56-A", "plain-8"])
    assert found.locator("[aria-sort]").count() == 1


def test_a_phone_scrolls_no_page_sideways(opened):
    found = opened(viewport={"width": 360, "height": 740})
    assert found.evaluate("document.documentElement.scrollWidth") <= 360
    for box in (plot.bounding_box() for plot in found.locator(".plot > svg").all()):
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_read_on_their_paper(opened, scheme):
    found = opened(color_scheme=scheme)
    colours = found.evaluate(
        """() => [getComputedStyle(document.documentElement).backgroundColor,
            ...[...document.querySelectorAll(".plot text")].map(e => getComputedStyle(e).fill),
            ...[...document.querySelectorAll("p, figcaption, th, td, strong, button")]
                .map(e => getComputedStyle(e).color)]"""
    )
    paper, *inks = dict.fromkeys(map(hexadecimal, colours))
    assert (contrast(paper, "#ffffff") < 1.1) == (scheme == "light")
    assert min(contrast(ink, paper) for ink in inks) >= 4.5


def hexadecimal(colour):
    red, green, blue = map(int, re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour).groups())
    return f"#{red:02x}{green:02x}{blue:02x}"


def test_it_prints_on_white_with_the_drawn_legend(opened, tmp_path):
    found = opened(color_scheme="dark")
    assert found.pdf(path=tmp_path / "page.pdf").startswith(b"%PDF")
    found.emulate_media(media="print", color_scheme="dark")
    assert found.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert found.locator(".toggles:visible").count() == 0
    ink = found.evaluate("getComputedStyle(document.querySelector('.plot text')).fill")
    assert contrast(hexadecimal(ink), "#ffffff") > 10


def test_every_figure_has_an_accessible_name(opened):
    found = opened()
    assert found.get_by_role("img", name=re.compile("chart|Loss")).count() == len(study.FIGURES)
    assert found.get_by_role("main").count() == 1
