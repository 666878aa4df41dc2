"""A table of a report: the same values as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.stats import Estimate
from bench.texts import cell, escaped, latex

Value = str | int | float | Estimate | None


@dataclass(frozen=True)
class Column:
    """A heading, and how numbers under it are shown: times `scale`, with so many digits. Texts stay as they are."""

    head: str
    digits: int = 0
    scale: float = 1.0
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of values under columns; the first column names the row. `name` is that of its files."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    def markdown(self) -> str:
        """A table of GitHub's Markdown; texts in it are shown as they are, never as markup."""
        head = [escaped(column.head) for column in self.columns]
        align = ["---" if self._is_text(index) else "--:" for index in range(len(self.columns))]
        rows = ([escaped(text) for text in row] for row in self._texts())
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, align, *rows])

    def csv(self) -> str:
        """Values at full precision in the unit of the heading; an estimate as mean, half-width of its interval, n."""
        data: dict[str, list[Value]] = {}
        for index, column in enumerate(self.columns):
            head = cell(column.head)
            values = [row[index] for row in self.rows]
            if any(isinstance(value, Estimate) for value in values):
                found = [value if isinstance(value, Estimate) else None for value in values]
                data[head] = [e and e.mean * column.scale for e in found]
                data[f"{head} ±"] = [e and e.half_width and e.half_width * column.scale for e in found]
                data[f"{head} n"] = [e and e.n for e in found]
            else:
                data[head] = [_plain(value, column) for value in values]
        return pd.DataFrame(data, dtype=object).to_csv(index=False)

    def latex(self) -> str:
        """A tabular in the style of booktabs, as the Markdown shows it."""
        align = "".join("l" if self._is_text(index) else "r" for index in range(len(self.columns)))
        head, *rows = (" & ".join(map(latex, row)) + r" \\" for row in [[c.head for c in self.columns], *self._texts()])
        lines = [
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """For a terminal: columns aligned, nothing cut."""
        lines = [[column.head for column in self.columns], *self._texts()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = [str.ljust if self._is_text(index) else str.rjust for index in range(len(self.columns))]
        aligned = ("  ".join(map(lambda put, text, width: put(text, width), sides, line, widths)) for line in lines)
        return "\n".join(line.rstrip() for line in aligned)

    def _texts(self) -> list[list[str]]:
        return [[shown(v, c) for v, c in zip(row, self.columns, strict=True)] for row in self.rows]

    def _is_text(self, index: int) -> bool:
        return index == 0 or any(isinstance(row[index], str) for row in self.rows)


def shown(value: Value, column: Column) -> str:
    """A value as a reader sees it: `2.5 ± 0.8`; an en dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    sign = "+" if column.signed else ""
    if isinstance(value, Estimate):
        spread = "" if value.half_width is None else f" ± {column.scale * value.half_width:,.{column.digits}f}"
        return f"{column.scale * value.mean:{sign},.{column.digits}f}{spread}"
    return f"{value:{sign},}" if isinstance(value, int) else f"{column.scale * value:{sign},.{column.digits}f}"


def _plain(value: Value, column: Column) -> Value:
    if isinstance(value, str):
        return cell(value)
    return value * column.scale if isinstance(value, float) else value


def percent(head: str, digits: int = 1, *, signed: bool = False) -> Column:
    """A column of fractions, shown in percent or points."""
    return Column(head, digits, 100.0, signed)


def table(name: str, columns: Sequence[Column | str], rows: Sequence[Sequence[Value]]) -> Table:
    """A table; a column may be a heading alone."""
    made = tuple(Column(c) if isinstance(c, str) else c for c in columns)
    return Table(name, made, tuple(tuple(row) for row in rows))
