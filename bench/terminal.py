"""The terminal: what is shown there is text, whoever wrote it: no markup, and no codes that a terminal obeys."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from bench.texts import printable


class _Plain(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(**options: Any) -> Console:
    """rich's, by which texts stay texts. `options` are those of its own."""
    return _Plain(**{"markup": False, "highlight": False, "emoji": False} | options)


def say(*texts: str, error: bool = False) -> None:
    """Print each text on standard output, or on standard error."""
    print(*map(printable, texts), sep="\n", file=sys.stderr if error else sys.stdout)
