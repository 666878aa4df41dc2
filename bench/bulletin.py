"""What a comparison or a gate found, for a terminal, a pull request, a CI's test tab and a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from bench.comparison import FAILED, LESS, MORE, NOT_MEASURED, SAME, Quantity, Verdict
from bench.errors import EXIT_NOTHING, EXIT_OK, EXIT_REGRESSION, EXIT_UNDECIDED
from bench.history import Calibration
from bench.host import Host
from bench.regress import IMPROVEMENT, INCONCLUSIVE, REGRESSION, STEADY, Key, Rule
from bench.table import Column, Table, percent, table

MARKS = {REGRESSION: "✘", FAILED: "✘", IMPROVEMENT: "▲", STEADY: "✔", INCONCLUSIVE: "?", NOT_MEASURED: "–"}
MEMORY = {
    "peak_allocated_bytes": "allocated memory",
    "peak_reserved_bytes": "reserved memory",
    "resident_bytes": "resident memory",
}
COUNTS = {"parameters": "parameters", "multiply_adds": "multiply-adds"}


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 no regression; 1 one, in time, memory or size, or a benchmark that fails in head alone; 3 one inconclusive or
    not measured, none worse; 4 nothing measured at all."""
    if any(verdict.worse for verdict in verdicts):
        return EXIT_REGRESSION
    if all(verdict.ruling == NOT_MEASURED for verdict in verdicts):
        return EXIT_NOTHING
    unsure = (INCONCLUSIVE, NOT_MEASURED)
    return EXIT_UNDECIDED if any(verdict.ruling in unsure for verdict in verdicts) else EXIT_OK


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many of each: `1 regression, 4 no regression`; and what grew."""
    rulings = [verdict.ruling for verdict in verdicts]
    parts = [f"{rulings.count(ruling)} {ruling}" for ruling in MARKS if ruling in rulings]
    if grown := sum(bool(verdict.grew) for verdict in verdicts):
        parts.append(f"{grown} larger")
    return ", ".join(parts)


def compared(verdicts: Sequence[Verdict]) -> Table:
    """A line a benchmark: images a second on both sides, by how much head takes longer, its bounds, n."""
    columns = [
        Column("benchmark"),
        Column("verdict"),
        Column("base, images/s"),
        Column("head, images/s"),
        percent("slower by, %", 2, signed=True),
        percent("at least, %", 2, signed=True),
        percent("at most, %", 2, signed=True),
        percent("margin, %", 2),
        Column("pairs"),
        Column("memory, sizes"),
    ]
    return table("comparison", columns, [_line(verdict) for verdict in verdicts])


def _line(verdict: Verdict) -> list[Any]:
    finding = verdict.finding
    bounds = [finding.change, finding.low, finding.high, finding.margin] if finding else [None] * 4
    pairs = f"{finding.pairs} ({finding.invalid} invalid)" if finding and finding.invalid else finding and finding.pairs
    speeds = [
        verdict.images / s if s and verdict.images else None for s in (verdict.base_seconds, verdict.head_seconds)
    ]
    changed = "; ".join(filter(None, map(described, verdict.quantities)))
    size = changed or ("same" if verdict.quantities else None)
    return [verdict.benchmark.label, f"{MARKS[verdict.ruling]} {verdict.ruling}", *speeds, *bounds, pairs, size]


def described(quantity: Quantity) -> str | None:
    """What changed, in words; None where nothing did."""
    if quantity.change not in (MORE, LESS):
        return None
    base, head = (sum(side) / 2 for side in (quantity.base, quantity.head))
    if quantity.name in COUNTS:
        return f"{COUNTS[quantity.name]} {base:,.0f} → {head:,.0f}"
    return f"{MEMORY[quantity.name]} {base / 1e6:,.1f} → {head / 1e6:,.1f} MB ({head / base - 1:+.1%})"


def reasons(verdicts: Sequence[Verdict]) -> list[str]:
    """What a line does not say: why a verdict is what it is, and why pairs are not valid."""
    lines = []
    for verdict in verdicts:
        told = [verdict.because, *(t for t in verdict.troubles if t != verdict.because)]
        if any(told):
            lines.append(f"{verdict.benchmark.label}: {'; '.join(filter(None, told))}")
    return lines


def trust(known: Mapping[Key, Calibration], verdicts: Sequence[Verdict], host: Host) -> str:
    """What is known of such verdicts on this host."""
    judged = {verdict.benchmark.id for verdict in verdicts}
    found = [calibration for (name, _), calibration in known.items() if name in judged]
    if not found:
        return f"Not calibrated on this host ({host.id}): how often it raises false alarms, resbench calibrate tells."
    alarms, runs, high = sum(c.alarms for c in found), sum(c.runs for c in found), max(c.high for c in found)
    best = [max(c.powers[i] for c in found) for i in range(len(found[0].slowdowns))]
    powers = ", ".join(f"{slowdown:.0%} {share:.0%}" for slowdown, share in zip(found[0].slowdowns, best, strict=True))
    return (
        f"Calibrated on this host ({host.id}): {alarms} false alarms in {runs} verdicts on equal code (each rate at "
        f"most {high:.1%}, 95 %); slowdowns found, of the benchmark that tells best: {powers}."
    )


def calibrated(found: Sequence[Calibration], names: Mapping[str, str]) -> Table:
    """A line a benchmark: how noisy it is, how often equal code was called regressed, how often slowdowns are found."""
    columns = [
        Column("benchmark"),
        Column("clock"),
        percent("spread of a pair, %", 2),
        percent("margin, %", 2),
        Column("comparisons"),
        Column("called a regression"),
        percent("rate at most, %"),
        *(percent(f"{slowdown:.0%} found, %", 0) for slowdown in found[0].slowdowns),
    ]
    lines = []
    for c in found:
        margin = Rule(margin=c.margin).margin_on(c.spread, c.pairs)
        lines.append((names[c.benchmark_id], c.clock, c.spread, margin, c.runs, c.alarms, c.high, *c.powers))
    return table("calibration", columns, lines)


def markdown(title: str, verdicts: Sequence[Verdict], notes: Sequence[str]) -> str:
    """For a pull request or a CI's summary."""
    worst = "✘" if any(verdict.worse for verdict in verdicts) else "✔"
    text = [f"### {worst} {title}: {tally(verdicts)}", compared(verdicts).markdown()]
    if lines := reasons(verdicts):
        text.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join([*text, *notes]) + "\n"


def plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """As JSON has it: every number at full precision."""
    return [
        {
            "benchmark": verdict.benchmark.id,
            "label": verdict.benchmark.label,
            "ruling": verdict.ruling,
            "because": verdict.because,
            "base_seconds": verdict.base_seconds,
            "head_seconds": verdict.head_seconds,
            "images": verdict.images,
            "finding": asdict(verdict.finding) if verdict.finding else None,
            "quantities": [asdict(quantity) | {"change": quantity.change} for quantity in verdict.quantities],
            "troubles": list(verdict.troubles),
        }
        for verdict in verdicts
    ]


def as_json(facts: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The whole, with what was compared and where."""
    return json.dumps(dict(facts) | {"exit_code": exit_code(verdicts), "verdicts": plain(verdicts)}, indent=2) + "\n"


def junit(title: str, verdicts: Sequence[Verdict]) -> str:
    """JUnit's XML: a test case a benchmark; a regression fails it, what was not measured or is not sure is skipped."""
    suite = ElementTree.Element("testsuite", name=title, tests=str(len(verdicts)))
    failures = skipped = 0
    for verdict in verdicts:
        seconds = f"{verdict.head_seconds:.6f}" if verdict.head_seconds else "0"
        case = ElementTree.SubElement(
            suite, "testcase", classname="resbench", name=verdict.benchmark.label, time=seconds
        )
        message = summary(verdict)
        if verdict.worse:
            failures += 1
            ElementTree.SubElement(case, "failure", message=message).text = message
        elif verdict.ruling in (INCONCLUSIVE, NOT_MEASURED):
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=message)
        else:
            ElementTree.SubElement(case, "system-out").text = message
    suite.set("failures", str(failures))
    suite.set("skipped", str(skipped))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def summary(verdict: Verdict) -> str:
    """One verdict in a sentence."""
    parts = [verdict.ruling]
    if (finding := verdict.finding) and finding.change is not None:
        parts.append(
            f"slower by {finding.change:+.2%} (at least {finding.low:+.2%}, at most {finding.high:+.2%}; margin "
            f"{finding.margin:.2%}, {finding.pairs} pairs)"
        )
    grown = [described(quantity) for quantity in verdict.quantities if quantity.change != SAME]
    return "; ".join(filter(None, [*parts, verdict.because, *grown]))
