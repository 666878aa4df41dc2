"""A report as one HTML page that needs nothing else: no other file, no network, and no script to be read."""

from __future__ import annotations

import base64
import colorsys
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

from jinja2 import Environment, PackageLoader
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from bench import picture, statement
from bench.picture import Entry, Picture

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
COMMON = {picture.INK: "ink", picture.PAPER: "paper", picture.GRID: "grid", picture.DIM: "dim", "#000000": "ink"}
SCROLLED = '<div class="wide" role="group" tabindex="0" aria-label="table, scrolls sideways">'
DARK_PAPER = "#14181d"
LEGIBLE = 4.5  # contrast of a line's colour with the dark paper: WCAG's for text
MARKS = {
    "o": "M12 5a3 3 0 1 1 0 6a3 3 0 1 1 0-6",
    "s": "M9 5h6v6h-6z",
    "^": "M12 4.5l3.5 6.5h-7z",
    "X": "M9 5l3 3 3-3M9 11l3-3 3 3",
    ".": "M12 6.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3",
}

ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def render(title: str, markdown: str, pictures: Mapping[str, Picture]) -> str:
    """The Markdown as a page; images whose path is a key of `pictures` are drawn into it, and answer to a reader.

    Texts stay text, whatever they hold: HTML in them is shown, not obeyed.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    environment = Environment(loader=PackageLoader("bench", "templates"), autoescape=True, trim_blocks=True)
    figure = environment.get_template("figure.html")
    colours: dict[str, str] = {}
    numbers = count(1)

    def drawn(path: str) -> str:
        found = pictures[path]
        prefix = f"f{next(numbers)}-"
        own = {e.colour: f"c{e.colour[1:]}" for e in found.entries if e.colour not in COMMON}
        colours.update(own)
        return figure.render(
            name=found.name,
            svg=Markup(_inline(found, prefix, own | COMMON)),
            width=found.size[0],
            height=found.size[1],
            top=found.legend_top,
            entries=[_swatch(e, own | COMMON) for e in found.entries],
            points=Markup(_json(_points(found, prefix))),
        )

    tokens = _figures(parser.parse(markdown), pictures, drawn)
    _mark_verdicts(tokens)
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", f"{SCROLLED}<table>").replace("</table>", "</table></div>")
    script = environment.loader.get_source(environment, "report.js")[0]
    return environment.get_template("report.html").render(
        title=title,
        body=Markup(body),
        style=Markup(environment.loader.get_source(environment, "report.css")[0]),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colours=[(name, colour, bright(colour)) for colour, name in sorted(colours.items())],
    )


def _figures(tokens: Sequence[Token], pictures: Mapping[str, Picture], drawn: Callable[[str], str]) -> list[Token]:
    """The tokens with each paragraph that is one of our images as a figure; an emphasised paragraph after it is its
    caption."""
    found: list[Token] = []
    position = 0
    while position < len(tokens):
        image = _only_child(tokens, position, "image")
        if image is None or image.attrs["src"] not in pictures:
            found.append(tokens[position])
            position += 1
            continue
        html = drawn(str(image.attrs["src"]))
        position += 3
        found.append(Token("html_block", "", 0, content=f'<figure class="picture">\n{html}'))
        if _caption(tokens, position):
            caption = tokens[position + 1]
            caption.children = caption.children[1:-1]
            found += [Token("html_block", "", 0, content="<figcaption>"), caption]
            found.append(Token("html_block", "", 0, content="</figcaption>\n"))
            position += 3
        found.append(Token("html_block", "", 0, content="</figure>\n"))
    return found


def _children(tokens: Sequence[Token], position: int) -> list[Token]:
    """What is in the paragraph that begins here."""
    if position + 1 >= len(tokens) or tokens[position].type != "paragraph_open":
        return []
    return tokens[position + 1].children or []


def _only_child(tokens: Sequence[Token], position: int, kind: str) -> Token | None:
    children = _children(tokens, position)
    return children[0] if len(children) == 1 and children[0].type == kind else None


def _caption(tokens: Sequence[Token], position: int) -> bool:
    children = _children(tokens, position)
    ends = [child.type for child in children if child.type in ("em_open", "em_close") and child.level == 0]
    outer = bool(children) and (children[0].type, children[-1].type) == ("em_open", "em_close")
    return outer and ends == ["em_open", "em_close"]


def _mark_verdicts(tokens: Sequence[Token]) -> None:
    """Give a strong word that is a verdict a class of its own."""
    for token in tokens:
        children = token.children or []
        for opening, text in pairwise(children):
            if opening.type == "strong_open" and text.type == "text" and text.content.lower() in statement.MARKS:
                opening.attrJoin("class", f"verdict {text.content.lower()}")


def _inline(found: Picture, prefix: str, colours: Mapping[str, str]) -> str:
    """The picture's SVG as part of a page: ids of its own, colours by variable, a name for those who cannot see it."""
    root = ET.fromstring(found.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, prefix + value)
            elif key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{prefix}", 1))
            elif key in ("clip-path", "style", "fill", "stroke"):
                element.set(key, _recoloured(value, colours).replace("url(#", f"url(#{prefix}"))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": found.alternative}
    return ET.tostring(root, encoding="unicode")


def _recoloured(style: str, colours: Mapping[str, str]) -> str:
    return re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{colours[m[0]]})" if m[0] in colours else m[0], style)


def _swatch(found: Entry, colours: Mapping[str, str]) -> dict[str, Any]:
    look = {"colour": f"var(--{colours.get(found.colour, 'ink')})", "mark": MARKS.get(found.marker, "")}
    return {"label": found.label, "width": found.width, "dash": found.dash, "hollow": found.marker == "X", **look}


def _points(found: Picture, prefix: str) -> dict[str, Any]:
    series = [
        {"labels": placed.labels, "ids": [prefix + name for name in placed.ids], "points": placed.points}
        for placed in found.placed
    ]
    return {"series": series}


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def bright(colour: str) -> str:
    """The colour, lightened until it is seen on the dark paper (`#rrggbb`)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    saturation *= 0.7 if contrast(colour, DARK_PAPER) < LEGIBLE else 1.0  # pale, not glaring
    while contrast(colour, DARK_PAPER) < LEGIBLE and lightness < 1:
        lightness = min(1.0, lightness + 0.02)
        parts = colorsys.hls_to_rgb(hue, lightness, saturation)
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in parts)
    return colour


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2, relative luminance of sRGB)."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
