"""What a comparison or a gate found, for a pull request, a CI's test tab, a program and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from bench.errors import EXIT_NOTHING, EXIT_OK, EXIT_REGRESSION, EXIT_UNDECIDED
from bench.ruling import FAILED, MARKS, NOT_MEASURED, REGRESSION, UNSURE, marked
from bench.table import Table
from bench.texts import code, escaped, printable


@dataclass(frozen=True)
class Line:
    """What is said of one benchmark.

    `worse` is whether it fails the check, `because` what a reader must know beside the figures, `sentence` all in one,
    `seconds` a call's now, `details` what a program may want, as JSON has it.
    """

    label: str
    ruling: str
    worse: bool
    sentence: str
    because: str | None
    seconds: float | None
    details: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """The ruling, with its mark."""
        return marked(self.ruling)


def exit_code(lines: Sequence[Line]) -> int:
    """0 no regression; 1 one, in time, memory or size, or a benchmark that fails now alone; 3 one inconclusive or not
    measured, none worse; 4 nothing measured at all."""
    if any(line.worse for line in lines):
        return EXIT_REGRESSION
    if all(line.ruling == NOT_MEASURED for line in lines):
        return EXIT_NOTHING
    return EXIT_UNDECIDED if any(line.ruling in UNSURE for line in lines) else EXIT_OK


def tally(lines: Sequence[Line]) -> str:
    """How many of each: `1 regression, 4 no regression`."""
    rulings = [line.ruling for line in lines]
    parts = [f"{rulings.count(ruling)} {ruling}" for ruling in MARKS if ruling in rulings]
    if larger := sum(line.worse and line.ruling not in (REGRESSION, FAILED) for line in lines):
        parts.append(f"{larger} of them worse otherwise")
    return ", ".join(parts)


def reasons(lines: Sequence[Line]) -> list[str]:
    """What the figures do not say."""
    return [f"{line.label}: {line.because}" for line in lines if line.because]


def markdown(title: str, lines: Sequence[Line], table: Table, notes: Sequence[str], again: str | None = None) -> str:
    """For a pull request or a CI's summary. `again` is the command that repeats it."""
    mark = {EXIT_OK: "✔", EXIT_REGRESSION: "✘"}.get(exit_code(lines), "?")
    text = [f"### {mark} {escaped(title)}: {tally(lines)}", table.markdown()]
    if because := reasons(lines):
        text.append("\n".join(f"- {escaped(reason)}" for reason in because))
    text += map(escaped, notes)
    text = [part.replace("@", "@\u2060") for part in text]  # or GitHub calls whom an error's words name
    if again:
        text.append(f"Again: {code(again)}")
    return "\n\n".join(text) + "\n"


def as_json(facts: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """The whole at full precision, with what was compared and where."""
    verdicts = [
        {"label": line.label, "ruling": line.ruling, "worse": line.worse, "because": line.because} | dict(line.details)
        for line in lines
    ]
    return json.dumps(dict(facts) | {"exit_code": exit_code(lines), "verdicts": verdicts}, indent=2) + "\n"


def junit(title: str, lines: Sequence[Line]) -> str:
    """JUnit's XML: a test case a benchmark. What is worse fails; what is not sure, or not measured, is skipped."""
    skipped = [line for line in lines if line.ruling in UNSURE and not line.worse]
    counts = {"tests": len(lines), "failures": sum(line.worse for line in lines), "skipped": len(skipped), "errors": 0}
    suite = ElementTree.Element(
        "testsuite", name=printable(title), **{name: str(count) for name, count in counts.items()}
    )
    for line in lines:
        seconds = f"{line.seconds:.9f}" if line.seconds else "0"
        case = ElementTree.SubElement(suite, "testcase", classname="resbench", name=printable(line.label), time=seconds)
        sentence = printable(line.sentence)
        if line.worse:
            ElementTree.SubElement(case, "failure", message=sentence).text = sentence
        elif line in skipped:
            ElementTree.SubElement(case, "skipped", message=sentence)
        else:
            ElementTree.SubElement(case, "system-out").text = sentence
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
